//! Accelerator verdicts remembered per PC, so that an accelerator is proved once and not at every start.
//!
//! What a verdict says is known to the hypervisor layer only; here it is a JSON value of bounded size. Losing one
//! costs a few seconds, so a record that can't be read counts as empty.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Drive, state};
use crate::Result;

/// Most PCs that are remembered; the one not seen for longest is forgotten first.
const MAX_HOSTS: usize = 16;

/// Most bytes for one PC. All PCs together fit the record.
const MAX_BYTES: usize = 12 * 1024;

/// The verdicts of one PC.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    host: String,
    updated: Timestamp,
    verdicts: Value,
}

impl Drive {
    /// What is remembered for a PC.
    #[must_use]
    pub fn read_verdicts(&self, host_id: &str) -> Option<Value> {
        let entry = self.read_entries().into_iter().find(|entry| entry.host == host_id)?;
        Some(entry.verdicts)
    }

    /// Remembers `verdicts` for a PC; what was remembered for it before is replaced.
    ///
    /// # Errors
    /// [`Kind::Drive`](crate::Kind::Drive): the drive can't be written. [`Kind::Unexpected`](crate::Kind): the
    /// verdicts are larger than 12 KiB.
    pub fn write_verdicts(&self, host_id: &str, verdicts: &Value) -> Result<()> {
        if verdicts.to_string().len() > MAX_BYTES {
            return Err(crate::Error::new(
                crate::Kind::Unexpected,
                "the verdicts on this PC are too large to remember",
            ));
        }
        let mut entries = self.read_entries();
        entries.retain(|entry| entry.host != host_id);
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.updated));
        entries.truncate(MAX_HOSTS - 1);
        entries.push(Entry {
            host: host_id.to_owned(),
            updated: Timestamp::now(),
            verdicts: verdicts.clone(),
        });
        self.write_record(&state::VERDICTS, &entries)
    }

    fn read_entries(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self.read_record(&state::VERDICTS).ok().flatten().unwrap_or_default();
        entries.retain(|entry| entry.host.len() <= 128 && entry.verdicts.to_string().len() <= MAX_BYTES);
        entries
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::drive::tests::new_drive;

    #[test]
    fn each_pc_has_its_own_verdicts() {
        let (_folder, drive) = new_drive();
        assert_eq!(drive.read_verdicts("a"), None);
        drive.write_verdicts("a", &json!({"kvm": 1})).unwrap();
        drive.write_verdicts("b", &json!({"kvm": 2})).unwrap();
        drive.write_verdicts("a", &json!({"kvm": 3})).unwrap();
        assert_eq!(drive.read_verdicts("a"), Some(json!({"kvm": 3})));
        assert_eq!(drive.read_verdicts("b"), Some(json!({"kvm": 2})));
    }

    #[test]
    fn the_pc_not_seen_for_longest_is_forgotten_and_the_record_never_overflows() {
        let (_folder, drive) = new_drive();
        let large = json!("x".repeat(MAX_BYTES - 2));
        for host in 0..=MAX_HOSTS {
            drive.write_verdicts(&format!("{host}"), &large).unwrap();
        }
        assert_eq!(drive.read_verdicts("0"), None);
        assert_eq!(drive.read_verdicts("1"), Some(large));
        assert!(drive.write_verdicts("a", &json!("x".repeat(MAX_BYTES))).is_err());
    }

    #[test]
    fn a_damaged_record_counts_as_empty() {
        let (_folder, drive) = new_drive();
        drive.write_record(&state::VERDICTS, &"nonsense").unwrap();
        assert_eq!(drive.read_verdicts("a"), None);
        drive.write_verdicts("a", &json!(1)).unwrap();
        assert_eq!(drive.read_verdicts("a"), Some(json!(1)));
    }
}
