//! What a guest does in a session.

use std::path::Path;

use crate::session;
use crate::tools::qemu_io;

pub const MIB: u64 = 1 << 20;
/// Virtual size of a base at scale 1.
const SIZE: u64 = 1024 * MIB;
/// The first so many bytes of a base hold data, at scale 1.
const USED: u64 = 400 * MIB;

/// Where images are made, and how large.
#[derive(Debug, Clone, Copy)]
pub struct Bench<'a> {
    pub folder: &'a Path,
    /// How many times as large as usual everything is.
    pub scale: u64,
}

impl Bench<'_> {
    /// Virtual size of a base.
    pub fn size(&self) -> u64 {
        SIZE * self.scale
    }

    /// The first so many bytes of a base hold data.
    pub fn used(&self) -> u64 {
        USED * self.scale
    }
}

/// A session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// 2048 writes of 4 KiB all over the data.
    Scattered,
    /// 128 MiB in one piece.
    Sequential,
    /// 64 MiB written again with the same content, 64 MiB of temporary data discarded or zeroed, 4 MiB really changed.
    Churn,
    /// Work on an ext4 file system: packages, a database, documents, large temporary files; trimmed at the end.
    Session,
    /// The same, never trimmed.
    Untrimmed,
}

impl Workload {
    pub const ALL: [Workload; 5] =
        [Workload::Scattered, Workload::Sequential, Workload::Churn, Workload::Session, Workload::Untrimmed];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Workload::Scattered => "scattered",
            Workload::Sequential => "sequential",
            Workload::Churn => "churn",
            Workload::Session => "session",
            Workload::Untrimmed => "untrimmed",
        }
    }

    /// Whether its base holds a file system.
    pub fn is_session(self) -> bool {
        matches!(self, Workload::Session | Workload::Untrimmed)
    }

    /// Fills a new base.
    pub fn fill(self, base: &Path, bench: &Bench<'_>) {
        if self.is_session() {
            session::fill(base, bench);
        } else {
            let all = 0..bench.used() / MIB;
            qemu_io(
                base,
                &all.map(|mib| format!("write -P {} {mib}M 1M", mib % 251 + 1)).collect::<Vec<_>>(),
            );
        }
    }

    /// A session before the one that is measured, so that nothing is measured at its first time.
    pub fn earlier(self, overlay: &Path, bench: &Bench<'_>) {
        if self.is_session() {
            return;
        }
        // What churn writes again later; and something here and there.
        let mut commands = same(bench);
        commands.extend((0..256).map(|n| format!("write -P {} {} 4k", n % 250 + 3, spread(bench, n, 7919))));
        qemu_io(overlay, &commands);
    }

    /// The session that is measured.
    pub fn work(self, overlay: &Path, bench: &Bench<'_>) {
        let scale = bench.scale;
        let commands: Vec<String> = match self {
            Workload::Scattered => (0..2048 * scale)
                .map(|n| format!("write -P {} {} 4k", n % 251 + 1, spread(bench, n, 104_729)))
                .collect(),
            Workload::Sequential => {
                (0..128 * scale).map(|mib| format!("write -P {} {}M 1M", mib % 250 + 2, 100 + mib)).collect()
            }
            Workload::Churn => churn(bench),
            Workload::Session => return session::work(overlay, bench, true),
            Workload::Untrimmed => return session::work(overlay, bench, false),
        };
        qemu_io(overlay, &commands);
    }
}

/// The nth of a walk over the data in steps of 4 KiB that never meets itself.
fn spread(bench: &Bench<'_>, n: u64, prime: u64) -> u64 {
    n * prime % (bench.used() / 4096) * 4096
}

/// The same content as ever, in the last part of the data.
fn same(bench: &Bench<'_>) -> Vec<String> {
    let start = bench.used() / MIB - 144 * bench.scale;
    (0..64 * bench.scale).map(|mib| format!("write -P {} {}M 1M", mib % 150 + 100, start + mib)).collect()
}

fn churn(bench: &Bench<'_>) -> Vec<String> {
    let scale = bench.scale;
    let mut commands = same(bench);
    // Temporary files, gone again.
    let free = bench.used() / MIB + 20;
    commands.extend((0..48 * scale).map(|mib| format!("write -P 77 {}M 1M", free + mib)));
    commands.push(format!("discard {free}M {}M", 48 * scale));
    commands.push(format!("write -z {}M {}M", free + 60 * scale, 16 * scale));
    let half = bench.used() / 2;
    commands
        .extend((0..256 * scale).map(|n| format!("write -P {} {} 16k", n % 250 + 5, n * 65536 * 3 % half)));
    commands
}
