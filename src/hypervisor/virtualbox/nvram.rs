//! What VirtualBox keeps of a machine besides its disks, in one file: UEFI's variables and the state of a TPM.
//!
//! With variables alone the file is the firmware volume that holds them, in the format of the firmware that QEMU uses, too. With
//! a TPM it is a tar archive with both. The state of the TPM is that of libtpms, as in QEMU's TPM. (Both were found out by
//! looking at the files of VirtualBox 7.2; nothing describes them.)

use std::io::Read as _;
use std::path::Path;

use crate::Result;
use crate::host::{file, whole};
use crate::hypervisor::{Chips, Unusable};

/// The file, in scratch.
pub const FILE: &str = "machine.nvram";

/// In the archive: the firmware volume, and the state of the TPM.
const VARIABLES: &str = "efi/nvram";
const TPM: &str = "TpmEmuTpms/permall";

/// The longest file, and the longest one in it, in bytes.
const MOST: u64 = 8 << 20;

/// Where a firmware volume has its signature (UEFI Platform Initialization, volume 3, 3.2.1), and which one.
const SIGNATURE: (usize, [u8; 4]) = (40, *b"_FVH");

/// Makes the file in `scratch` from the files of `chips`; none if they are new.
///
/// # Errors
/// They can't be read; no room.
pub fn make(scratch: &Path, chips: &Chips) -> Result<()> {
    let read = |path: &Option<std::path::PathBuf>| {
        path.as_ref().map_or(Ok(vec![]), |path| whole::read_bytes(path, MOST))
    };
    let (variables, tpm) = (read(&chips.variables)?, read(&chips.tpm)?);
    let content = match (variables.is_empty(), tpm.is_empty()) {
        (true, true) => return Ok(()),
        (false, true) => variables,
        _ => archive(&[(TPM, &tpm), (VARIABLES, &variables)])?,
    };
    Ok(file::overwrite_atomically(&scratch.join(FILE), &content)?)
}

/// Brings the files of `chips` up to date with the file in `scratch`.
///
/// # Errors
/// A file can't be read or written.
pub fn collect(scratch: &Path, chips: &Chips) -> Result<Vec<Unusable>> {
    let path = scratch.join(FILE);
    if !path.exists() {
        // VirtualBox writes it when the machine is off.
        return Ok(vec![]);
    }
    let content = whole::read_bytes(&path, MOST)?;
    let mut unusable = vec![];
    let mut bring = |file: &Path, found: Option<Vec<u8>>| -> Result<()> {
        match found {
            Some(found) => file::overwrite_atomically(file, &found)?,
            None => unusable.push(Unusable {
                file: file.to_owned(),
                why: "VirtualBox's file of it is damaged or of an unknown kind".into(),
            }),
        }
        Ok(())
    };
    // A file that is not there belongs to a chip that the machine did not have.
    if let Some(file) = chips.variables.as_deref().filter(|file| file.exists()) {
        let found = if is_volume(&content) { Some(content.clone()) } else { member(&content, VARIABLES) };
        bring(file, found.filter(|found| is_volume(found)))?;
    }
    if let Some(file) = chips.tpm.as_deref().filter(|file| file.exists()) {
        // A TPM that the guest never touched may have no state yet.
        let untouched = is_volume(&content) && whole::read_bytes(file, MOST)?.is_empty();
        bring(file, if untouched { Some(vec![]) } else { member(&content, TPM) })?;
    }
    Ok(unusable)
}

fn is_volume(content: &[u8]) -> bool {
    let (at, signature) = SIGNATURE;
    content.get(at..at + signature.len()) == Some(&signature[..])
}

/// An archive of those members that are not empty.
fn archive(members: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in members.iter().filter(|(_, content)| !content.is_empty()) {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        builder.append_data(&mut header, name, *content)?;
    }
    Ok(builder.into_inner()?)
}

