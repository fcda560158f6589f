//! A report for whoever helps: what happened, without private data.
//!
//! Only what is named here goes in: words of ours, numbers, versions. Texts of the session, names of machines, PCs, disks and
//! files, addresses and ids stay out, so that nothing has to be recognised and blackened.

use jiff::Timestamp;

use super::log::{Entry, word};
use super::model::Model;
use crate::hypervisor::{Accelerator, Candidate, Ending, GuestEvent};
use crate::session::event::{Event, StepState};

/// The report as text, in English. `renderer` is what draws the window.
pub fn report(model: &Model, renderer: &str) -> String {
    let mut text = String::new();
    let mut line = |content: String| {
        text.push_str(&content);
        text.push('\n');
    };
    line(format!("PocketVM {}", env!("CARGO_PKG_VERSION")));
    line(format!("system {} {}, window {renderer}", std::env::consts::OS, std::env::consts::ARCH));
    for candidate in &model.candidates {
        line(describe(candidate));
    }
    if let Some(status) = &model.status {
        line(format!("drive {}", word(&status.state)));
    }
    if let Some(plan) = &model.plan {
        line(format!(
            "memory {} MiB of {} to {}",
            plan.memory_mib, plan.limits.memory_min_mib, plan.limits.memory_max_mib
        ));
        line(format!("processors {} of {} to {}", plan.cpus, plan.limits.cpus_min, plan.limits.cpus_max));
        line(format!("room here {} of {}", plan.scratch_room.available, plan.scratch_room.needed));
        line(format!("room on the drive {} of {}", plan.drive_room.available, plan.drive_room.needed));
        for (number, disk) in (1..).zip(&plan.disks) {
            let fate = if disk.keep { "kept" } else { "discarded" };
            line(format!("disk {number} {} {} bytes, {fate}", disk.format.as_str(), disk.size));
        }
        for refusal in &plan.refusals {
            // A reason has numbers only.
            line(format!("refused {}", serde_json::to_string(&refusal.reason).unwrap_or_default()));
        }
    }
    let began = model.log.entries().next().map(|entry| entry.time);
    for entry in model.log.entries() {
        if let Some(told) = tell(&entry.event) {
            line(format!("{:>8.1} s  {told}", since(began, entry)));
        }
    }
    text
}

/// Seconds since the first entry: no clock of the PC's goes in.
fn since(began: Option<Timestamp>, entry: &Entry) -> f64 {
    let began = began.unwrap_or(entry.time);
    (entry.time.as_millisecond() - began.as_millisecond()) as f64 / 1000.0
}

fn describe(candidate: &Candidate) -> String {
    let accelerator = |one: &Accelerator| {
        let verdict = if one.rejected.is_some() { "rejected" } else { "usable" };
        let rate = one.rate.map(|rate| format!(" at {rate}")).unwrap_or_default();
        format!("{} {verdict}{rate}", one.name)
    };
    let accelerators: Vec<String> = candidate.accelerators.iter().map(accelerator).collect();
    let version = candidate.version.as_deref().unwrap_or("unknown");
    let verdict = if candidate.rejected.is_some() { ", rejected" } else { "" };
    format!(
        "{} {version} in {}{verdict}: {}",
        candidate.hypervisor,
        candidate.found_in,
        accelerators.join(", ")
    )
}

fn tell(event: &Event) -> Option<String> {
    Some(match event {
        Event::Phase { phase, state: StepState::Started, .. } => format!("{} begins", phase.word()),
        Event::Phase { phase, state: StepState::Done, seconds } => {
            format!("{} took {seconds} s", phase.word())
        }
        Event::Notice { code, .. } => format!("notice {}", word(code)),
        Event::Guest { guest } => match guest {
            GuestEvent::DiskError { no_space, read, .. } => {
                format!("guest disk-error, no space {no_space}, reading {read}")
            }
            GuestEvent::Ended(ending) => {
                let how = match ending {
                    Ending::PoweredOff => "powered off",
                    Ending::Forced => "forced",
                    Ending::Panicked => "panicked",
                    Ending::WrittenElsewhere { .. } => "written elsewhere",
                    Ending::HypervisorDied { .. } => "hypervisor died",
                    Ending::Hibernated { .. } => "hibernated",
                };
                format!("guest ended, {how}")
            }
            GuestEvent::Running => "guest running".into(),
            GuestEvent::Paused => "guest paused".into(),
            GuestEvent::Reset => "guest reset".into(),
            GuestEvent::Panicked => "guest panicked".into(),
            GuestEvent::ShuttingDown { by_guest } => format!("guest shutting down, by itself {by_guest}"),
        },
        Event::Merged { disks } => {
            let sum = |value: fn(&crate::session::event::MergedDisk) -> u64| -> u64 {
                disks.iter().map(value).sum()
            };
            let (changed, written) = (sum(|disk| disk.changed), sum(|disk| disk.written));
            format!("merged {} disks, {changed} bytes changed, {written} written", disks.len())
        }
        Event::Moved { from, to, .. } => format!("moved from state {from} to {to}"),
        Event::Adapted { adapted } => format!(
            "guest fitted to {}: {}, card {}, {} changes",
            adapted.hypervisor,
            adapted.controller,
            adapted.card.unwrap_or("none"),
            adapted.changes.len()
        ),
        Event::Done { outcome, .. } => format!("done {}", word(outcome)),
        Event::Error { kind, .. } => format!("error {}", word(kind)),
        _ => return None,
    })
}
