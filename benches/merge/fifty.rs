//! Fifty sessions in a row on one stick: what fragmented room does to a merge.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pocketvm_disk::GenerationId;
use pocketvm_stick::{FileSystem, Model, Random, Stick};

use crate::images::{self, BASE};
use crate::report::spread;
use crate::side;
use crate::tools::{cool_down, qemu_io};
use crate::workload::{Bench, MIB, Workload};

const CLUSTER: u64 = 16384;
const SESSIONS: u64 = 50;
/// Sessions at each end that are measured.
const MEASURED: u64 = 3;

/// Measures, and prints what became of the advantage.
pub fn run(bench: &Bench<'_>) {
    println!("\n== fifty sessions in a row, cheap stick, ext4, {} KiB clusters", CLUSTER / 1024);
    let times: Vec<Vec<Duration>> = [false, true].map(|ours| sessions(bench, ours)).into();
    let median = |times: &[Duration]| spread(times.iter().copied()).median.as_secs_f64();
    let at = |first: bool, side: usize| {
        let times = &times[side];
        let few = MEASURED as usize;
        median(if first { &times[..few] } else { &times[times.len() - few..] })
    };
    let (first, last) = (at(true, 0) / at(true, 1), at(false, 0) / at(false, 1));
    for (name, first_ones) in [("first", true), ("last", false)] {
        println!("{name:<6} commit {:6.2} s  merge {:6.2} s", at(first_ones, 0), at(first_ones, 1));
    }
    println!(
        "advantage: {first:.2}x at the first, {last:.2}x at the fiftieth: {:.0} % kept",
        last / first * 100.0
    );
}

/// Runs all sessions of one side; returns the times of the measured ones.
fn sessions(bench: &Bench<'_>, ours: bool) -> Vec<Duration> {
    let mut stick = Stick::new(FileSystem::Ext4, 4096).expect("a simulated stick");
    let mount = stick.mount().expect("it can be mounted");
    let template = images::templates(bench, Workload::Scattered, CLUSTER).into_iter().next().expect("a base");
    let base = mount.join(BASE);
    std::fs::copy(template.folder.join(BASE), &base).expect("room");
    let mut generation = ours.then(|| images::stamp(&mount));
    let mut times = Vec::new();
    for session in 0..SESSIONS {
        let overlay = work(bench, &base, session);
        let measured = !(MEASURED..SESSIONS - MEASURED).contains(&session);
        cool_down();
        stick.control().set_model(if measured { Model::Cheap } else { Model::Instant });
        let took = match generation {
            Some(expected) => {
                let took = side::merge(&mount, &overlay, expected, false);
                generation = Some(now(&base));
                took
            }
            None => side::commit(&mount, &overlay),
        };
        stick.control().set_model(Model::Instant);
        if measured {
            times.push(took.wall);
        }
    }
    let file = std::fs::metadata(&base).expect("the base").len();
    println!("{}: the base has {} MiB after it", if ours { "merge" } else { "commit" }, file / MIB);
    times
}

fn now(base: &Path) -> GenerationId {
    pocketvm_disk::inspect(base).expect("the base").state.generation().expect("a generation")
}

/// A session: 512 writes of 4 KiB all over the data, temporary data that is discarded, and some of the data discarded.
fn work(bench: &Bench<'_>, base: &Path, session: u64) -> PathBuf {
    let overlay = bench.folder.join("overlay.qcow2");
    images::overlay(&overlay, base, CLUSTER);
    let mut random = Random(session + 1);
    let blocks = bench.used() / 4096;
    let mut commands: Vec<String> = (0..512)
        .map(|n| format!("write -P {} {} 4k", (n + session) % 251 + 1, random.below(blocks) * 4096))
        .collect();
    let free = bench.used() + random.below((bench.size() - bench.used()) / MIB - 8) * MIB;
    commands.push(format!("write -P 9 {free} 8M"));
    commands.push(format!("discard {free} 8M"));
    commands.extend((0..16).map(|_| format!("discard {} 64k", random.below(bench.used() / 65536) * 65536)));
    qemu_io(&overlay, &commands);
    overlay
}
