//! Registry hives, made by hivexregedit from an empty one.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use crate::programs::run;

const PREFIX: &str = r"HKEY_LOCAL_MACHINE\SYSTEM";

/// Values by key, in the words of a `.reg` file.
#[derive(Debug, Clone, Default)]
pub struct Registry(Vec<(String, Vec<String>)>);

impl Registry {
    /// Sets values of a key: `"Start"=dword:00000003`.
    pub fn set(mut self, key: &str, values: &[&str]) -> Self {
        self.0.push((key.to_owned(), values.iter().map(|value| (*value).to_owned()).collect()));
        self
    }

    /// Without the key and what is below it.
    pub fn without(mut self, key: &str) -> Self {
        let below = format!("{key}\\");
        let before = self.0.len();
        self.0.retain(|(name, _)| name != key && !name.starts_with(&below));
        assert!(self.0.len() < before, "there is no {key}");
        self
    }

    /// Without the values of the key.
    pub fn emptied(mut self, key: &str) -> Self {
        self.0.iter_mut().find(|(name, _)| name == key).expect("there is such a key").1.clear();
        self
    }

    /// The hive.
    pub fn hive(&self) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let (hive, text) = (dir.path().join("hive"), dir.path().join("text.reg"));
        std::fs::write(&hive, empty()).unwrap();
        std::fs::write(&text, self.text()).unwrap();
        let arguments =
            ["--merge".as_ref(), "--prefix".as_ref(), PREFIX.as_ref(), hive.as_os_str(), text.as_os_str()];
        run("hivexregedit", arguments);
        std::fs::read(&hive).unwrap()
    }

    fn text(&self) -> String {
        let mut text = "Windows Registry Editor Version 5.00\n".to_owned();
        let mut made = BTreeSet::new();
        for (key, values) in &self.0 {
            // hivexregedit makes no parents.
            for (end, _) in key.match_indices('\\').chain([(key.len(), "")]) {
                let last = end == key.len();
                if made.insert(key[..end].to_owned()) || last {
                    write!(text, "\n[{PREFIX}\\{}]\n", &key[..end]).unwrap();
                }
            }
            for value in values {
                writeln!(text, "{value}").unwrap();
            }
        }
        text
    }
}

/// A REG_BINARY.
pub fn binary(name: &str, data: &[u8]) -> String {
    hex(name, "hex", data)
}

/// A REG_MULTI_SZ of one text.
pub fn texts(name: &str, text: &str) -> String {
    let units: Vec<u8> = text.encode_utf16().chain([0, 0]).flat_map(u16::to_le_bytes).collect();
    hex(name, "hex(7)", &units)
}

fn hex(name: &str, kind: &str, data: &[u8]) -> String {
    let data: Vec<String> = data.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{name}\"={kind}:{}", data.join(","))
}

/// A value as hivexget and reglookup read it, if they agree.
pub fn number(hive: &Path, key: &str, name: &str) -> u32 {
    let got = run("hivexget", [hive.as_os_str(), key.as_ref(), name.as_ref()]);
    let got: u32 = String::from_utf8(got).unwrap().trim().parse().expect("hivexget prints a number");
    let path = format!("/{}/{name}", key.replace('\\', "/"));
    let looked = run("reglookup", ["-H".as_ref(), "-p".as_ref(), path.as_ref(), hive.as_os_str()]);
    let looked = String::from_utf8(looked).unwrap();
    let expected = format!("{path},DWORD,0x{got:08X},");
    assert!(looked.starts_with(&expected), "hivexget says {got}, reglookup: {looked}");
    got
}

/// The smallest hive: a root key and its security.
pub fn empty() -> Vec<u8> {
    const NONE: u32 = u32::MAX;
    let mut root = b"nk".to_vec();
    // Flags: root, not to be deleted, name in bytes.
    root.extend(0x2Cu16.to_le_bytes());
    root.extend([0; 8]);
    for field in [0, 0, 0, 0, NONE, NONE, 0, NONE, 0x80, NONE, 0, 0, 0, 0, 0] {
        root.extend(u32::to_le_bytes(field));
    }
    root.extend([4, 0, 0, 0]);
    root.extend(b"ROOT");
    // An owner and a group, no access list.
    let mut descriptor = vec![1, 0, 0, 0x80, 20, 0, 0, 0, 36, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    descriptor.extend([1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 32, 2, 0, 0]);
    descriptor.extend([1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0]);
    let mut security = b"sk\0\0".to_vec();
    for field in [0x80, 0x80, 1, descriptor.len() as u32] {
        security.extend(u32::to_le_bytes(field));
    }
    security.extend(descriptor);

    let mut bin = b"hbin".to_vec();
    bin.extend([0, 0, 0, 0, 0, 0x10, 0, 0]);
    bin.resize(0x20, 0);
    for (content, length) in [(root, 0x60i32), (security, 0x50)] {
        let start = bin.len();
        bin.extend((-length).to_le_bytes());
        bin.extend(content);
        bin.resize(start + length as usize, 0);
    }
    bin.extend((4096 - bin.len() as u32).to_le_bytes());
    bin.resize(4096, 0);

    let mut hive = b"regf".to_vec();
    for field in [1, 1, 0, 0, 1, 3, 0, 1, 0x20, 4096, 1] {
        hive.extend(u32::to_le_bytes(field));
    }
    hive.resize(4096, 0);
    sum(&mut hive);
    hive.extend(bin);
    hive
}

/// Sets the checksum of a hive's first page.
pub fn sum(hive: &mut [u8]) {
    let sum =
        hive[..508].chunks_exact(4).fold(0, |sum, word| sum ^ u32::from_le_bytes(word.try_into().unwrap()));
    hive[508..512].copy_from_slice(&sum.to_le_bytes());
}
