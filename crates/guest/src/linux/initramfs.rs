//! What is in an initramfs: archives one after the other, each compressed or not, as the kernel unpacks them over each other.
//!
//! Source: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst and init/initramfs.c.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use serde::Serialize;

use super::compression::{self, Compression, Source};
use super::cpio::{self, Bounds, Counted, Kind, Member};
use super::modules::{name_of, stays_inside};

/// How much of an initramfs is looked at.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes, unpacked, of all archives together; and bytes of the file.
    pub bytes: u64,
    /// Members of all archives together.
    pub members: u64,
    /// Bytes of memory for a decoder's window.
    pub memory: u64,
    /// Bytes of names and contents that are remembered.
    pub kept: u64,
}

impl Default for Limits {
    /// Far more than what a distribution makes: 4 GiB, 100,000 members.
    fn default() -> Self {
        Limits { bytes: 4 << 30, members: 100_000, memory: 160 << 20, kept: 16 << 20 }
    }
}

/// Segments of a file.
const SEGMENTS_AT_MOST: usize = 1000;
/// Bytes of a file that is remembered.
const CONTENT_AT_MOST: u64 = 64 << 10;

/// Files that say what is loaded, and are remembered.
pub(super) const CONF_MODULES: &str = "conf/modules";
pub(super) const MKINITCPIO_CONFIG: &str = "config";
pub(super) const MODULES_LOAD: &str = "etc/modules-load.d/pocketvm.conf";
pub(super) const CMDLINE: &str = "etc/cmdline.d/pocketvm.conf";
const REMEMBERED: [&str; 5] = [CONF_MODULES, MKINITCPIO_CONFIG, MODULES_LOAD, CMDLINE, "conf/conf.d/resume"];

/// What made an initramfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Generator {
    /// initramfs-tools, of Debian and Ubuntu.
    InitramfsTools,
    /// dracut, of Fedora, RHEL and openSUSE.
    Dracut,
    /// mkinitcpio, of Arch.
    Mkinitcpio,
    /// Something else.
    #[default]
    Other,
}

/// One of the archives, or several that are compressed as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// Where it begins in the file.
    pub at: u64,
    /// What it is compressed with.
    pub compression: Compression,
    /// Its members.
    pub members: u64,
    /// It holds microcode for the processor, which the kernel reads before it unpacks anything.
    pub microcode: bool,
}

/// The modules of one kernel in an initramfs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// Their files below the folder, by their names.
    pub(super) paths: BTreeMap<String, String>,
}

/// What is in an initramfs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Contents {
    /// Its parts, in their order.
    pub segments: Vec<Segment>,
    /// Bytes that it unpacks to.
    pub unpacked: u64,
    /// What made it.
    pub generator: Generator,
    /// udev is there, which loads the drivers of what it finds.
    pub udev: bool,
    /// systemd-modules-load is there, which loads what `modules-load.d` names.
    pub modules_load: bool,
    /// The modules that are loaded whatever hardware there is (`conf/modules` of initramfs-tools), normalised.
    pub loaded: Vec<String>,
    /// Its modules may be in a squashfs inside of it, where they are not seen.
    pub squashfs: bool,
    /// Why it was not read to its end; the kernel too would stop there, or can do more than is done here.
    pub damage: Option<String>,
    /// Folders of modules, such as `usr/lib/modules/6.1.0`, and what is in them.
    #[serde(skip)]
    pub(super) folders: BTreeMap<String, Held>,
    /// Small files that say what is loaded.
    #[serde(skip)]
    pub(super) texts: BTreeMap<&'static str, Vec<u8>>,
    /// Links that may be on the way to a file that is added.
    #[serde(skip)]
    pub(super) links: BTreeSet<String>,
}

impl Contents {
    /// The folder of the modules for the kernel `version`, with the most of them; `None` if it has none.
    pub(super) fn folder(&self, version: &str) -> Option<(&str, &Held)> {
        let folders = self.folders.iter().filter(|(folder, _)| folder.rsplit('/').next() == Some(version));
        folders.max_by_key(|(_, held)| held.paths.len()).map(|(folder, held)| (folder.as_str(), held))
    }

    /// A remembered file as text; empty if it isn't there.
    pub(super) fn text(&self, name: &str) -> String {
        String::from_utf8_lossy(self.texts.get(name).map_or(&[][..], Vec::as_slice)).into_owned()
    }
}

