//! The shadow merge against `qemu-img commit`: the same base, the same overlay, in the same run, as ratios.
//!
//! On the PC's own disk, so it shows what the engine costs by itself; what a stick makes of the writes is another matter.
//! Run it with `make bench`.
#![allow(missing_docs, clippy::print_stdout)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pocketvm_disk::{CommitFile, CreateOptions, GenerationId, MergeDisk};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 1024 * MIB;
const RUNS: usize = 5;

/// What the guest wrote, as `qemu-io` commands.
struct Workload {
    name: &'static str,
    commands: Vec<String>,
}

fn main() {
    let workloads = [
        Workload { name: "scattered: 4096 x 4 KiB", commands: scattered(4096) },
        Workload { name: "sequential: 256 MiB", commands: sequential(256) },
        Workload { name: "unchanged: 256 MiB rewritten", commands: rewritten(256) },
    ];
    println!("{:<30} {:>8} {:>12} {:>12} {:>14}", "workload", "cluster", "commit", "merge", "merge/commit");
    for cluster in [64 * 1024, 16 * 1024] {
        for workload in &workloads {
            let folder = tempfile::tempdir_in("/var/tmp").expect("a folder for images");
            let (mut commits, mut merges) = (vec![], vec![]);
            for run in 0..RUNS {
                // Taking turns, so that whatever else the machine does hits both.
                if run % 2 == 0 {
                    commits.push(commit(folder.path(), cluster, workload));
                    merges.push(merge(folder.path(), cluster, workload));
                } else {
                    merges.push(merge(folder.path(), cluster, workload));
                    commits.push(commit(folder.path(), cluster, workload));
                }
            }
            let (commit, merge) = (median(&mut commits), median(&mut merges));
            println!(
                "{:<30} {:>5} KiB {:>9} ms {:>9} ms {:>13.2}x",
                workload.name,
                cluster / 1024,
                commit.as_millis(),
                merge.as_millis(),
                merge.as_secs_f64() / commit.as_secs_f64()
            );
        }
    }
}

fn scattered(count: u64) -> Vec<String> {
    // A fixed walk over the disk that never meets itself: 4 KiB blocks, a prime apart.
    let blocks = SIZE / 4096;
    (0..count).map(|n| format!("write -P {} {} 4k", n % 251 + 1, n * 104_729 % blocks * 4096)).collect()
}

fn sequential(mib: u64) -> Vec<String> {
    (0..mib).map(|n| format!("write -P {} {}M 1M", n % 250 + 2, n)).collect()
}

fn rewritten(mib: u64) -> Vec<String> {
    (0..mib).map(|n| format!("write -P 1 {n}M 1M")).collect()
}

/// A base full of ones in its first half, on the disk and not only in the cache.
fn make_base(folder: &Path, cluster: u64) {
    let base = folder.join("base.qcow2");
    let _ = std::fs::remove_file(&base);
    let options = CreateOptions { virtual_size: SIZE, cluster_size: cluster, backing: None, content: &[] };
    pocketvm_disk::create(&base, &options).expect("a base");
    qemu_io(&base, &rewritten(SIZE / MIB / 2));
}

fn make_overlay(folder: &Path, workload: &Workload) {
    let overlay = folder.join("overlay.qcow2");
    let _ = std::fs::remove_file(&overlay);
    let backing = Some((folder.join("base.qcow2"), "qcow2"));
    let options = CreateOptions { virtual_size: SIZE, cluster_size: 64 * 1024, backing, content: &[] };
    pocketvm_disk::create(&overlay, &options).expect("an overlay");
    qemu_io(&overlay, &workload.commands);
    run(&mut Command::new("sync"));
}

fn commit(folder: &Path, cluster: u64, workload: &Workload) -> Duration {
    make_base(folder, cluster);
    make_overlay(folder, workload);
    let start = Instant::now();
    // -d: the overlay is thrown away afterwards in both cases.
    run(Command::new("qemu-img").args(["commit", "-q", "-d"]).arg(folder.join("overlay.qcow2")));
    start.elapsed()
}

fn merge(folder: &Path, cluster: u64, workload: &Workload) -> Duration {
    make_base(folder, cluster);
    let record = folder.join("commit");
    let _ = std::fs::remove_file(&record);
    CommitFile::create(&record).expect("a commit record");
    let commit = CommitFile::open(&record, folder).expect("a commit record");
    let expected = pocketvm_disk::stamp(&commit, &["base.qcow2"]).expect("a generation")[0];
    make_overlay(folder, workload);
    let disk = MergeDisk {
        name: "disk".into(),
        base: "base.qcow2".into(),
        overlay: folder.join("overlay.qcow2"),
        expected,
        next: GenerationId::random(),
    };
    let start = Instant::now();
    pocketvm_disk::merge(&commit, &[disk], &()).expect("a merge");
    start.elapsed()
}

fn qemu_io(image: &Path, commands: &[String]) {
    // One process for all commands: their text goes through a pipe, as an argument list would be too long.
    let mut child = Command::new("qemu-io")
        .args(["-f", "qcow2", "-n"])
        .arg(image)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("qemu-io is missing: apt install qemu-utils");
    let text = commands.join("\n") + "\nquit\n";
    std::io::Write::write_all(child.stdin.as_mut().expect("a pipe"), text.as_bytes()).expect("qemu-io reads");
    drop(child.stdin.take());
    assert!(child.wait().expect("qemu-io ends").success(), "qemu-io failed");
}

fn run(command: &mut Command) {
    assert!(
        command.status().expect("the program is missing: apt install qemu-utils").success(),
        "{command:?} failed"
    );
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}