/// The content of the member called `name`; none if it is not there, or the archive is damaged.
fn member(content: &[u8], name: &str) -> Option<Vec<u8>> {
    let mut archive = tar::Archive::new(content);
    for entry in archive.entries().ok()?.flatten() {
        if *entry.path_bytes() == *name.as_bytes() {
            let size = entry.size();
            let mut found = vec![];
            entry.take(MOST).read_to_end(&mut found).ok()?;
            return (found.len() as u64 == size).then_some(found);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What only looks like a firmware volume.
    fn volume(byte: u8) -> Vec<u8> {
        let mut volume = vec![byte; 4096];
        volume[40..44].copy_from_slice(b"_FVH");
        volume
    }

    struct Bench(tempfile::TempDir);

    impl Bench {
        fn new() -> Self {
            Bench(tempfile::tempdir().unwrap())
        }

        /// Chips with this content; none does not exist.
        fn chips(&self, variables: Option<&[u8]>, tpm: Option<&[u8]>) -> Chips {
            let put = |name: &str, content: Option<&[u8]>| {
                let path = self.0.path().join(name);
                content.iter().for_each(|content| std::fs::write(&path, content).unwrap());
                Some(path)
            };
            Chips { variables: put("variables", variables), tpm: put("tpm", tpm) }
        }

        fn read(&self, name: &str) -> Option<Vec<u8>> {
            std::fs::read(self.0.path().join(name)).ok()
        }
    }

    #[test]
    fn variables_alone_are_the_file_and_with_a_tpm_it_is_an_archive() {
        let bench = Bench::new();
        make(bench.0.path(), &bench.chips(Some(&volume(1)), Some(b""))).unwrap();
        assert_eq!(bench.read(FILE), Some(volume(1)));
        make(bench.0.path(), &bench.chips(Some(&volume(2)), Some(b"state"))).unwrap();
        let file = bench.read(FILE).unwrap();
        assert_eq!(member(&file, VARIABLES), Some(volume(2)));
        assert_eq!(member(&file, TPM), Some(b"state".to_vec()));
        assert_eq!(file.len() % 512, 0);
    }

    #[test]
    fn a_new_tpm_alone_has_no_file() {
        let bench = Bench::new();
        let chips = Chips { variables: None, ..bench.chips(None, Some(b"")) };
        make(bench.0.path(), &chips).unwrap();
        assert_eq!(bench.read(FILE), None);
        assert_eq!(collect(bench.0.path(), &chips).unwrap(), []);
    }

    #[test]
    fn what_virtualbox_wrote_is_brought_back_and_a_chip_that_was_not_there_stays_away() {
        let bench = Bench::new();
        let chips = bench.chips(Some(&volume(1)), None);
        std::fs::write(
            bench.0.path().join(FILE),
            archive(&[(VARIABLES, &volume(3)), (TPM, b"new")]).unwrap(),
        )
        .unwrap();
        assert_eq!(collect(bench.0.path(), &chips).unwrap(), []);
        assert_eq!((bench.read("variables"), bench.read("tpm")), (Some(volume(3)), None));
        let chips = bench.chips(Some(&volume(1)), Some(b"old"));
        assert_eq!(collect(bench.0.path(), &chips).unwrap(), []);
        assert_eq!(bench.read("tpm").as_deref(), Some(&b"new"[..]));
    }

    #[test]
    fn what_is_damaged_or_missing_is_told_and_nothing_of_it_is_taken() {
        let bench = Bench::new();
        let whole = archive(&[(TPM, b"state"), (VARIABLES, &volume(3))]).unwrap();
        let mut no_volume = whole.clone();
        let at = whole.windows(4).position(|bytes| bytes == b"_FVH").unwrap();
        no_volume[at] = b'x';
        for (content, lost) in [
            (&whole[..300], 2),
            (&whole[..2000], 1),
            (&no_volume[..], 1),
            (&b""[..], 2),
            (&[0xff; 9000][..], 2),
            (&volume(3)[..], 1),
        ] {
            let chips = bench.chips(Some(&volume(1)), Some(b"old"));
            std::fs::write(bench.0.path().join(FILE), content).unwrap();
            let unusable = collect(bench.0.path(), &chips).unwrap();
            for unusable in &unusable {
                let was = if unusable.file.ends_with("tpm") { b"old".to_vec() } else { volume(1) };
                assert_eq!(std::fs::read(&unusable.file).unwrap(), was);
            }
            assert_eq!(unusable.len(), lost, "{} bytes", content.len());
        }
    }
}
