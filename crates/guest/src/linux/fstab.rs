//! `/etc/fstab`: what is mounted and swapped to, and the device names in it that other hardware would change.
//!
//! Source: fstab(5), swapon(8).

use serde::Serialize;

/// Entries that are read.
const MOUNTS_AT_MOST: usize = 1000;

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// What is mounted, as it is written: a device, `UUID=…`, `LABEL=…`.
    pub spec: String,
    /// Where; `none` or `swap` for swap.
    pub point: String,
    /// The kind of file system.
    pub kind: String,
    /// The options, separated by commas.
    pub options: String,
}

impl Mount {
    /// Swap that is switched on at boot.
    #[must_use]
    pub fn is_swap(&self) -> bool {
        self.kind == "swap" && !self.options.split(',').any(|option| option == "noauto")
    }

    /// Names a disk by the place where it is plugged, so that another controller gives it another name.
    #[must_use]
    pub fn names_hardware(&self) -> bool {
        is_device(self.spec.as_bytes())
            || ["/dev/disk/by-path/", "/dev/disk/by-id/"].iter().any(|folder| self.spec.starts_with(folder))
    }
}

/// An `fstab`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Fstab {
    /// Its entries, in their order.
    pub mounts: Vec<Mount>,
    #[serde(skip)]
    text: Vec<u8>,
}

impl Fstab {
    /// Reads the text of an `fstab`.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let mounts = text.split(|byte| *byte == b'\n').filter_map(|line| {
            let line = String::from_utf8_lossy(line);
            let mut fields = line.split_ascii_whitespace();
            let spec = fields.next().filter(|spec| !spec.starts_with('#'))?;
            let (point, kind) = (fields.next()?, fields.next()?);
            let options = fields.next().unwrap_or("defaults");
            let [spec, point, kind, options] = [spec, point, kind, options].map(str::to_owned);
            Some(Mount { spec, point, kind, options })
        });
        Fstab { mounts: mounts.take(MOUNTS_AT_MOST).collect(), text: text.to_owned() }
    }

    /// The swap that is switched on at boot.
    pub fn swap(&self) -> impl Iterator<Item = &Mount> {
        self.mounts.iter().filter(|mount| mount.is_swap())
    }

    /// Whether the swap with this label, or this UUID, is switched on at boot.
    #[must_use]
    pub fn has_swap(&self, label: &str, uuid: Option<&str>) -> bool {
        self.swap().any(|mount| {
            let named = |tag: &str, folder: &str| {
                let value = mount.spec.strip_prefix(tag).or_else(|| mount.spec.strip_prefix(folder));
                value.map(|value| value.trim_matches('"').to_owned())
            };
            named("LABEL=", "/dev/disk/by-label/").is_some_and(|value| value == label)
                || named("UUID=", "/dev/disk/by-uuid/")
                    .is_some_and(|value| uuid.is_some_and(|uuid| uuid.eq_ignore_ascii_case(&value)))
        })
    }

    /// The text with the devices that `uuid_of` knows as `UUID=…`, everything else byte for byte; `None` if that changes nothing.
    ///
    /// Asked for are `/dev/sdXN`, `/dev/hdXN`, `/dev/vdXN`, `/dev/xvdXN` and `/dev/nvmeXnYpZ`, and the same without a partition. What
    /// comes back is taken if it can be a UUID.
    #[must_use]
    pub fn rewrite(&self, uuid_of: &dyn Fn(&str) -> Option<String>) -> Option<Vec<u8>> {
        let mut text = Vec::with_capacity(self.text.len() + 256);
        let mut changed = false;
        for line in self.text.split_inclusive(|byte| *byte == b'\n') {
            let start = line.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(line.len());
            let end =
                line[start..].iter().position(u8::is_ascii_whitespace).map_or(line.len(), |end| start + end);
            let spec = &line[start..end];
            let uuid = is_device(spec).then(|| uuid_of(&String::from_utf8_lossy(spec))).flatten();
            // An entry has more fields than one.
            let whole = line[end..].iter().any(|byte| !byte.is_ascii_whitespace());
            match uuid.filter(|uuid| whole && is_uuid(uuid)) {
                Some(uuid) => {
                    text.extend_from_slice(&line[..start]);
                    text.extend_from_slice(b"UUID=");
                    text.extend_from_slice(uuid.as_bytes());
                    text.extend_from_slice(&line[end..]);
                    changed = true;
                }
                None => text.extend_from_slice(line),
            }
        }
        changed.then_some(text)
    }
}

/// The name of a disk or a partition that the kernel numbers as it finds them.
fn is_device(spec: &[u8]) -> bool {
    let Some(name) = spec.strip_prefix(b"/dev/").and_then(|name| std::str::from_utf8(name).ok()) else {
        return false;
    };
    if name.len() > 32 {
        return false;
    }
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(nvme) = name.strip_prefix("nvme") {
        let Some((controller, space)) = nvme.split_once('n') else { return false };
        let (space, partition) =
            space.split_once('p').map_or((space, None), |(space, part)| (space, Some(part)));
        return digits(controller) && digits(space) && partition.is_none_or(digits);
    }
    let Some(rest) = ["sd", "hd", "vd", "xvd"].into_iter().find_map(|kind| name.strip_prefix(kind)) else {
        return false;
    };
    let letters = rest.find(|next: char| !next.is_ascii_lowercase()).unwrap_or(rest.len());
    letters > 0 && (letters == rest.len() || digits(&rest[letters..]))
}

