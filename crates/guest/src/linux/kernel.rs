//! The installed kernels: their images, their modules and what their initramfs can load.

use std::collections::BTreeSet;

use serde::Serialize;

use super::Scope;
use super::files::{Files, read_error};
use super::initramfs::{self, Contents, Limits};
use super::modules::{ModuleTree, built_in, normalised};
use crate::Result;

/// Kernels that are looked at, the newest first.
const KERNELS_AT_MOST: usize = 8;
/// Bytes of an initramfs as it lies on the disk.
const INITRAMFS_AT_MOST: u64 = 2 << 30;
/// Bytes of a `modules.dep`; a distribution's has less than 1 MiB.
const INDEX_AT_MOST: u64 = 4 << 20;
/// Folders that may hold modules, the one behind a link first.
const MODULES: [&str; 2] = ["/lib/modules", "/usr/lib/modules"];

/// An initramfs on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Initramfs {
    /// Its path in the guest.
    pub path: String,
    /// Bytes of the file.
    pub size: u64,
    /// The modules in it for its kernel, normalised.
    pub modules: BTreeSet<String>,
    /// What else is in it.
    #[serde(flatten)]
    pub contents: Contents,
}

impl Initramfs {
    /// What an initramfs of `size` bytes with these `contents` is to the kernel `version`.
    #[must_use]
    pub fn new(path: &str, size: u64, version: &str, contents: Contents) -> Self {
        let modules = contents.folder(version).map(|(_, held)| held.paths.keys().cloned().collect());
        Initramfs { path: path.to_owned(), size, modules: modules.unwrap_or_default(), contents }
    }
}

/// An installed kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kernel {
    /// Its version as `uname -r` tells it.
    pub version: String,
    /// The path of its image in the guest.
    pub image: String,
    /// Its initramfs.
    pub initramfs: Option<Initramfs>,
    /// Where its modules are in the guest, all links followed; `None` if nowhere, or on a root that isn't read.
    pub folder: Option<String>,
    /// The modules that are part of the image, normalised.
    #[serde(skip)]
    pub built_in: BTreeSet<String>,
    /// The modules on the root.
    #[serde(skip)]
    pub tree: ModuleTree,
}

/// Whether a kernel can use a module before the root is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Support {
    /// It is part of the kernel.
    BuiltIn,
    /// It and all that it needs is in the initramfs, or part of the kernel.
    InInitramfs,
    /// It and all that it needs is on the root, from where it could be added.
    InTree,
    /// The guest does not have it, or not all that it needs.
    Missing,
}

/// Whether `kernel` can use `module` before the root is there.
#[must_use]
pub fn support(kernel: &Kernel, module: &str) -> Support {
    let module = normalised(module);
    if kernel.built_in.contains(&module) {
        return Support::BuiltIn;
    }
    let held =
        |name: &str| kernel.initramfs.as_ref().is_some_and(|initramfs| initramfs.modules.contains(name));
    let with_needs = |has: &dyn Fn(&str) -> bool| {
        has(&module) && kernel.tree.needs(&module).all(|need| kernel.built_in.contains(need) || has(need))
    };
    if with_needs(&held) {
        Support::InInitramfs
    } else if with_needs(&|name| kernel.tree.has(name)) {
        Support::InTree
    } else {
        Support::Missing
    }
}

