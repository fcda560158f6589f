//! What a disk of the manifest stands on: its base on the drive, in the format that the manifest names, with the layers
//! below it. Whoever needs a size, a generation or a path of a disk asks here.

use std::path::PathBuf;

use pocketvm_disk::{CommitFile, GenerationId};

use super::claim::disk_error;
use crate::drive::manifest::{Disk, Format};
use crate::drive::{Drive, names};
use crate::hypervisor::{self, Layer};
use crate::{Error, Kind, Result};

/// Disks are read and written in sectors of this size; a raw file that ends within one is taken as if it did not.
const SECTOR: u64 = 512;

/// The base of a disk, as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct Base {
    /// Where it is: absolute, without links, inside the drive.
    pub path: PathBuf,
    /// What the file is, as the manifest says.
    pub format: Format,
    /// Size as the guest sees it, in bytes.
    pub virtual_size: u64,
    /// Bytes of its file.
    pub file_size: u64,
    /// Bytes of a cluster; a raw image has none.
    pub cluster_size: Option<u64>,
    /// Its generation; none if it is fresh or another program wrote to it.
    pub generation: Option<GenerationId>,
    /// The layers below it, the next one first: absolute, without links, inside the drive.
    pub below: Vec<Layer>,
}

impl Base {
    /// Looks at the base of `disk`. Reads only, and refuses what a merge would refuse.
    ///
    /// # Errors
    /// It or a layer below it can't be read, is not supported, or does not lie on the drive.
    pub fn open(drive: &Drive, disk: &Disk) -> Result<Base> {
        let path = drive.resolve(&disk.file)?;
        let generation = Base::generation(drive, disk)?;
        match disk.format {
            Format::Qcow2 => {
                let info = pocketvm_disk::inspect(&path).map_err(not_qcow2)?;
                Ok(Base {
                    path,
                    format: disk.format,
                    virtual_size: info.virtual_size,
                    file_size: info.file_size,
                    cluster_size: Some(info.cluster_size),
                    generation,
                    below: layers(drive, disk)?,
                })
            }
            Format::Raw => {
                let file_size = fs_err::metadata(&path)?.len();
                if file_size == 0 {
                    let what = format!("the raw image is empty: {}", disk.file);
                    return Err(Error::new(Kind::Disk, what).hint("give it its size, or name another file"));
                }
                let virtual_size = file_size.next_multiple_of(SECTOR);
                Ok(Base {
                    path,
                    format: disk.format,
                    virtual_size,
                    file_size,
                    cluster_size: None,
                    generation,
                    below: vec![],
                })
            }
        }
    }

    /// The generation of the base of `disk`; none if it is fresh or another program wrote to it. Who wrote to a raw base
    /// only a merge, or [`pocketvm_disk::stamp_raw`], can tell: until then it counts as being where it was left.
    ///
    /// # Errors
    /// The base, or the record of merges, can't be read or is not supported.
    pub fn generation(drive: &Drive, disk: &Disk) -> Result<Option<GenerationId>> {
        let path = drive.resolve(&disk.file)?;
        let raw = raw_generation(drive, disk)?;
        match (disk.format, raw) {
            (Format::Raw, raw) => Ok(raw),
            (Format::Qcow2, None) => Ok(pocketvm_disk::inspect(&path).map_err(not_qcow2)?.state.generation()),
            (Format::Qcow2, Some(_)) => {
                // A merge would still take it for raw, and be refused when the session is over.
                let what = format!("this file was a raw image until now: {}", disk.file);
                Err(Error::new(Kind::Disk, what).hint(
                    "write `format: raw` in pocketvm.yaml; or, if it is a qcow2 image now, give it another name there",
                ))
            }
        }
    }

    /// The base as a hypervisor is told of it.
    pub fn for_hypervisor(self) -> hypervisor::Base {
        hypervisor::Base { path: self.path, format: self.format.as_str().to_owned(), below: self.below }
    }
}

/// Everything that is wrong with the base of `disk` and the layers below it, in sentences. Reads only.
pub fn problems(drive: &Drive, disk: &Disk) -> Vec<String> {
    let base = match Base::open(drive, disk) {
        Ok(base) => base,
        Err(error) => {
            let hint = error.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
            return vec![format!("{error}{hint}")];
        }
    };
    if base.format == Format::Raw {
        // Its tables and content are the guest's own affair.
        return vec![];
    }
    let mut problems = match pocketvm_disk::check(&base.path) {
        Ok(report) => told(report, ""),
        Err(error) => vec![error.to_string()],
    };
    for layer in base.below.iter().filter(|layer| layer.format == Format::Qcow2.as_str()) {
        match pocketvm_disk::check(&layer.path) {
            Ok(report) => {
                problems.extend(told(report, &format!("in the layer {}: ", layer.path.display())));
            }
            // What keeps an image from being written to does not matter where it is only read.
            Err(pocketvm_disk::Error::Refused { .. }) => {}
            Err(error) => problems.push(error.to_string()),
        }
    }
    problems
}

