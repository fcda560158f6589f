//! What this PC has: a name, an id, memory, processors.

use serde::Serialize;
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

use super::env;
use crate::{Error, Kind, Result};

/// What this PC has at this moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The name people know this PC by.
    pub name: String,
    /// An id of this PC that stays the same and tells nothing about it to those who do not know the PC.
    pub id: String,
    /// Bytes of memory in all.
    pub memory_total: u64,
    /// Bytes of memory that programs can still get without others being paged out.
    pub memory_available: u64,
    /// Physical cores; the logical ones where the system does not tell.
    pub cores: u32,
    /// Logical processors.
    pub processors: u32,
    /// `linux`, `macos`, `windows`.
    pub system: &'static str,
    /// `x86_64`, `aarch64`.
    pub architecture: &'static str,
}

impl Facts {
    /// Looks.
    ///
    /// # Errors
    /// [`Kind::Unexpected`]: the system does not tell how much memory there is.
    pub fn gather() -> Result<Facts> {
        let kinds = RefreshKind::nothing()
            .with_memory(MemoryRefreshKind::nothing().with_ram())
            .with_cpu(CpuRefreshKind::nothing());
        let system = System::new_with_specifics(kinds).map_err(|error| {
            Error::new(Kind::Unexpected, "cannot find out what memory this PC has").because(error)
        })?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let processors = u32::try_from(processors).unwrap_or(u32::MAX);
        let cores = System::physical_core_count().ok().and_then(|count| u32::try_from(count).ok());
        // In a container the memory is what its group may have, not what the PC has.
        let limits = system.cgroup_limits();
        let (total, free) = (system.total_memory(), system.available_memory());
        Ok(Facts {
            name: host_name(),
            id: host_id(),
            memory_total: limits.as_ref().map_or(total, |limits| total.min(limits.total_memory)),
            memory_available: limits.as_ref().map_or(free, |limits| free.min(limits.free_memory)),
            // A process may be confined to fewer processors than there are cores.
            cores: cores.filter(|count| *count > 0).unwrap_or(processors).min(processors),
            processors,
            system: std::env::consts::OS,
            architecture: std::env::consts::ARCH,
        })
    }
}

/// The name of this PC: [`env::HOST_NAME`], else its host name.
#[must_use]
pub fn host_name() -> String {
    let name = env::text(env::HOST_NAME).or_else(|| System::host_name().ok()).unwrap_or_default();
    let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    if name.trim().is_empty() { "this PC".to_owned() } else { name }
}

/// The id of this PC: a keyed hash of what the system keeps to tell PCs apart, in 32 hexadecimal digits.
///
/// The hash keeps the machine id itself from being carried around on drives, as machine-id(5) asks for.
#[must_use]
pub fn host_id() -> String {
    let source = env::text(env::HOST_ID).or_else(super::machine_id::read).unwrap_or_else(host_name);
    let hash = blake3::derive_key("pocketvm 2026-11 id of a PC", source.trim().as_bytes());
    hash[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facts_of_this_pc_are_plausible() {
        let facts = Facts::gather().unwrap();
        assert!(facts.memory_total > 64 << 20, "{facts:?}");
        assert!(facts.memory_available <= facts.memory_total, "{facts:?}");
        assert!(facts.cores >= 1 && facts.cores <= facts.processors, "{facts:?}");
        assert!(!facts.name.is_empty());
    }

    #[test]
    fn the_id_stays_the_same_and_hides_the_machine_id() {
        let id = host_id();
        assert_eq!(id, host_id());
        assert_eq!(id.len(), 32);
        let machine = crate::host::machine_id::read().unwrap_or_default();
        assert!(machine.is_empty() || !id.contains(machine.trim()));
    }
}