/// Finds the kernels of `scope`, the newest first. The one that is started when nobody chooses has the image `default`.
pub(super) fn find(
    files: &Files,
    scope: Scope,
    default: Option<&str>,
    limits: &Limits,
) -> Result<Vec<Kernel>> {
    if scope == Scope::None {
        return Ok(Vec::new());
    }
    let boot = files.names("/boot")?;
    let mut found: Vec<(String, String)> = Vec::new();
    for name in &boot {
        let Some(version) = image_version(name) else { continue };
        found.push((version.to_owned(), format!("/boot/{name}")));
    }
    // Arch calls an image after its package; the modules tell which that is. Others keep the only image there.
    let folder = folder_of_modules(files)?;
    for version in files.names(folder)? {
        let package = files.text(&format!("{folder}/{version}/pkgbase"), 4096)?;
        let image = format!("vmlinuz-{}", package.trim());
        if !package.trim().is_empty() && boot.contains(&image) {
            found.retain(|(_, path)| *path != format!("/boot/{image}"));
            found.push((version.clone(), format!("/boot/{image}")));
        } else if !found.iter().any(|(known, _)| *known == version) {
            let path = format!("{folder}/{version}/vmlinuz");
            if files.exists(&path)? {
                found.push((version.clone(), path));
            }
        }
    }
    found.retain(|(version, _)| {
        version.len() <= 128 && super::modules::stays_inside(version) && !version.contains('/')
    });
    found.sort_by(|one, other| natural(&other.0).cmp(&natural(&one.0)).then_with(|| one.1.cmp(&other.1)));
    found.dedup_by(|one, other| one.0 == other.0);
    if scope == Scope::Default {
        let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let default = default.map(name);
        let at = found.iter().position(|(_, image)| Some(name(image)) == default).unwrap_or(0);
        found = found.into_iter().skip(at).take(1).collect();
    }
    found.truncate(KERNELS_AT_MOST);
    // All together unpack to no more than one may.
    let mut limits = limits.clone();
    let mut kernels = Vec::new();
    for (version, image) in found {
        let kernel = kernel(files, folder, version, image, &boot, &limits)?;
        let unpacked = kernel.initramfs.as_ref().map_or(0, |initramfs| initramfs.contents.unpacked);
        limits.bytes = limits.bytes.saturating_sub(unpacked);
        kernels.push(kernel);
    }
    Ok(kernels)
}

fn folder_of_modules(files: &Files) -> Result<&'static str> {
    for folder in MODULES {
        if !files.names(folder)?.is_empty() {
            return Ok(folder);
        }
    }
    Ok(MODULES[0])
}

/// The version in the name of a kernel's image.
fn image_version(name: &str) -> Option<&str> {
    let version = ["vmlinuz-", "vmlinux-", "kernel-", "Image-", "bzImage-"]
        .into_iter()
        .find_map(|prefix| name.strip_prefix(prefix))?;
    // "vmlinuz-0-rescue-…" boots everything but belongs to no version; a signature and the like is no image.
    let good = version.starts_with(|first: char| first.is_ascii_digit())
        && !version.starts_with("0-rescue")
        && ![".old", ".hmac", ".sig", ".bak"].iter().any(|suffix| version.ends_with(suffix));
    (good || matches!(version, "linux" | "linux-lts" | "linux-zen" | "linux-hardened")).then_some(version)
}

fn kernel(
    files: &Files,
    folder: &str,
    version: String,
    image: String,
    boot: &[String],
    limits: &Limits,
) -> Result<Kernel> {
    let modules = files.resolve(&format!("{folder}/{version}"))?.map(|(path, _)| path);
    let (mut built, mut tree) = (BTreeSet::new(), ModuleTree::default());
    if let Some(folder) = &modules {
        built = built_in(&files.text(&format!("{folder}/modules.builtin"), INDEX_AT_MOST)?);
        tree = ModuleTree::parse(&files.text(&format!("{folder}/modules.dep"), INDEX_AT_MOST)?);
    }
    let package = image.strip_prefix("/boot/vmlinuz-");
    let names = [version.as_str()].into_iter().chain(package).flat_map(|name| {
        ["initrd.img-", "initramfs-", "initrd-"]
            .map(|prefix| [format!("{prefix}{name}"), format!("{prefix}{name}.img")])
    });
    let name = names.flatten().find(|name| boot.contains(name));
    let path = match name {
        Some(name) => Some(format!("/boot/{name}")),
        None => {
            let beside = format!("{folder}/{version}/initrd");
            files.exists(&beside)?.then_some(beside)
        }
    };
    let initramfs = path.map(|path| initramfs_at(files, &path, &version, limits)).transpose()?.flatten();
    Ok(Kernel { version, image, initramfs, folder: modules, built_in: built, tree })
}