fn told(report: pocketvm_disk::CheckReport, whose: &str) -> Vec<String> {
    let mut problems: Vec<String> = report.errors.iter().map(|error| format!("{whose}{error}")).collect();
    let more = report.error_count.saturating_sub(problems.len() as u64);
    if more > 0 {
        problems.push(format!("{whose}and {more} more of the kind"));
    }
    // Lost room of a layer that is never written to harms nobody.
    if report.leaks > 0 && whose.is_empty() {
        problems.push(format!("{} clusters are lost room; nothing else is wrong with them", report.leaks));
    }
    problems
}

/// The layers below the qcow2 base of `disk`, where they are on this PC.
fn layers(drive: &Drive, disk: &Disk) -> Result<Vec<Layer>> {
    let mut found = vec![];
    for layer in pocketvm_disk::layers(drive.root(), disk.file.as_str()).map_err(disk_error)? {
        let path = drive.resolve_layer(layer.path.as_str())?;
        // A session would change it, and with it what shows through this base.
        for other in &drive.manifest().disks {
            if drive.resolve(&other.file).is_ok_and(|other| other == path) {
                let what = format!(
                    "the disk {} is itself a layer below the base of the disk {}: {}",
                    other.name.as_str(),
                    disk.name.as_str(),
                    layer.path
                );
                return Err(
                    Error::new(Kind::Disk, what).hint("give that disk a copy of this file as its own base")
                );
            }
        }
        found.push(Layer { path, format: layer.format.to_owned() });
    }
    Ok(found)
}

/// The generation of a raw base as the record of merges knows it; none if it knows of none, or if there is no record yet.
fn raw_generation(drive: &Drive, disk: &Disk) -> Result<Option<GenerationId>> {
    let record = drive.state_path(names::COMMIT)?;
    if !record.exists() {
        return Ok(None);
    }
    CommitFile::peek_raw(&record, disk.file.as_str()).map_err(disk_error)
}

