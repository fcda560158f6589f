//! What a guest does in a session.

use std::path::Path;

use crate::session;
use crate::tools::qemu_io;

pub const MIB: u64 = 1 << 20;
/// Virtual size of every base.
pub const SIZE: u64 = 1024 * MIB;
/// The first so many bytes of a base hold data.
const USED: u64 = 400 * MIB;

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
    pub fn fill(self, base: &Path, folder: &Path) {
        if self.is_session() {
            session::fill(base, folder);
        } else {
            qemu_io(
                base,
                &(0..USED / MIB)
                    .map(|mib| format!("write -P {} {mib}M 1M", mib % 251 + 1))
                    .collect::<Vec<_>>(),
            );
        }
    }

    /// A session before the one that is measured, so that nothing is measured at its first time.
    pub fn earlier(self, overlay: &Path) {
        if self.is_session() {
            return;
        }
        // What churn writes again later; and something here and there.
        let mut commands: Vec<String> =
            (0..64).map(|mib| format!("write -P {} {}M 1M", mib + 100, 256 + mib)).collect();
        commands.extend((0..256).map(|n| format!("write -P {} {} 4k", n % 250 + 3, spread(n, 7919))));
        qemu_io(overlay, &commands);
    }

    /// The session that is measured.
    pub fn work(self, overlay: &Path, folder: &Path) {
        let commands: Vec<String> = match self {
            Workload::Scattered => {
                (0..2048).map(|n| format!("write -P {} {} 4k", n % 251 + 1, spread(n, 104_729))).collect()
            }
            Workload::Sequential => {
                (0..128).map(|mib| format!("write -P {} {}M 1M", mib % 250 + 2, 100 + mib)).collect()
            }
            Workload::Churn => churn(),
            Workload::Session => return session::work(overlay, folder, true),
            Workload::Untrimmed => return session::work(overlay, folder, false),
        };
        qemu_io(overlay, &commands);
    }
}

/// The nth of a walk over the data in steps of 4 KiB that never meets itself.
fn spread(n: u64, prime: u64) -> u64 {
    n * prime % (USED / 4096) * 4096
}

fn churn() -> Vec<String> {
    let mut commands: Vec<String> =
        (0..64).map(|mib| format!("write -P {} {}M 1M", mib + 100, 256 + mib)).collect();
    // Temporary files, gone again.
    commands.extend((0..48).map(|mib| format!("write -P 77 {}M 1M", 420 + mib)));
    commands.push("discard 420M 48M".to_owned());
    commands.push("write -z 480M 16M".to_owned());
    commands
        .extend((0..256).map(|n| format!("write -P {} {} 16k", n % 250 + 5, n * 65536 * 3 % (200 * MIB))));
    commands
}
