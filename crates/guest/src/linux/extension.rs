//! Drivers for an initramfs: an archive of modules from the guest's own tree, to be put behind the initramfs that it has.
//!
//! The kernel unpacks archives over each other. So a file in the extension replaces the one of that name, which is why the lists
//! of what is loaded are given whole, and why `modules.dep` is written anew: the guest's own would name files that this initramfs does
//! not have, or has under another suffix (some generators unpack modules). All other indexes speak of names, not files, and are
//! the guest's own.

use std::collections::{BTreeMap, BTreeSet};

use super::cpio::Writer;
use super::files::Files;
use super::index;
use super::initramfs::{CMDLINE, CONF_MODULES, Contents, Generator, MKINITCPIO_CONFIG, MODULES_LOAD, words};
use super::kernel::{Initramfs, Kernel, Support, support};
use super::modules::normalised;
use crate::{Error, Result};

/// Bytes of an extension.
pub const EXTENSION_AT_MOST: u64 = 64 << 20;

/// Indexes that are taken as they are, from `depmod`, which writes them, and from the kernel's build.
const INDEXES: [&str; 11] = [
    "modules.alias",
    "modules.alias.bin",
    "modules.builtin",
    "modules.builtin.alias.bin",
    "modules.builtin.bin",
    "modules.builtin.modinfo",
    "modules.devname",
    "modules.order",
    "modules.softdep",
    "modules.symbols.bin",
    "modules.weakdep",
];

/// The bytes to put behind the initramfs of `kernel` so that it has and loads `modules`, all that they need included. Nothing if it has
/// them already, and then [`support`] says so; so it does when they have been put there.
///
/// They begin with the zeros that bring the archive to a multiple of four and that end a stream of LZ4, for the initramfs's size
/// now. A kernel before 5.9 does not look behind a stream of LZ4, unless its distribution changed that, as Ubuntu did.
///
/// # Errors
/// The guest lacks a module, has no initramfs that can be extended ([`Error::Unsupported`]), or what it would take is more than
/// [`EXTENSION_AT_MOST`]; or the disk fails or is damaged.
pub fn extension(files: &Files, kernel: &Kernel, modules: &[&str]) -> Result<Vec<u8>> {
    let unsupported = |clause: String| Error::Unsupported(format!("{clause} (kernel {})", kernel.version));
    let mut wanted = BTreeSet::new();
    for module in modules.iter().map(|module| normalised(module)) {
        match support(kernel, &module) {
            Support::BuiltIn | Support::InInitramfs => {}
            Support::InTree => {
                wanted.insert(module);
            }
            Support::Missing => return Err(unsupported(format!("the guest has no driver {module}"))),
        }
    }
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let (Some(initramfs), Some(tree)) = (&kernel.initramfs, &kernel.folder) else {
        return Err(unsupported("the guest has no initramfs to which a driver can be added".to_owned()));
    };
    if let Some(damage) = &initramfs.contents.damage {
        return Err(unsupported(format!("the guest's initramfs was not understood to its end: {damage}")));
    }
    if initramfs.contents.squashfs {
        return Err(unsupported("the guest's initramfs keeps its drivers in a squashfs".to_owned()));
    }
    let folder = folder(kernel, &initramfs.contents);
    let added = with_needs(kernel, &initramfs.modules, &wanted);
    let mut members = Members { files: BTreeMap::new(), left: EXTENSION_AT_MOST };
    let mut present =
        initramfs.contents.folder(&kernel.version).map(|(_, held)| held.paths.clone()).unwrap_or_default();
    for name in &added {
        let Some(path) = kernel.tree.path(name) else { continue };
        let content = members.content(files, &format!("{tree}/{path}"))?;
        let content = content
            .ok_or_else(|| unsupported(format!("the file of the guest's driver {name} is not there")))?;
        members.add(format!("{folder}/{path}"), content)?;
        present.insert(name.clone(), path.to_owned());
    }
    let lines = kernel.tree.restricted(&present).ok_or_else(|| Error::TooLarge("modules.dep".to_owned()))?;
    let text = lines.values().flat_map(|line| [line.as_bytes(), b"\n"]).collect::<Vec<_>>().concat();
    members.add(format!("{folder}/modules.dep"), text)?;
    members.add(format!("{folder}/modules.dep.bin"), index::write(&lines))?;
    for name in INDEXES {
        if let Some(content) = members.content(files, &format!("{tree}/{name}"))? {
            members.add(format!("{folder}/{name}"), content)?;
        }
    }
    if let Some((name, content)) = list(&initramfs.contents, &wanted).map_err(unsupported)? {
        members.add(name.to_owned(), content.into_bytes())?;
    }
    if let Some(link) =
        members.folders().into_iter().find(|folder| initramfs.contents.links.contains(*folder))
    {
        return Err(unsupported(format!("a folder of the guest's initramfs is a link: {link}")));
    }
    Ok(members.archive(initramfs))
}

/// Where the modules are in the initramfs. An archive's paths go through no link; a folder that is written where one is would
/// replace it, and with it all that is behind it.
fn folder(kernel: &Kernel, contents: &Contents) -> String {
    match contents.folder(&kernel.version) {
        Some((folder, _)) => folder.to_owned(),
        None if contents.links.contains("lib") => format!("usr/lib/modules/{}", kernel.version),
        None => format!("lib/modules/{}", kernel.version),
    }
}

/// `wanted` and all that they need, but for what is there.
fn with_needs(kernel: &Kernel, held: &BTreeSet<String>, wanted: &BTreeSet<String>) -> BTreeSet<String> {
    let needs = wanted.iter().flat_map(|name| kernel.tree.needs(name).map(str::to_owned));
    let all = needs.chain(wanted.iter().cloned());
    all.filter(|name| !kernel.built_in.contains(name) && !held.contains(name)).collect()
}

