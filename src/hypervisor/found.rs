//! What was found on a PC: hypervisors and accelerators, usable or not, each with its reason.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::host::programs::{self, Device};

/// A hypervisor found on this PC, usable or not: what `detect` lists.
#[derive(Debug, Clone, Serialize)]
pub struct Candidate {
    /// `qemu`, …: also the key of its template.
    pub hypervisor: String,
    /// As the program reports it, for instance `7.2.22`.
    pub version: Option<String>,
    /// Which of several editions it is, where that matters, for instance `Player`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edition: Option<&'static str>,
    /// The program that would be started.
    pub program: PathBuf,
    /// Where it was found: `path`, `well-known`, `registry`, `drive`.
    pub found_in: &'static str,
    /// In order of preference; the first usable one is taken.
    pub accelerators: Vec<Accelerator>,
    /// Why this candidate can't be used at all.
    pub rejected: Option<Rejection>,
}

impl Candidate {
    /// It can be started with at least one accelerator.
    pub fn is_usable(&self) -> bool {
        self.rejected.is_none() && self.accelerator().is_some()
    }

    /// The accelerator to use: the best one that is not rejected.
    pub fn accelerator(&self) -> Option<&Accelerator> {
        self.accelerators.iter().find(|accelerator| accelerator.rejected.is_none())
    }
}

/// Where to look besides the PC's own places.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The drive's `runtime` folder (or the verified copy of it), with `<os>-<arch>/<hypervisor>/` inside.
    pub carried: Option<PathBuf>,
}

/// One accelerator of a candidate and the verdict on it.
#[derive(Debug, Clone, Serialize)]
pub struct Accelerator {
    /// `kvm`, `whpx`, `hvf`, `tcg`, …
    pub name: String,
    /// Work units a second as proved by the payload, in thousands of loops.
    pub rate: Option<u64>,
    /// Why it is not used; none means that it is usable.
    pub rejected: Option<Rejection>,
    /// The verdict was remembered from an earlier proof on this host with this version.
    pub remembered: bool,
    /// It works, but is taken only by those who ask for it by name: `rejected` says why nobody would want it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub on_request: bool,
}

impl Accelerator {
    /// It can be taken, by whom it is `wished` for by name.
    pub fn is_offered(&self, wished: Option<&str>) -> bool {
        wished.is_none_or(|name| self.name == name)
            && (self.rejected.is_none() || (self.on_request && wished.is_some()))
    }
}

/// Why something can't be used, and the fix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// One clause, for people.
    pub reason: String,
    /// The one thing to do about it, if there is one.
    pub fix: Option<String>,
}

impl Rejection {
    /// What stands in the way of `accelerator` on this PC; none if nothing is known to.
    pub(crate) fn of_device(accelerator: &str) -> Option<Rejection> {
        match programs::accelerator_device(accelerator) {
            Device::Ready(_) | Device::Unknown => None,
            Device::Missing { reason, fix } | Device::Denied { reason, fix } => {
                Some(Rejection { reason, fix: Some(fix) })
            }
        }
    }
}

/// A remembered proof of one accelerator. Kept by the caller; what it is worth is decided in the door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Hash over program path, version and accelerator name (and the accelerator's device permissions).
    pub key: String,
    /// As in [`Accelerator::rate`].
    pub rate: Option<u64>,
    /// As in [`Accelerator::rejected`].
    pub rejected: Option<Rejection>,
}

/// Proofs remembered for one host.
pub type Verdicts = BTreeMap<String, Verdict>;