fn initramfs_at(files: &Files, path: &str, version: &str, limits: &Limits) -> Result<Option<Initramfs>> {
    let Some(file) = files.file(path)? else { return Ok(None) };
    let size = file.size();
    let contents = if size > INITRAMFS_AT_MOST {
        Contents { damage: Some("it is larger than any honest one".to_owned()), ..Contents::default() }
    } else {
        initramfs::read(file, limits).map_err(read_error)?
    };
    Ok(Some(Initramfs::new(path, size, version, contents)))
}

/// A version for comparing: numbers by their value.
fn natural(version: &str) -> Vec<(u64, &str)> {
    let mut parts = Vec::new();
    let mut left = version;
    while !left.is_empty() {
        let digits = left.find(|next: char| !next.is_ascii_digit()).unwrap_or(left.len());
        let (number, rest) = left.split_at(digits);
        let text = rest.find(|next: char| next.is_ascii_digit()).unwrap_or(rest.len());
        let (text, rest) = rest.split_at(text);
        parts.push((number.parse().unwrap_or(0), text));
        left = rest;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(held: &[&str]) -> Kernel {
        let dep = "ahci.ko: libahci.ko libata.ko\nlibahci.ko: libata.ko\nnvme.ko: nvme-core.ko\nlibata.ko:\n\
            mptspi.ko: scsi_transport_spi.ko\nvirtio_blk.ko: virtio.ko\n";
        let modules = held.iter().map(|name| (*name).to_owned()).collect();
        Kernel {
            version: "6.1".to_owned(),
            image: "/boot/vmlinuz-6.1".to_owned(),
            initramfs: Some(Initramfs {
                path: String::new(),
                size: 0,
                modules,
                contents: Contents::default(),
            }),
            folder: None,
            built_in: BTreeSet::from(["virtio".to_owned(), "sd_mod".to_owned()]),
            tree: ModuleTree::parse(dep),
        }
    }

    #[test]
    fn a_module_counts_only_with_all_that_it_needs() {
        let kernel = kernel(&["ahci", "libahci", "virtio_blk", "odd"]);
        assert_eq!(support(&kernel, "ahci"), Support::InTree, "libata is not there");
        assert_eq!(support(&kernel, "virtio-blk"), Support::InInitramfs, "virtio is part of the kernel");
        assert_eq!(support(&kernel, "sd_mod"), Support::BuiltIn);
        assert_eq!(support(&kernel, "nvme"), Support::Missing, "nvme_core is nowhere");
        assert_eq!(support(&kernel, "hv_storvsc"), Support::Missing);
        assert_eq!(support(&kernel, "odd"), Support::InInitramfs, "what it needs is not known");
        assert_eq!(
            support(&super::tests::kernel(&["ahci", "libahci", "libata"]), "ahci"),
            Support::InInitramfs
        );
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let mut versions = ["6.1.0-9-amd64", "6.1.0-10-amd64", "5.19", "6.1.0"];
        versions.sort_by(|one, other| natural(other).cmp(&natural(one)));
        assert_eq!(versions, ["6.1.0-10-amd64", "6.1.0-9-amd64", "6.1.0", "5.19"]);
    }

    #[test]
    fn a_rescue_image_is_no_kernel_of_a_version() {
        assert_eq!(image_version("vmlinuz-6.1.0-50-amd64"), Some("6.1.0-50-amd64"));
        assert_eq!(image_version("vmlinuz-0-rescue-4f5b"), None);
        assert_eq!(image_version("vmlinuz-linux"), Some("linux"));
        assert_eq!(image_version("initrd.img-6.1"), None);
    }
}