/// The file by which this initramfs loads `wanted`, and its whole content; `None` if it needs none. A driver of something on a bus is
/// loaded by udev too, by what the indexes say.
fn list(
    contents: &Contents,
    wanted: &BTreeSet<String>,
) -> std::result::Result<Option<(&'static str, String)>, String> {
    let added = |name: &'static str| {
        let old = contents.text(name);
        let known = words(&old);
        let new: Vec<&str> =
            wanted.iter().filter(|module| !known.contains(module)).map(String::as_str).collect();
        let between = if old.is_empty() || old.ends_with('\n') { "" } else { "\n" };
        (name, format!("{old}{between}{}\n", new.join("\n")))
    };
    let names: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let old = |name| {
        let mut old = contents.text(name);
        if !old.is_empty() && !old.ends_with('\n') {
            old.push('\n');
        }
        old
    };
    Ok(match contents.generator {
        Generator::InitramfsTools => Some(added(CONF_MODULES)),
        _ if contents.modules_load => Some(added(MODULES_LOAD)),
        Generator::Dracut => Some((CMDLINE, format!("{}rd.driver.pre={}\n", old(CMDLINE), names.join(",")))),
        // The initramfs's init is a shell that reads this file, and loads what is in the variable.
        Generator::Mkinitcpio => Some((
            MKINITCPIO_CONFIG,
            format!("{}MODULES=\"$MODULES {}\"\n", old(MKINITCPIO_CONFIG), names.join(" ")),
        )),
        Generator::Other if contents.udev => None,
        Generator::Other => {
            return Err("nothing is known to load drivers in the guest's initramfs".to_owned());
        }
    })
}

/// The files of an extension.
struct Members {
    files: BTreeMap<String, Vec<u8>>,
    left: u64,
}

impl Members {
    fn too_large() -> Error {
        Error::TooLarge("what would be added to the initramfs".to_owned())
    }

    /// The content of a file of the guest, if it has that.
    fn content(&self, files: &Files, path: &str) -> Result<Option<Vec<u8>>> {
        files.read(path, self.left).map_err(|error| match error {
            Error::TooLarge(_) => Self::too_large(),
            error => error,
        })
    }

    fn add(&mut self, name: String, content: Vec<u8>) -> Result<()> {
        // Each has a header, and a folder perhaps.
        let bytes = content.len() as u64 + 1024 + 3 * name.len() as u64;
        self.left = self.left.checked_sub(bytes).ok_or_else(Self::too_large)?;
        self.files.insert(name, content);
        Ok(())
    }

    /// All folders that the files are in.
    fn folders(&self) -> BTreeSet<&str> {
        let parents = |name: &'_ str| name.match_indices('/').map(|(at, _)| at).collect::<Vec<_>>();
        self.files.keys().flat_map(|name| parents(name).into_iter().map(|at| &name[..at])).collect()
    }

    /// The archive, and the zeros before it.
    fn archive(&self, initramfs: &Initramfs) -> Vec<u8> {
        let mut writer = Writer::new();
        for folder in self.folders() {
            writer.folder(folder);
        }
        for (name, content) in &self.files {
            writer.file(name, content);
        }
        let zeros = initramfs.size.next_multiple_of(4) - initramfs.size + 4;
        [vec![0; zeros as usize], writer.finish()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(contents: &Contents) -> std::result::Result<Option<(&'static str, String)>, String> {
        list(contents, &BTreeSet::from(["ahci".to_owned(), "sd_mod".to_owned()]))
    }

    fn contents(generator: Generator, texts: &[(&'static str, &str)]) -> Contents {
        let texts = texts.iter().map(|(name, text)| (*name, text.as_bytes().to_vec())).collect();
        Contents { generator, texts, udev: true, ..Contents::default() }
    }

    #[test]
    fn initramfs_tools_keeps_what_it_loads() {
        let old = contents(Generator::InitramfsTools, &[(CONF_MODULES, "ext4\nahci x=1")]);
        assert_eq!(listed(&old), Ok(Some((CONF_MODULES, "ext4\nahci x=1\nsd_mod\n".to_owned()))));
        let none = contents(Generator::InitramfsTools, &[]);
        assert_eq!(listed(&none), Ok(Some((CONF_MODULES, "ahci\nsd_mod\n".to_owned()))));
    }

    #[test]
    fn dracut_loads_by_systemd_or_by_its_command_line() {
        let plain = contents(Generator::Dracut, &[(CMDLINE, "rd.driver.pre=nvme\n")]);
        let line = "rd.driver.pre=nvme\nrd.driver.pre=ahci,sd_mod\n".to_owned();
        assert_eq!(listed(&plain), Ok(Some((CMDLINE, line))));
        let systemd = Contents { modules_load: true, ..plain };
        assert_eq!(listed(&systemd), Ok(Some((MODULES_LOAD, "ahci\nsd_mod\n".to_owned()))));
    }

    #[test]
    fn mkinitcpio_reads_a_longer_variable() {
        let old = contents(Generator::Mkinitcpio, &[(MKINITCPIO_CONFIG, "MODULES=\"ext4\"\nHOOKS=\"udev\"")]);
        let text = "MODULES=\"ext4\"\nHOOKS=\"udev\"\nMODULES=\"$MODULES ahci sd_mod\"\n".to_owned();
        assert_eq!(listed(&old), Ok(Some((MKINITCPIO_CONFIG, text))));
    }

    #[test]
    fn an_unknown_initramfs_needs_udev() {
        let unknown = contents(Generator::Other, &[]);
        assert_eq!(listed(&unknown), Ok(None));
        assert!(listed(&Contents { udev: false, ..unknown }).is_err());
    }
}