/// What a file system is known by: a UUID, or the shorter number of FAT and NTFS.
fn is_uuid(text: &str) -> bool {
    (4..=36).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FSTAB: &str = "# /etc/fstab\n/dev/sda1\t/  ext4 errors=remount-ro 0 1\n  /dev/nvme0n1p2 /home ext4\r\n\
        /dev/vdb none swap sw\nUUID=abcd /x ext4 defaults 0 0\n/dev/mapper/vg-root /y ext4\n# /dev/sda1 / ext4\n/dev/sda1";

    fn known(device: &str) -> Option<String> {
        match device {
            "/dev/sda1" => Some("1234-ABCD".to_owned()),
            "/dev/nvme0n1p2" => Some("0c7c21b4-5a2e-4c3f-9d2b-9a2f0b1d7e55".to_owned()),
            "/dev/vdb" => Some("not a uuid".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn devices_become_uuids_and_the_rest_stays() {
        let fstab = Fstab::parse(FSTAB.as_bytes());
        let text = String::from_utf8(fstab.rewrite(&known).unwrap()).unwrap();
        assert_eq!(
            text,
            "# /etc/fstab\nUUID=1234-ABCD\t/  ext4 errors=remount-ro 0 1\n  UUID=0c7c21b4-5a2e-4c3f-9d2b-9a2f0b1d7e55 /home ext4\r\n\
            /dev/vdb none swap sw\nUUID=abcd /x ext4 defaults 0 0\n/dev/mapper/vg-root /y ext4\n# /dev/sda1 / ext4\n/dev/sda1"
        );
        assert_eq!(Fstab::parse(text.as_bytes()).rewrite(&known), None);
    }

    #[test]
    fn names_that_hardware_gives_are_told_from_others() {
        for device in [
            "/dev/sda",
            "/dev/sdab12",
            "/dev/hda1",
            "/dev/vda1",
            "/dev/xvda1",
            "/dev/nvme0n1",
            "/dev/nvme10n1p12",
        ] {
            assert!(is_device(device.as_bytes()), "{device}");
        }
        for device in [
            "/dev/sd",
            "/dev/sda1x",
            "/dev/sr0",
            "/dev/mapper/sda1",
            "sda1",
            "/dev/nvme0",
            "/dev/nvme0n1p",
            "/dev/fd0",
        ] {
            assert!(!is_device(device.as_bytes()), "{device}");
        }
    }

    #[test]
    fn swap_is_found_by_its_label_or_uuid() {
        let has = |line: &str| Fstab::parse(line.as_bytes()).has_swap("pocketvm-swap", Some("ABCD-1234"));
        assert!(has("LABEL=pocketvm-swap none swap sw 0 0"));
        assert!(has("LABEL=\"pocketvm-swap\" none swap nofail"));
        assert!(has("/dev/disk/by-label/pocketvm-swap none swap"));
        assert!(has("UUID=abcd-1234 swap swap"));
        assert!(!has("LABEL=pocketvm-swap none swap noauto"));
        assert!(!has("LABEL=other none swap sw"));
        assert!(!has("LABEL=pocketvm-swap /x ext4"));
        assert!(!has("#LABEL=pocketvm-swap none swap sw"));
    }

    proptest! {
        #[test]
        fn rewriting_twice_rewrites_nothing(lines in proptest::collection::vec(
            prop_oneof![
                "[ \t]{0,3}/dev/(sd|vd|hd)[a-c][0-9]?[ \t]+/[a-z]{0,5} ext4.{0,9}",
                "/dev/nvme[0-2]n1p[1-3] none swap.{0,5}",
                "[ #a-zA-Z/=0-9\t\r]{0,40}",
                ".{0,20}",
            ], 0..12), end in "\n?", none in 0_u8..4)
        {
            let text = lines.join("\n") + &end;
            let uuid_of = |device: &str| (device.len() as u8 % 4 != none).then(|| format!("{:x}-{:04x}", device.len() + 256, none));
            let fstab = Fstab::parse(text.as_bytes());
            match fstab.rewrite(&uuid_of) {
                None => prop_assert!(fstab.rewrite(&uuid_of).is_none()),
                Some(new) => {
                    let again = Fstab::parse(&new);
                    prop_assert!(again.rewrite(&uuid_of).is_none());
                    prop_assert_eq!(again.mounts.len(), fstab.mounts.len());
                    for (old, new) in fstab.mounts.iter().zip(&again.mounts) {
                        prop_assert_eq!((&old.point, &old.kind, &old.options), (&new.point, &new.kind, &new.options));
                        let uuid = uuid_of(&old.spec).map(|uuid| ["UUID=", &uuid].concat());
                        prop_assert!(old.spec == new.spec || Some(&new.spec) == uuid.as_ref());
                    }
                }
            }
        }
    }
}
