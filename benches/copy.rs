//! How long a base takes to be copied for a hypervisor that does not read qcow2, against `qemu-img convert`, in turns.
//!
//! Both read the same base, which is in the PC's memory by then, and write to the PC's disk: what is compared is the work, not the
//! stick, whose speed would hide it.
#![allow(missing_docs, clippy::print_stdout)]

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pocketvm_disk::{BaseFormat, CopyFormat, copy_base};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Virtual size, and MiB that hold data: in pieces, as in a used disk.
const SIZE: u64 = 4 << 30;
const DATA: u64 = 1024;

const ROUNDS: usize = 5;

fn main() -> Result<()> {
    if std::env::args().any(|argument| argument == "--help") {
        println!("Compares copies of a base with `qemu-img convert`. It takes no arguments.");
        return Ok(());
    }
    let folder = tempfile::tempdir_in("/var/tmp")?;
    let base = folder.path().join("base.qcow2");
    make_base(folder.path(), &base)?;
    for (name, format, options) in
        [("VMDK", CopyFormat::Vmdk, ["-O", "vmdk"]), ("VHD", CopyFormat::Vhd, ["-O", "vpc"])]
    {
        let (mut ours, mut theirs) = (vec![], vec![]);
        let target = folder.path().join("copy");
        for _ in 0..ROUNDS {
            let start = Instant::now();
            copy_base(folder.path(), "base.qcow2", BaseFormat::Qcow2, &target, format, [1; 16], &())?;
            std::fs::File::open(&target)?.sync_all()?;
            ours.push(start.elapsed());
            std::fs::remove_file(&target)?;
            let start = Instant::now();
            run(Command::new("qemu-img").arg("convert").args(options).arg(&base).arg(&target))?;
            std::fs::File::open(&target)?.sync_all()?;
            theirs.push(start.elapsed());
            std::fs::remove_file(&target)?;
        }
        let (ours, theirs) = (median(&mut ours), median(&mut theirs));
        println!(
            "{name}: {:.2} s, qemu-img convert {:.2} s: {:.2} times as long; {:.0} MiB/s",
            ours.as_secs_f64(),
            theirs.as_secs_f64(),
            ours.as_secs_f64() / theirs.as_secs_f64(),
            DATA as f64 / ours.as_secs_f64()
        );
    }
    Ok(())
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn make_base(folder: &Path, base: &Path) -> Result<()> {
    let raw = folder.join("raw");
    let mut file = std::fs::File::create(&raw)?;
    file.set_len(SIZE)?;
    let mut random = std::fs::File::open("/dev/urandom")?;
    let mut piece = vec![0; 1 << 20];
    for index in 0..DATA {
        random.read_exact(&mut piece)?;
        file.seek(SeekFrom::Start(index * (SIZE / DATA)))?;
        file.write_all(&piece)?;
    }
    run(Command::new("qemu-img")
        .args(["convert", "-O", "qcow2", "-o", "cluster_size=16k"])
        .arg(&raw)
        .arg(base))?;
    Ok(std::fs::remove_file(raw)?)
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}