/// An error about an image that the manifest calls qcow2.
fn not_qcow2(error: pocketvm_disk::Error) -> Error {
    use pocketvm_disk::Refusal;
    let is_other = matches!(&error, pocketvm_disk::Error::Refused { why: Refusal::NotQcow2, .. });
    let told = disk_error(error);
    if is_other {
        return told.hint(
            "convert it with `qemu-img convert -O qcow2`; or, only if it was made as a raw image, write `format: raw` in \
             pocketvm.yaml",
        );
    }
    told
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use pocketvm_disk::qcow2::image::{Image, Role};
    use pocketvm_disk::storage::{Access, FileStorage, Storage};
    use pocketvm_disk::{CreateOptions, create, stamp, stamp_raw};

    use super::*;

    const USER: &str = "disks/user/base.img";

    /// A drive with a qcow2 disk `system` and a raw disk `user`.
    fn drive(folder: &Path) -> Drive {
        for name in ["disks/system", "disks/user", "golden"] {
            fs_err::create_dir_all(folder.join(name)).unwrap();
        }
        manifest(folder, "qcow2", "raw");
        create(&folder.join("disks/system/base.qcow2"), &CreateOptions::new(1 << 20)).unwrap();
        fs_err::write(folder.join(USER), vec![7; 3 * 512 + 100]).unwrap();
        let drive = Drive::open(folder).unwrap();
        drive.prepare_state().unwrap();
        drive
    }

    fn manifest(folder: &Path, system: &str, user: &str) {
        let text = format!(
            "schema: 1\nmachine: {{name: Work}}\ndisks:\n\
             - {{name: system, file: disks/system/base.qcow2, format: {system}, keep: true}}\n\
             - {{name: user, file: {USER}, format: {user}, keep: true}}\n"
        );
        fs_err::write(folder.join(names::MANIFEST), text).unwrap();
    }

    fn disk<'a>(drive: &'a Drive, name: &str) -> &'a Disk {
        drive.manifest().disk(name).unwrap()
    }

    fn commit(drive: &Drive) -> CommitFile {
        CommitFile::open(&drive.state_path(names::COMMIT).unwrap(), drive.root()).unwrap()
    }

    /// Makes the image at `path` one over `name`.
    fn lay_over(path: &Path, name: &str, format: &str) {
        let block = {
            let image = Image::open(FileStorage::open(path, Access::Read).unwrap(), Role::Base).unwrap();
            let mut extensions = image.extensions().clone();
            extensions.backing_format = Some(format.into());
            image.header().encode(&extensions, Some(name)).unwrap()
        };
        FileStorage::open(path, Access::Write).unwrap().write_at(0, &block).unwrap();
    }

    #[test]
    fn the_layers_below_a_base_are_found_on_the_drive_from_the_next_one_down() {
        let folder = tempfile::tempdir().unwrap();
        let drive = drive(folder.path());
        let root = drive.root();
        create(&root.join("golden/middle.qcow2"), &CreateOptions::new(1 << 20)).unwrap();
        fs_err::write(root.join("golden/bottom.img"), vec![1; 4096]).unwrap();
        lay_over(&root.join("golden/middle.qcow2"), "bottom.img", "raw");
        lay_over(&root.join("disks/system/base.qcow2"), "../../golden/middle.qcow2", "qcow2");
        let base = Base::open(&drive, disk(&drive, "system")).unwrap();
        let layer = |name, format: &str| Layer { path: root.join(name), format: format.into() };
        assert_eq!(base.below, [layer("golden/middle.qcow2", "qcow2"), layer("golden/bottom.img", "raw")]);
        assert_eq!((base.virtual_size, base.generation), (1 << 20, None));
        assert_eq!(problems(&drive, disk(&drive, "system")), [""; 0]);

        let generation = stamp(&commit(&drive), &["disks/system/base.qcow2"]).unwrap()[0];
        let base = Base::open(&drive, disk(&drive, "system")).unwrap();
        assert_eq!(base.generation, Some(generation));
        assert_eq!(base.below.len(), 2, "the stamp keeps the chain");
    }

    #[test]
    fn a_layer_that_a_session_would_change_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let drive = drive(folder.path());
        lay_over(&drive.root().join("disks/system/base.qcow2"), "../user/base.img", "raw");
        let error = Base::open(&drive, disk(&drive, "system")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the disk user is itself a layer below the base of the disk system: disks/user/base.img"
        );
    }

    #[test]
    fn what_is_wrong_with_a_chain_is_told_in_sentences() {
        let folder = tempfile::tempdir().unwrap();
        let drive = drive(folder.path());
        let (root, system) = (drive.root(), disk(&drive, "system"));
        let base = root.join("disks/system/base.qcow2");
        let told = || problems(&drive, system).join("\n");
        lay_over(&base, "../../golden/lost.qcow2", "qcow2");
        assert!(told().contains("lost.qcow2"), "{}", told());

        // A layer whose tables name a cluster that is not there.
        let layer = root.join("golden/lost.qcow2");
        let content: &[(u64, &[u8])] = &[(0, b"x")];
        create(&layer, &CreateOptions { content, ..CreateOptions::new(1 << 20) }).unwrap();
        assert_eq!(told(), "");
        let mut bytes = fs_err::read(&layer).unwrap();
        let l1 = u64::from_be_bytes(bytes[40..48].try_into().unwrap()) as usize;
        let table = u64::from_be_bytes(bytes[l1..l1 + 8].try_into().unwrap()) as usize & 0xff_ffff;
        bytes[table + 4] ^= 0x40;
        fs_err::write(&layer, bytes).unwrap();
        assert!(told().starts_with("in the layer "), "{}", told());

        fs_err::remove_file(&base).unwrap();
        create(&base, &CreateOptions::new(1 << 20)).unwrap();
        lay_over(&base, "/etc/passwd", "raw");
        assert!(told().contains("lies outside of the drive"), "{}", told());
        assert!(told().contains("qemu-img rebase"), "what helps is told, too: {}", told());
    }

    #[test]
    fn a_raw_base_has_whole_sectors_and_its_generation_in_the_record() {
        let folder = tempfile::tempdir().unwrap();
        let drive = drive(folder.path());
        let user = disk(&drive, "user");
        let base = Base::open(&drive, user).unwrap();
        assert_eq!((base.virtual_size, base.file_size, base.generation), (4 * 512, 3 * 512 + 100, None));
        let generation = stamp_raw(&commit(&drive), &[USER]).unwrap()[0];
        assert_eq!(Base::generation(&drive, user).unwrap(), Some(generation));
        assert_eq!(Base::open(&drive, user).unwrap().generation, Some(generation));
        // What a guest writes into it decides nothing.
        let qcow2 = fs_err::read(drive.root().join("disks/system/base.qcow2")).unwrap();
        fs_err::write(drive.root().join(USER), &qcow2).unwrap();
        let base = Base::open(&drive, user).unwrap();
        assert_eq!((base.format, base.virtual_size, base.below.len()), (Format::Raw, qcow2.len() as u64, 0));

        fs_err::write(drive.root().join(USER), b"").unwrap();
        assert!(problems(&drive, user)[0].contains("the raw image is empty"));
    }

    #[test]
    fn the_wrong_format_is_told_with_what_helps() {
        let folder = tempfile::tempdir().unwrap();
        let before = drive(folder.path());
        manifest(folder.path(), "qcow2", "qcow2");
        let drive = Drive::open(folder.path()).unwrap();
        let error = Base::open(&drive, disk(&drive, "user")).unwrap_err();
        assert!(error.hint.is_some_and(|hint| hint.contains("`format: raw`")));
        // And one that was raw for us can't become qcow2 under the same name.
        stamp_raw(&commit(&before), &[USER]).unwrap();
        fs_err::remove_file(drive.root().join(USER)).unwrap();
        create(&drive.root().join(USER), &CreateOptions::new(1 << 20)).unwrap();
        let error = Base::open(&drive, disk(&drive, "user")).unwrap_err();
        assert_eq!(error.what, "this file was a raw image until now: disks/user/base.img");
    }
}
