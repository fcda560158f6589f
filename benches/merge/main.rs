//! The shadow merge against `qemu-img commit` on a simulated stick: the same base, the same overlay, in the same run, as
//! ratios, with the plain copy of the changed bytes as the limit.
//!
//! `make bench` runs everything (about 50 minutes); `make bench ARGS="--model cheap --fs ext4 --workload scattered --runs 1"`
//! a part of it. It needs root, as it mounts file systems.
#![allow(missing_docs, clippy::print_stdout, clippy::print_stderr, clippy::expect_used)]

#[cfg(target_os = "linux")]
mod args;
#[cfg(target_os = "linux")]
mod fifty;
#[cfg(target_os = "linux")]
mod images;
#[cfg(target_os = "linux")]
mod measure;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod session;
#[cfg(target_os = "linux")]
mod side;
#[cfg(target_os = "linux")]
mod tools;
#[cfg(target_os = "linux")]
mod workload;

#[cfg(target_os = "linux")]
fn main() {
    if side::ran_as_one() {
        return;
    }
    let args = args::Args::parse();
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder for images");
    let bench = workload::Bench { folder: folder.path(), scale: args.scale };
    let models = if args.workloads.is_empty() { &[][..] } else { &args.models };
    for model in models {
        for file_system in &args.file_systems {
            println!(
                "\n== {} stick, {file_system}, medians of {} (least to most)",
                args::name(*model),
                args.runs
            );
            report::heading();
            for workload in &args.workloads {
                measure::workload(&bench, *model, *file_system, *workload, args.runs);
            }
        }
    }
    if args.fifty {
        fifty::run(&bench);
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!(
        "the simulated stick is a FUSE file system on a loop device: this benchmark runs on Linux only"
    );
}