/// Reads an initramfs to its end, or to the first place that makes no sense: that is then its [`damage`](Contents::damage), and
/// what was before it stays, as it does for the kernel.
///
/// # Errors
/// `from` fails.
pub fn read(from: impl Read, limits: &Limits) -> io::Result<Contents> {
    let mut source = Source::new(Watched { from, left: limits.bytes, failed: None });
    let mut contents = Contents::default();
    let mut bounds = Bounds { members: limits.members, bytes: limits.bytes };
    let mut kept = limits.kept;
    let mut seen = Seen::default();
    loop {
        match segment(&mut source, &mut bounds, limits, |member, content| {
            note(&mut contents, &mut seen, &mut kept, member, content)
        }) {
            Ok(None) => break,
            Ok(Some((segment, damage))) => {
                contents.segments.push(segment);
                if let Some(damage) = damage {
                    contents.damage = Some(damage);
                    break;
                }
            }
            Err(error) => {
                contents.damage = Some(error.to_string());
                break;
            }
        }
        if contents.segments.len() == SEGMENTS_AT_MOST {
            contents.damage = Some("it has too many parts".to_owned());
            break;
        }
    }
    if let Some(error) = source.into_inner().failed {
        return Err(error);
    }
    contents.unpacked = limits.bytes - bounds.bytes;
    contents.generator = seen.generator();
    contents.loaded = words(&contents.text(CONF_MODULES));
    Ok(contents)
}

/// The modules named in a list of them, one per line with its options; `#` begins a comment.
pub(super) fn words(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.split('#').next()?.split_whitespace().next());
    lines.map(super::modules::normalised).collect()
}

/// Keeps the error of what is read, so that it isn't taken for damage of the content, and ends it where its content would: a file
/// without one, or with holes between its archives, may be as long as it likes.
struct Watched<R> {
    from: R,
    /// Bytes that may still be read.
    left: u64,
    failed: Option<io::Error>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.from.read(buf) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                self.failed = Some(error);
                Err(io::Error::other("it can't be read"))
            }
            Ok(count) => {
                self.left =
                    self.left.checked_sub(count as u64).ok_or_else(|| cpio::too_large("the initramfs"))?;
                Ok(count)
            }
            result => result,
        }
    }
}

/// Reads the next segment; `None` at the end of the file. With a segment comes what ended it early.
fn segment<R: Read>(
    source: &mut Source<R>,
    bounds: &mut Bounds,
    limits: &Limits,
    mut each: impl FnMut(&Member, &mut dyn Read) -> io::Result<()>,
) -> io::Result<Option<(Segment, Option<String>)>> {
    source.skip_zeros()?;
    let (at, magic) = (source.at(), source.ahead(compression::MAGIC)?);
    if magic.is_empty() {
        return Ok(None);
    }
    let compression = Compression::of(magic)
        .ok_or_else(|| cpio::damaged("it goes on with something that is no archive"))?;
    if compression == Compression::None && !at.is_multiple_of(4) {
        return Err(cpio::damaged("an archive in it is not at a multiple of four bytes"));
    }
    let mut found = Segment { at, compression, members: 0, microcode: false };
    let mut each = |member: &Member, content: &mut dyn Read| {
        found.members += 1;
        found.microcode |= member.name.starts_with("kernel/x86/microcode/");
        each(member, content)
    };
    let mut archives = || -> io::Result<()> {
        if compression == Compression::None {
            while !cpio::member(&mut Counted::new(&mut *source, bounds), &mut each)?
                && source.ahead(1)? == b"0"
            {}
            return Ok(());
        }
        let content = compression::open(compression, source, limits.memory)?;
        let mut counted = Counted::new(content, bounds);
        while counted.archive_follows()? {
            cpio::member(&mut counted, &mut each)?;
        }
        Ok(())
    };
    let damage = archives().err().map(|error| error.to_string());
    Ok(Some((found, damage)))
}

/// What tells one generator from another.
#[derive(Debug, Default)]
struct Seen {
    initramfs_tools: bool,
    dracut: bool,
    mkinitcpio: bool,
}

impl Seen {
    fn generator(&self) -> Generator {
        match self {
            Seen { initramfs_tools: true, .. } => Generator::InitramfsTools,
            Seen { dracut: true, .. } => Generator::Dracut,
            Seen { mkinitcpio: true, .. } => Generator::Mkinitcpio,
            _ => Generator::Other,
        }
    }
}

/// Takes note of one member.
fn note(
    contents: &mut Contents,
    seen: &mut Seen,
    kept: &mut u64,
    member: &Member,
    content: &mut dyn Read,
) -> io::Result<()> {
    let name = member.name.as_str();
    let mut keep = |bytes: usize| {
        *kept = kept
            .checked_sub(bytes as u64 + 64)
            .ok_or_else(|| cpio::too_large("what is remembered of the initramfs"))?;
        Ok::<(), io::Error>(())
    };
    seen.initramfs_tools |= matches!(name, "conf/initramfs.conf" | "scripts/functions");
    let last = name.rsplit('/').next().unwrap_or(name);
    seen.dracut |= name.starts_with("usr/lib/dracut/") || last == "dracut-lib.sh";
    seen.mkinitcpio |= matches!(name, "buildconfig" | "init_functions");
    contents.udev |= matches!(last, "systemd-udevd" | "udevd");
    contents.modules_load |= last == "systemd-modules-load";
    contents.squashfs |= matches!(last, "squashfs-root.img" | "squash-root.img");

    if member.kind == Kind::Link
        && (!name.contains('/')
            || name == "usr/lib"
            || name.starts_with("etc/")
            || name.contains("lib/modules"))
    {
        keep(name.len())?;
        contents.links.insert(name.to_owned());
    }
    if member.kind != Kind::File {
        return Ok(());
    }
    if let Some(remembered) = REMEMBERED.into_iter().find(|remembered| *remembered == name) {
        let mut bytes = Vec::new();
        content.take(CONTENT_AT_MOST).read_to_end(&mut bytes)?;
        keep(bytes.len())?;
        contents.texts.insert(remembered, bytes);
    }
    if let Some((folder, path)) = in_modules(name)
        && stays_inside(path)
        && let Some(module) = name_of(path)
    {
        keep(folder.len() + path.len() + module.len())?;
        contents.folders.entry(folder.to_owned()).or_default().paths.insert(module, path.to_owned());
    }
    Ok(())
}

