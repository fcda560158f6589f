//! Answers for people, on standard output: what was asked for, and nothing else.

use std::io::Write;

use indicatif::HumanBytes;
use serde::Serialize;

use super::json;
use crate::hypervisor::{self, Candidate, Rendered};
use crate::session::history::History;
use crate::session::plan::Plan;
use crate::session::{Health, Status};

/// Collects lines and writes them at once; a reader that went away (`| head`) is no failure.
#[derive(Default)]
pub struct Page(String);

impl Page {
    /// Adds a line.
    pub fn line(&mut self, text: impl AsRef<str>) {
        self.0.push_str(text.as_ref());
        self.0.push('\n');
    }

    /// Writes everything.
    pub fn print(self) {
        let _ = std::io::stdout().lock().write_all(self.0.as_bytes());
    }
}

/// Prints `content` as text, or as one JSON line with `event` as its name.
pub fn answer<T: Serialize>(json: bool, event: &'static str, content: &T, text: impl FnOnce(&T)) {
    #[derive(Serialize)]
    struct Named<'a, T> {
        event: &'static str,
        #[serde(flatten)]
        content: &'a T,
    }
    if json {
        json::line(&Named { event, content });
    } else {
        text(content);
    }
}

/// What a run would do.
pub fn plan(plan: &Plan) {
    let mut page = Page::default();
    page.line(format!("Machine     {}", plan.machine));
    page.line(format!("Drive       {}", plan.drive.display()));
    match &plan.hypervisor {
        Some(choice) => page.line(format!(
            "Runs on     {} {} with {}",
            hypervisor::title(&choice.hypervisor),
            choice.version.as_deref().unwrap_or("of unknown version"),
            choice.accelerator
        )),
        None => page.line("Runs on     nothing usable on this PC"),
    }
    page.line(format!("Memory      {} MiB", plan.memory_mib));
    page.line(format!("CPUs        {}", plan.cpus));
    page.line(format!("Scratch     {}", plan.scratch.display()));
    page.line(format!(
        "  room      {} free, {} needed",
        HumanBytes(plan.scratch_room.available),
        HumanBytes(plan.scratch_room.needed)
    ));
    page.line(format!(
        "Drive room  {} free, {} needed",
        HumanBytes(plan.drive_room.available),
        HumanBytes(plan.drive_room.needed)
    ));
    for disk in &plan.disks {
        let fate = if disk.keep { "changes are kept" } else { "changes are discarded" };
        page.line(format!("Disk        {} ({}): {fate}", disk.name, HumanBytes(disk.size)));
    }
    if let Some(paging) = plan.paging {
        page.line(format!("Paging      up to {} on this PC, never kept", HumanBytes(paging)));
    }
    if let Some(copied) = plan.copied {
        page.line(format!(
            "Copies      the disks, {}, to this PC for the time of the session: this hypervisor can't read them on the drive",
            HumanBytes(copied)
        ));
    }
    if !plan.lacks.is_empty() {
        page.line(format!("Without     {}: this hypervisor has no such thing", plan.lacks.join(", ")));
    }
    if plan.needs_consent {
        page.line(
            "Consent     changes lie unencrypted on this PC until saved; you will be asked to accept that",
        );
    }
    if plan.refusals.is_empty() {
        page.line("It may run.");
    }
    for refusal in &plan.refusals {
        page.line(format!("It may not run: {}", refusal.what));
        if !refusal.hint.is_empty() {
            page.line(format!("  hint: {}", refusal.hint));
        }
    }
    page.print();
}

/// How a drive stands.
pub fn status(status: &Status) {
    let mut page = Page::default();
    page.line(format!("Machine   {}", status.machine));
    page.line(format!("Drive     {}", status.drive.display()));
    page.line(format!("State     {}", status.text));
    if let Some(hint) = &status.hint {
        page.line(format!("  hint: {hint}"));
    }
    if let Some(last) = &status.last {
        page.line(format!(
            "Last      {} on {}, {} saved",
            last.ended.strftime("%Y-%m-%d %H:%M UTC"),
            last.host_name,
            HumanBytes(last.saved)
        ));
    }
    page.print();
}

