//! Proving an accelerator: it runs a payload of ours that needs no firmware, and its rate is measured.
//!
//! `-accel help` says what was compiled in and an openable `/dev/kvm` says little more: in a virtual machine without good
//! nested virtualisation it works, many times slower than emulation. So the same work is done in each, and the host
//! takes the time between the first byte that the payload sends and the last. See `assets/probe/probe.S`.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use process_wrap::std::ChildWrapper;

use crate::host::child;

/// The payload: the last 512 bytes of the firmware image.
pub const PAYLOAD: &[u8] = include_bytes!("../../../assets/probe/probe.bin");

/// QEMU wants a firmware image in whole 64 KiB.
const IMAGE: usize = 64 * 1024;

/// As in probe.S.
const CHUNKS: u64 = 20;

/// As in probe.S, in thousands.
const KILOLOOPS_PER_CHUNK: u64 = 4_000;

/// QEMU's exit code after the payload wrote 0x10 to isa-debug-exit.
const DONE: i32 = 0x10 * 2 + 1;

/// At most this much of QEMU's stderr is kept.
const LONGEST_COMPLAINT: u64 = 4096;

/// What the payload showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// It ran to its end, or was stopped because it was slow: thousands of loops a second so far.
    Rate(u64),
    /// QEMU ended before the work was done; what it said last.
    Crashed(String),
    /// The payload did not even start in time.
    Silent,
}

/// How long a proof may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// From the start of QEMU to the payload's first byte.
    pub start: Duration,
    /// From there to the last byte: what takes longer is stopped, its rate known well enough.
    pub work: Duration,
}

/// Runs the payload in `program` with `accelerator` (with its options) and the CPU model `cpu`.
///
/// # Errors
/// The program can't be started or no temporary file can be made.
pub fn prove(program: &Path, accelerator: &str, cpu: &str, patience: Patience) -> std::io::Result<Proof> {
    let mut image = tempfile::Builder::new().prefix("pocketvm-probe").tempfile()?;
    let mut firmware = vec![0; IMAGE - PAYLOAD.len()];
    firmware.extend_from_slice(PAYLOAD);
    image.write_all(&firmware)?;

    let mut command = Command::new(program);
    command
        .args(["-nodefaults", "-no-user-config", "-machine", "q35", "-m", "16", "-display", "none"])
        .args(["-accel", accelerator, "-cpu", cpu, "-no-reboot"])
        .args(["-chardev", "stdio,id=out", "-device", "isa-debugcon,iobase=0xe9,chardev=out"])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"])
        .arg("-bios")
        .arg(image.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    child::clean_environment(&mut command, &std::env::temp_dir());
    let mut qemu = child::start(command)?;
    let proof = watch(qemu.as_mut(), patience);
    // Ends what still runs; what ended already only has its status fetched.
    let _ = qemu.start_kill();
    let status = qemu.wait()?;
    Ok(match proof {
        Watched::Proof(proof) => proof,
        Watched::Ended { rate: Some(rate), .. } if status.code() == Some(DONE) => Proof::Rate(rate),
        Watched::Ended { complaint, .. } => {
            let last = complaint.lines().rev().find(|line| !line.trim().is_empty());
            Proof::Crashed(last.map_or_else(|| child::describe(status), str::to_owned))
        }
    })
}

/// What was seen on the streams.
enum Watched {
    /// Enough to stop.
    Proof(Proof),
    /// QEMU closed its output: complete with a rate, or not.
    Ended { rate: Option<u64>, complaint: String },
}

fn watch(qemu: &mut dyn ChildWrapper, patience: Patience) -> Watched {
    let (sender, bytes) = mpsc::channel();
    if let Some(mut stdout) = qemu.stdout().take() {
        thread::spawn(move || {
            let mut byte = [0];
            while matches!(stdout.read(&mut byte), Ok(1)) && sender.send((byte[0], Instant::now())).is_ok() {}
        });
    }
    let (complaint_sender, complaint) = mpsc::channel();
    if let Some(stderr) = qemu.stderr().take() {
        thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.take(LONGEST_COMPLAINT).read_to_end(&mut text);
            let _ = complaint_sender.send(String::from_utf8_lossy(&text).into_owned());
        });
    }
    let ended = |rate| Watched::Ended {
        rate,
        complaint: complaint.recv_timeout(Duration::from_millis(300)).unwrap_or_default(),
    };

    let begun = match bytes.recv_timeout(patience.start) {
        Ok((_, time)) => time,
        Err(RecvTimeoutError::Timeout) => return Watched::Proof(Proof::Silent),
        Err(RecvTimeoutError::Disconnected) => return ended(None),
    };
    let (mut chunks, mut last) = (0, begun);
    while chunks < CHUNKS {
        let left = (begun + patience.work).saturating_duration_since(Instant::now());
        match bytes.recv_timeout(left) {
            Ok((_, time)) => (chunks, last) = (chunks + 1, time),
            // Not even one chunk: count one over the whole time, which flatters it and is still slow.
            Err(RecvTimeoutError::Timeout) if chunks == 0 => {
                return Watched::Proof(Proof::Rate(rate(1, patience.work)));
            }
            Err(RecvTimeoutError::Timeout) => {
                return Watched::Proof(Proof::Rate(rate(chunks, patience.work)));
            }
            Err(RecvTimeoutError::Disconnected) => return ended(None),
        }
    }
    // The end by isa-debug-exit is part of the proof.
    match bytes.recv_timeout(patience.start) {
        Err(RecvTimeoutError::Disconnected) => ended(Some(rate(chunks, last - begun))),
        _ => Watched::Proof(Proof::Silent),
    }
}

/// Thousands of loops a second.
fn rate(chunks: u64, time: Duration) -> u64 {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
    chunks.saturating_mul(KILOLOOPS_PER_CHUNK).saturating_mul(1_000_000) / micros
}

/// How long the whole work takes at `rate`.
pub fn time_at(rate: u64) -> Duration {
    Duration::from_micros(CHUNKS * KILOLOOPS_PER_CHUNK * 1_000_000 / rate.max(1))
}