/// Divides `usr/lib/modules/VERSION/PATH` before PATH.
fn in_modules(name: &str) -> Option<(&str, &str)> {
    let below =
        ["lib/modules/", "usr/lib/modules/"].into_iter().find_map(|folder| name.strip_prefix(folder))?;
    let (version, path) = below.split_once('/')?;
    (!version.is_empty()).then(|| (&name[..name.len() - path.len() - 1], path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(names: &[(&str, &str)]) -> Vec<u8> {
        let mut writer = cpio::Writer::new();
        for (name, content) in names {
            writer.file(name, content.as_bytes());
        }
        writer.finish()
    }

    fn read(bytes: &[u8]) -> Contents {
        super::read(bytes, &Limits::default()).unwrap()
    }

    #[test]
    fn archives_after_each_other_are_read_as_one() {
        let mut bytes = archive(&[("kernel/x86/microcode/GenuineIntel.bin", "new")]);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes.extend(archive(&[
            ("usr/lib/modules/6.1/kernel/ahci.ko", ""),
            ("conf/modules", "ext4\n# no\nsd-mod x=1\n"),
        ]));
        bytes.extend(archive(&[
            ("usr/lib/modules/6.1/kernel/virtio-blk.ko.xz", ""),
            ("scripts/functions", ""),
        ]));
        let contents = read(&bytes);
        assert_eq!(contents.damage, None);
        assert_eq!(contents.generator, Generator::InitramfsTools);
        assert_eq!(contents.loaded, ["ext4", "sd_mod"]);
        let (folder, held) = contents.folder("6.1").unwrap();
        assert_eq!(
            (folder, held.paths.keys().map(String::as_str).collect()),
            ("usr/lib/modules/6.1", vec!["ahci", "virtio_blk"])
        );
        assert!(contents.folder("6.2").is_none());
        let microcode: Vec<bool> = contents.segments.iter().map(|segment| segment.microcode).collect();
        assert_eq!(microcode, [true, false, false]);
    }

    #[test]
    fn what_is_before_damage_stays() {
        let good = archive(&[("usr/lib/modules/6.1/ahci.ko", "x")]);
        for (rest, clause) in [
            (&b"no archive"[..], "it goes on with something that is no archive"),
            (b"070701 this is not hexadecimal in any way, and it is long enough for a header, which has one hundred and ten bytes", "a number in a cpio archive is none"),
            (&good[..good.len() / 2], "unexpected end of file"),
            (&[0, b'0', b'7', b'0', b'7', b'0', b'1'], "an archive in it is not at a multiple of four bytes"),
            (&[0x5d, 0, 0, 0, 0, 0, 0], "it is compressed with LZMA's older format, which is not read"),
        ] {
            let contents = read(&[&good[..], rest].concat());
            assert_eq!(contents.damage.as_deref(), Some(clause));
            assert!(contents.folder("6.1").is_some());
        }
    }

    #[test]
    fn every_bound_is_damage_and_no_failure() {
        let bytes = archive(&[("a", "0123456789"), ("usr/lib/modules/6.1/ahci.ko", "x"), ("c", "")]);
        for limits in [
            Limits { bytes: 200, ..Limits::default() },
            Limits { members: 1, ..Limits::default() },
            Limits { kept: 10, ..Limits::default() },
        ] {
            let contents = super::read(&bytes[..], &limits).unwrap();
            assert!(contents.damage.is_some(), "{limits:?}");
        }
    }

    #[test]
    fn zeros_without_end_are_damage() {
        let limits = Limits { bytes: 1 << 20, ..Limits::default() };
        let contents = super::read(io::repeat(0), &limits).unwrap();
        assert_eq!(contents.damage.as_deref(), Some("the initramfs is larger than what is read of it"));
    }

    #[test]
    fn a_disk_that_fails_is_no_damage() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("unplugged"))
            }
        }
        let good = archive(&[("a", "")]);
        let error = super::read((&good[..]).chain(Failing), &Limits::default()).unwrap_err();
        assert_eq!(error.to_string(), "unplugged");
    }
}
