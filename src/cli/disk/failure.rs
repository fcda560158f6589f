//! What the engine refuses or fails at, as this program tells it: kind, sentence, what is safe, and a hint.

use std::io;
use std::path::Path;

use pocketvm_disk::Error as Engine;

use super::text;
use crate::{Error, Kind};

/// Nothing was written.
const UNCHANGED: &str = "nothing was changed";

/// A failure of a command that only looks, or before anything was written.
pub fn looking(error: Engine) -> Error {
    told(error, None).safe(UNCHANGED)
}

/// A failure of a merge: it had no effect, unless it was in the midst of its flip.
pub fn merging(error: Engine, record: &Path) -> Error {
    let safe = match error {
        Engine::Interrupted(_) => {
            "once recovered, the bases are all as before the merge or all as after it; the overlays are as they were"
        }
        _ => "the bases and the overlays are as they were",
    };
    match error {
        Engine::Cancelled => Error::new(Kind::Merge, "the merge was cancelled"),
        // What is named on the command line was opened before; from then on it is the storage that fails.
        Engine::Io(error) => Error::new(Kind::Merge, "the merge failed").because(error),
        error => told(error, Some(record)),
    }
    .safe(safe)
}

/// A failure of undo, redo or recovery.
pub fn travelling(error: Engine, record: &Path) -> Error {
    let safe = match error {
        Engine::Interrupted(_) => "once recovered, the bases are all at one state or all at the other",
        _ => "the bases are as they were",
    };
    let is_foreign = matches!(error, Engine::ForeignWriter { .. });
    let told = told(error, Some(record)).safe(safe);
    if is_foreign { told.hint("the merges before that can't be undone or redone any more") } else { told }
}

/// A failure of compacting, before which so many merges could be undone or redone that can't be now.
pub fn compacting(error: Engine, record: &Path, forgotten: usize) -> Error {
    let mut safe = match error {
        Engine::Interrupted(_) => "once recovered, the base holds what it held".to_owned(),
        _ => "the base holds what it held".to_owned(),
    };
    if forgotten > 0 {
        safe.push_str(&format!("; {} any more", text::forgotten(forgotten)));
    }
    match error {
        Engine::Cancelled => Error::new(Kind::Merge, "compacting was cancelled"),
        Engine::Io(error) => Error::new(Kind::Merge, "compacting failed").because(error),
        error => told(error, Some(record)),
    }
    .safe(safe)
}

fn told(error: Engine, record: Option<&Path>) -> Error {
    let told = Error::new(kind(&error), error.to_string());
    match (&error, error.hint()) {
        (Engine::Interrupted(_) | Engine::Unrecovered(_), _) => {
            let record = record.map_or_else(|| "FILE".to_owned(), |record| record.display().to_string());
            told.hint(format!("finish it with: pocketvm disk recover --record {record}"))
        }
        (Engine::BadRecord { .. }, _) => told.hint(
            "name the record of the base; one that is damaged can be removed, and its merges are final then",
        ),
        (_, Some(hint)) => told.hint(hint),
        (_, None) => told,
    }
}

fn kind(error: &Engine) -> Kind {
    match error {
        Engine::Io(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory => {
                Kind::Usage
            }
            _ => Kind::Unexpected,
        },
        Engine::Refused { .. } | Engine::Damaged { .. } | Engine::BadRecord { .. } => Kind::Disk,
        Engine::InUse { .. } | Engine::BeingRead { .. } | Engine::Busy { .. } => Kind::Busy,
        Engine::ForeignWriter { .. }
        | Engine::WrongGeneration { .. }
        | Engine::Shrinks { .. }
        | Engine::Cancelled
        | Engine::NotKept { .. }
        | Engine::RecordTooLarge { .. }
        | Engine::Interrupted(_) => Kind::Merge,
        Engine::Unrecovered(_) => Kind::Leftover,
        Engine::BadPath(_) | Engine::NoHistory(_) | Engine::Input(_) => Kind::Usage,
        _ => Kind::Unexpected,
    }
}
