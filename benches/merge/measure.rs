//! All sides of one workload, taking turns.

use std::path::Path;

use pocketvm_stick::{Counters, FileSystem, Model, Stick};

use crate::images::{self, BASE, RECORD, Template};
use crate::report::{self, Figures};
use crate::side::{self, Took};
use crate::tools::{cool_down, run, text};
use crate::workload::{Bench, Workload};

/// Room on the stick: a merge writes large pieces while there is plenty.
const STICK: u64 = 3072;

/// One way to bring the changes to the stick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Commit(u64),
    Merge(u64),
    /// With all data read back before it counts.
    Verified(u64),
    Copy,
}

pub const SIDES: [Side; 6] = [
    Side::Commit(65536),
    Side::Commit(16384),
    Side::Merge(65536),
    Side::Merge(16384),
    Side::Verified(16384),
    Side::Copy,
];

/// Measures a workload and prints its rows.
pub fn workload(bench: &Bench<'_>, model: Model, file_system: FileSystem, workload: Workload, runs: usize) {
    let mut stick = Stick::new(file_system, STICK * bench.scale).expect("a simulated stick");
    let mount = stick.mount().expect("it can be mounted");
    let bytes = images::changed_bytes(bench, workload);
    let mut found: Vec<Vec<Figures>> = SIDES.iter().map(|_| Vec::new()).collect();
    for round in 0..runs {
        for turn in 0..SIDES.len() {
            // Taking turns, so that whatever else the machine does hits all of them.
            let at = (turn + round) % SIDES.len();
            let (took, counters) = one(bench, &stick, &mount, model, workload, SIDES[at], bytes);
            found[at].push(Figures::new(took, counters));
        }
    }
    report::rows(workload, bytes, &found);
}

fn one(
    bench: &Bench<'_>,
    stick: &Stick,
    mount: &Path,
    model: Model,
    workload: Workload,
    side: Side,
    bytes: u64,
) -> (Took, Counters) {
    let control = stick.control();
    control.set_model(Model::Instant);
    let template = match side {
        Side::Commit(cluster) => Some(place(bench, mount, workload, cluster, 0)),
        Side::Merge(cluster) | Side::Verified(cluster) => Some(place(bench, mount, workload, cluster, 1)),
        Side::Copy => {
            clear(mount);
            None
        }
    };
    let cluster = match side {
        Side::Commit(cluster) | Side::Merge(cluster) | Side::Verified(cluster) => cluster,
        Side::Copy => 65536,
    };
    let overlay = images::session_overlay(bench, workload, cluster, &mount.join(BASE));
    cool_down();
    control.set_model(model);
    control.reset_counters();
    let took = match (side, template.and_then(|template| template.generation)) {
        (Side::Merge(_), Some(generation)) => side::merge(mount, &overlay, generation, false),
        (Side::Verified(_), Some(generation)) => side::merge(mount, &overlay, generation, true),
        (Side::Copy, _) => side::start(&["copy", text(mount), &bytes.to_string()]),
        _ => side::commit(mount, &overlay),
    };
    let counters = control.counters();
    control.set_model(Model::Instant);
    (took, counters)
}

fn clear(mount: &Path) {
    for file in [BASE, RECORD, "copy"] {
        let _ = std::fs::remove_file(mount.join(file));
    }
}

fn place(bench: &Bench<'_>, mount: &Path, workload: Workload, cluster: u64, side: usize) -> Template {
    let template = images::templates(bench, workload, cluster).into_iter().nth(side).expect("two sides");
    clear(mount);
    for file in [BASE, RECORD] {
        let from = template.folder.join(file);
        if from.exists() {
            // With its time, by which the record knows it.
            run("cp", &["--preserve=timestamps", "--sparse=never", text(&from), text(&mount.join(file))]);
        }
    }
    template
}
