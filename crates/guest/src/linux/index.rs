//! `modules.dep.bin`, in which modprobe and udev look for a module's file.
//!
//! Source: kmod's libkmod/libkmod-index.c, version 2.1 of the format. All numbers are big-endian. A node has a prefix, children
//! by their next byte, and values; its flags are in the upper four bits of the offset that points to it.

use std::collections::BTreeMap;

const MAGIC: u32 = 0xb007_f457;
const VERSION: u32 = 0x0002_0001;
const PREFIX: u32 = 0x8000_0000;
const VALUES: u32 = 0x4000_0000;
const CHILDREN: u32 = 0x2000_0000;

/// Writes the index of `values` by their keys. A key is ASCII without zero bytes, and so is a value.
pub(super) fn write(values: &BTreeMap<String, String>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in [MAGIC, VERSION, 0] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    let values: Vec<(&[u8], &str)> =
        values.iter().map(|(key, value)| (key.as_bytes(), value.as_str())).collect();
    let root = node(&mut bytes, &values, 0);
    bytes[8..12].copy_from_slice(&root.to_be_bytes());
    bytes
}

/// Writes the node of all `values`, which are sorted and have their first `depth` bytes in common, after those below it.
fn node(bytes: &mut Vec<u8>, values: &[(&[u8], &str)], depth: usize) -> u32 {
    // What all have in common behind `depth`. They are sorted: the first and the last have no more in common than all have.
    let common = match (values.first(), values.last()) {
        (Some((first, _)), Some((last, _))) => {
            first[depth..].iter().zip(&last[depth..]).take_while(|(one, other)| one == other).count()
        }
        _ => 0,
    };
    let prefix = values.first().map_or(&[][..], |(key, _)| &key[depth..depth + common]);
    let depth = depth + common;
    let (own, below): (Vec<_>, Vec<_>) = values.iter().copied().partition(|(key, _)| key.len() == depth);

    let mut children = BTreeMap::new();
    for group in below.chunk_by(|one, other| one.0[depth] == other.0[depth]) {
        children.insert(group[0].0[depth], node(bytes, group, depth + 1));
    }

    let at = bytes.len() as u32;
    let mut flags = 0;
    if !prefix.is_empty() {
        flags |= PREFIX;
        bytes.extend_from_slice(prefix);
        bytes.push(0);
    }
    if let (Some((first, _)), Some((last, _))) = (children.first_key_value(), children.last_key_value()) {
        flags |= CHILDREN;
        bytes.extend_from_slice(&[*first, *last]);
        for byte in *first..=*last {
            bytes.extend_from_slice(&children.get(&byte).copied().unwrap_or(0).to_be_bytes());
        }
    }
    if !own.is_empty() {
        flags |= VALUES;
        bytes.extend_from_slice(&(own.len() as u32).to_be_bytes());
        for (_, value) in own {
            bytes.extend_from_slice(&0_u32.to_be_bytes());
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0);
        }
    }
    at | flags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(bytes: &[u8], at: usize) -> u32 {
        u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    fn text(bytes: &[u8], at: usize) -> &str {
        let end = bytes[at..].iter().position(|byte| *byte == 0).unwrap();
        std::str::from_utf8(&bytes[at..at + end]).unwrap()
    }

    /// Looks `key` up as kmod does.
    fn look_up<'b>(bytes: &'b [u8], key: &str) -> Option<&'b str> {
        let (mut node, mut left) = (number(bytes, 8), key.as_bytes());
        loop {
            let mut at = (node & 0x0fff_ffff) as usize;
            if node & PREFIX != 0 {
                let prefix = text(bytes, at);
                left = left.strip_prefix(prefix.as_bytes())?;
                at += prefix.len() + 1;
            }
            let (mut first, mut last, children) = (1, 0, at + 2);
            if node & CHILDREN != 0 {
                (first, last) = (bytes[at], bytes[at + 1]);
                at += 2 + 4 * (usize::from(last - first) + 1);
            }
            let Some((next, rest)) = left.split_first() else {
                return (node & VALUES != 0).then(|| text(bytes, at + 8));
            };
            if !(first..=last).contains(next) {
                return None;
            }
            node = number(bytes, children + 4 * usize::from(next - first));
            if node == 0 {
                return None;
            }
            left = rest;
        }
    }

    #[test]
    fn what_is_written_is_found_and_nothing_else() {
        let names =
            ["ahci", "ahci_platform", "libahci", "libata", "sd_mod", "a", "virtio_blk", "virtio_scsi"];
        let values = names.map(|name| (name.to_owned(), format!("kernel/{name}.ko:"))).into();
        let bytes = write(&values);
        for (name, value) in &values {
            assert_eq!(look_up(&bytes, name), Some(value.as_str()));
        }
        for name in ["", "ah", "ahc", "ahci_", "ahci_platform_", "z", "virtio"] {
            assert_eq!(look_up(&bytes, name), None, "{name}");
        }
        assert_eq!(look_up(&write(&BTreeMap::new()), "ahci"), None);
    }
}
