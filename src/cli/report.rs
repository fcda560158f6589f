//! Answers for people, on standard output: what was asked for, and nothing else.

use std::io::Write;

use indicatif::HumanBytes;
use pocketvm_guest::guest::{Guest, System, Volume};
use pocketvm_guest::linux::Linux;
use pocketvm_guest::windows::{Setting, Windows};
use serde::Serialize;

use super::json;
use crate::hypervisor::{self, Candidate, Rendered};
use crate::session::event;
use crate::session::guest::{Installed, Planned};
use crate::session::history::History;
use crate::session::plan::Plan;
use crate::session::{Health, Status};

/// Collects lines and writes them at once; a reader that went away (`| head`) is no failure.
#[derive(Default)]
pub struct Page(String);

impl Page {
    /// Adds a line.
    pub fn line(&mut self, text: impl AsRef<str>) {
        // A disk's names may be anybody's: nothing of them moves the terminal's cursor.
        self.0.extend(text.as_ref().chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')));
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

/// What is installed on a drive.
pub fn installed(installed: &Installed) {
    let mut page = Page::default();
    page.line(format!("Drive       {}", installed.drive.display()));
    if let Some(session) = installed.session {
        page.line(format!("Session     {session} waits here; its changes are seen as well"));
    }
    match &installed.guest {
        None => page.line("Guest       nothing is understood of the system disk"),
        Some(guest) => describe_guest(&mut page, guest),
    }
    for (number, volumes) in (2..).zip(&installed.others) {
        for volume in volumes {
            page.line(format!("Disk {number}      {}", describe_volume(volume)));
        }
    }
    if let Some(paging) = &installed.paging {
        page.line(format!("Paging      {}", paging.text));
    }
    match &installed.plan {
        None => {}
        Some(Planned::Unknown) => {
            page.line("Plan        what it needs is not known; it is given the usual hardware")
        }
        Some(Planned::Refused { what, hint }) => {
            page.line(format!("Plan        {what}"));
            if let Some(hint) = hint {
                page.line(format!("  hint: {hint}"));
            }
        }
        Some(Planned::Fits { report }) => {
            let part = |name: &str, value: Option<&str>| {
                value.map(|value| format!(", {name} {value}")).unwrap_or_default()
            };
            page.line(format!(
                "Plan        {}: controller {}{}{}",
                hypervisor::title(&report.hypervisor),
                report.controller,
                part("network card", report.card),
                part("display", report.display)
            ));
            if report.changes.is_empty() {
                page.line("  nothing is changed in it");
            }
            report.changes.iter().for_each(|change| page.line(format!("  change: {change}")));
            report.notes.iter().for_each(|note| page.line(format!("  note: {note}")));
        }
    }
    page.print();
}

fn describe_volume(volume: &Volume) -> String {
    let partition = &volume.partition;
    let what = serde_json::to_value(&volume.content).ok();
    let what = what.as_ref().map(|what| {
        let number = ["version", "bits"].iter().find_map(|key| what[key].as_u64());
        let number = number.map(|number| number.to_string()).unwrap_or_default();
        format!("{}{number}", what["content"].as_str().unwrap_or_default())
    });
    let what = what.unwrap_or_default();
    let label = volume.content.label().map(|label| format!(" “{label}”")).unwrap_or_default();
    format!("partition {}: {what}{label}, {}", partition.number, HumanBytes(partition.size))
}

fn describe_guest(page: &mut Page, guest: &Guest) {
    let starts = match (guest.firmware.bios, guest.firmware.uefi) {
        (true, true) => "BIOS or UEFI",
        (true, false) => "BIOS",
        (false, true) => "UEFI",
        (false, false) => "nothing that is known",
    };
    page.line(format!("Starts with {starts}"));
    for volume in &guest.volumes {
        page.line(format!("Volume      {}", describe_volume(volume)));
    }
    for unread in &guest.unread {
        page.line(format!("  not seen: partition {}, {}", unread.partition, unread.why));
    }
    for system in &guest.systems {
        page.line(format!("System      {}", event::title_of(system)));
        match system {
            System::Windows { windows, .. } => describe_windows(page, windows),
            System::Linux { linux, .. } => describe_linux(page, linux),
        }
    }
}

fn describe_windows(page: &mut Page, windows: &Windows) {
    let architecture = windows.architecture.map(|one| format!(" for {}", word(&one))).unwrap_or_default();
    if let Some(build) = windows.build {
        page.line(format!("  build     {build}{architecture}"));
    }
    page.line(format!("  clock     {}", word(&windows.clock)));
    let told = |switch: Option<bool>| switch.map_or("not set", |on| if on { "on" } else { "off" });
    page.line(format!(
        "  sleep     hibernation {}, fast startup {}",
        told(windows.hibernation),
        told(windows.fast_startup)
    ));
    for set in &windows.control_sets {
        let current = if set.current { ", starts with it" } else { "" };
        page.line(format!("  control set {}{current}", set.number));
        for driver in set.drivers.iter().filter(|driver| driver.service) {
            let number =
                |setting: &Setting| setting.value().map_or("-".to_owned(), |value| value.to_string());
            page.line(format!(
                "    {:<14} Start {}, StartOverride {}{}",
                driver.name,
                number(&driver.start),
                number(&driver.start_override),
                if driver.file { "" } else { ", its file is missing" }
            ));
            if !driver.device_ids.is_empty() {
                page.line(format!("      for {}", driver.device_ids.join(", ")));
            }
        }
    }
    for reason in &windows.state {
        page.line(format!("  state     {reason}"));
    }
    for tool in &windows.guest_tools {
        page.line(format!("  tools     {} ({})", tool.product, tool.service));
    }
}

/// The word by which programs know something.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

fn describe_linux(page: &mut Page, linux: &Linux) {
    if let Some(architecture) = linux.architecture {
        page.line(format!("  for       {architecture}"));
    }
    for kernel in &linux.kernels {
        page.line(format!("  kernel    {}", kernel.version));
        match &kernel.initramfs {
            Some(initramfs) => {
                page.line(format!("    initramfs {} ({})", initramfs.path, HumanBytes(initramfs.size)));
                let modules: Vec<&str> = initramfs.modules.iter().map(String::as_str).collect();
                page.line(format!("    drivers   {}", modules.join(" ")));
            }
            None => page.line("    no initramfs"),
        }
    }
    for mount in &linux.fstab.mounts {
        page.line(format!("  fstab     {} {} {}", mount.spec, mount.point, mount.kind));
    }
    for card in &linux.network {
        let name = card.name.as_deref().or(card.mac.as_deref()).unwrap_or_default();
        page.line(format!("  network   {name} ({})", card.file));
    }
    for tools in &linux.guest_tools {
        page.line(format!("  tools     {}", word(tools)));
    }
    if !linux.state.clean || linux.state.errors || linux.state.journal {
        page.line("  state     it was not shut down cleanly");
    }
    for resume in &linux.resume {
        page.line(format!("  wakes from {} ({})", resume.from, resume.file));
    }
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