/// What this PC has.
pub fn candidates(candidates: &[Candidate]) {
    let mut page = Page::default();
    if candidates.is_empty() {
        let known: Vec<&str> = hypervisor::names().map(hypervisor::title).collect();
        page.line(format!(
            "No hypervisor was found. PocketVM knows {}; install one of them, or carry QEMU on the drive.",
            known.join(", ")
        ));
    }
    for candidate in candidates {
        let version = candidate.version.as_deref().unwrap_or("of unknown version");
        let edition = candidate.edition.map(|edition| format!(" {edition}")).unwrap_or_default();
        page.line(format!(
            "{}{edition} {version}  {} (found in: {})",
            hypervisor::title(&candidate.hypervisor),
            candidate.program.display(),
            candidate.found_in
        ));
        if let Some(rejected) = &candidate.rejected {
            page.line(format!("  not usable: {}", rejected.reason));
            page.0.extend(rejected.fix.iter().map(|fix| format!("    fix: {fix}\n")));
        }
        for accelerator in &candidate.accelerators {
            let rate =
                accelerator.rate.map(|rate| format!(", {rate} thousand loops a second")).unwrap_or_default();
            let remembered = if accelerator.remembered { " (remembered)" } else { "" };
            match &accelerator.rejected {
                None => page.line(format!("  {:<11} usable{rate}{remembered}", accelerator.name)),
                Some(rejected) => {
                    page.line(format!(
                        "  {:<11} not used: {}{remembered}",
                        accelerator.name, rejected.reason
                    ));
                    page.0.extend(rejected.fix.iter().map(|fix| format!("    fix: {fix}\n")));
                }
            }
        }
    }
    if !candidates.is_empty() && !candidates.iter().any(Candidate::is_usable) {
        page.line("None of these can be used now: put one right, or install QEMU or VirtualBox, or carry QEMU on the drive.");
    }
    page.print();
}

/// A configuration: the program, then one argument a line.
pub fn rendered(rendered: &Rendered) {
    let mut page = Page::default();
    page.line(rendered.program.display().to_string());
    for argument in &rendered.args {
        page.line(format!("  {argument}"));
    }
    for file in &rendered.files {
        page.line(format!("{}:", file.name));
        page.line(file.content.trim_end());
    }
    page.print();
}

/// The saves that can be undone or redone, with the state that the disks are in.
pub fn history(history: &History) {
    let mut page = Page::default();
    if history.saves.is_empty() {
        page.line("No save can be undone.");
    }
    for save in &history.saves {
        let time = save.time.map(|time| time.strftime("%Y-%m-%d %H:%M UTC").to_string()).unwrap_or_default();
        let state = if save.in_effect { "in effect" } else { "undone" };
        page.line(format!(
            "{:>3}  {time}  {}  {}  {}  {state}",
            save.number,
            save.host_name,
            HumanBytes(save.changed),
            save.disks.join(", ")
        ));
    }
    if !history.saves.is_empty() {
        let now = match history.state {
            0 => "before save 1".to_owned(),
            number => format!("after save {number}"),
        };
        page.line(format!(
            "The disks are as {now}. Go to another state with undo --to N or redo --to N; 0 is before save 1."
        ));
    }
    page.print();
}

/// The health of a drive.
pub fn health(health: &Health) {
    let mut page = Page::default();
    page.line(format!("Drive  {}", health.drive.display()));
    for disk in &health.disks {
        let generation = disk.generation.as_deref().unwrap_or("none yet");
        page.line(format!(
            "Disk   {} ({}, {}, {}): generation {generation}",
            disk.name,
            disk.file,
            disk.format.as_str(),
            HumanBytes(disk.size)
        ));
        for layer in &disk.below {
            page.line(format!("  over {} ({})", layer.path.display(), layer.format));
        }
        for problem in &disk.problems {
            page.line(format!("  problem: {problem}"));
        }
    }
    page.line(if health.is_good() {
        "The drive is healthy."
    } else {
        "The drive has problems. Keep a copy of it before anything else."
    });
    page.print();
}
