//! A TPM for the guest: swtpm, a program of this PC that runs beside QEMU and ends with it.
//!
//! QEMU reaches it through a socket in the session's folder. It keeps its state in a file there, which it replaces as a whole at
//! each change, so that it can be ended at any time.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::host::channel::{Prepared, Side};
use crate::host::child::{self, Handle};
use crate::host::{channel, file, programs, whole};
use crate::hypervisor::Unusable;
use crate::{Error, Kind, Result};

/// Its program.
const PROGRAM: &str = "swtpm";

/// In scratch: the socket by which QEMU speaks with it.
pub const SOCKET: &str = "tpm.sock";

/// In scratch: the folder of its state.
const FOLDER: &str = "tpm";

/// In that folder: the state.
const STATE: &str = "tpm2-00.permall";

/// In scratch: what it says.
const LOG: &str = "tpm.log";

/// The longest state, in bytes: more than a TPM 2.0 of libtpms can have.
const MOST: u64 = 1 << 20;

/// The program, where this PC has it and a QEMU can reach it.
pub fn program() -> Option<PathBuf> {
    let reachable = channel::SIDE == Side::ListeningStdin;
    programs::on_path(PROGRAM).into_iter().next().filter(|_| reachable)
}

/// A TPM that is ready to be started.
pub struct Tpm {
    command: Command,
}

impl Tpm {
    /// Lays out in `scratch` what the chip's `file` holds, for `program`. QEMU can be started from now on: it waits.
    ///
    /// # Errors
    /// The file can't be read; no room.
    pub fn prepare(program: &Path, scratch: &Path, file: &Path) -> Result<Tpm> {
        let folder = scratch.join(FOLDER);
        fs_err::create_dir_all(&folder)?;
        let state = whole::read_bytes(file, MOST)?;
        if !state.is_empty() {
            file::overwrite_atomically(&folder.join(STATE), &pack(&state))?;
        }
        let (stdin, _) = Prepared::new(scratch, SOCKET)?.stdio()?;
        let mut command = Command::new(program);
        // Names without a folder: it would take a path with a comma apart.
        command.args(["socket", "--tpm2", "--terminate", "--ctrl", "type=unixio,fd=0"]);
        command.args(["--tpmstate", &format!("dir={FOLDER}"), "--log", &format!("file={LOG},level=1")]);
        command.current_dir(scratch).stdin(stdin).stdout(Stdio::null()).stderr(Stdio::null());
        child::clean_environment(&mut command, scratch);
        Ok(Tpm { command })
    }

    /// Starts it. It ends when QEMU does.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(self) -> Result<()> {
        let mut process = child::start(self.command).map_err(|error| {
            Error::new(Kind::Hypervisor, "the machine's TPM can't be started").because(error)
        })?;
        // Somebody has to take notice of its end.
        std::thread::spawn(move || process.wait());
        Ok(())
    }
}

/// Ends the one that may still run in `scratch`. Its state is whole at any time.
pub fn end(scratch: &Path) {
    // It ended between the two looks, or is another user's: then it is none of ours.
    if let Some(handle) = child::find_by_folder(PROGRAM, scratch).and_then(|process| Handle::open(&process)) {
        match handle.kill() {
            Ok(()) => handle.wait(),
            Err(error) => tracing::warn!(%error, "the machine's TPM can't be ended"),
        }
    }
}

/// Brings the chip's `file` up to date with what the TPM in `scratch` left behind. Says why that can't be used.
///
/// # Errors
/// Scratch can't be read or written.
pub fn collect(scratch: &Path, file: &Path) -> Result<Option<Unusable>> {
    end(scratch);
    let state = scratch.join(FOLDER).join(STATE);
    if !state.exists() {
        return Ok(None);
    }
    match unpack(&whole::read_bytes(&state, MOST)?) {
        Some(state) => {
            file::overwrite_atomically(file, state)?;
            Ok(None)
        }
        None => Ok(Some(Unusable { file: file.to_owned(), why: "the file of its state is damaged".into() })),
    }
}

/// What swtpm said last, on one line.
pub fn last_words(scratch: &Path) -> String {
    let text = whole::read_bytes(&scratch.join(LOG), MOST).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

/// Bytes of swtpm's header: version, least version that reads it, its own length (2), flags (2), length of the file (4). All
/// numbers are big-endian. Sections follow: tag (2), length (4), content.
const HEADER: usize = 10;
/// The tag of the section with the state as it is; with any other one it would be encrypted.
const STATE_TAG: u16 = 1;

/// The state as swtpm keeps it.
fn pack(state: &[u8]) -> Vec<u8> {
    let length = HEADER + 6 + state.len();
    let mut packed = vec![2, 1, 0, HEADER as u8, 0, 0];
    packed.extend((length as u32).to_be_bytes());
    packed.extend(STATE_TAG.to_be_bytes());
    packed.extend((state.len() as u32).to_be_bytes());
    packed.extend(state);
    packed
}

/// The state in what swtpm kept; none if it is not whole.
fn unpack(packed: &[u8]) -> Option<&[u8]> {
    let short = |at: usize| Some(u16::from_be_bytes(packed.get(at..at + 2)?.try_into().ok()?));
    let long = |at: usize| Some(u32::from_be_bytes(packed.get(at..at + 4)?.try_into().ok()?) as usize);
    if *packed.get(1)? > 2 || short(4)? != 0 || long(6)? != packed.len() {
        return None;
    }
    let mut at = usize::from(short(2)?).max(HEADER);
    loop {
        let (tag, length) = (short(at)?, long(at + 2)?);
        let content = packed.get(at + 6..)?.get(..length)?;
        if tag == STATE_TAG {
            return Some(content);
        }
        at += 6 + length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_packed_as_swtpm_has_it_and_unpacked_again() {
        assert_eq!(pack(b"abc"), b"\x02\x01\x00\x0a\x00\x00\x00\x00\x00\x13\x00\x01\x00\x00\x00\x03abc");
        assert_eq!(unpack(&pack(b"abc")), Some(&b"abc"[..]));
        assert_eq!(unpack(&pack(&[])), Some(&[][..]));
    }

    #[test]
    fn what_is_cut_off_or_encrypted_is_no_state() {
        let whole = pack(b"abc");
        for length in 0..whole.len() {
            assert_eq!(unpack(&whole[..length]), None, "{length}");
        }
        for at in [1, 5, 9, 11, 14] {
            let mut other = whole.clone();
            other[at] ^= 0x40;
            assert_eq!(unpack(&other), None, "{at}");
        }
    }
}
