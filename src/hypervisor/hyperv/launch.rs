//! Making and starting a machine in Hyper-V, finding one again that outlived its launcher, and making Hyper-V forget it.

use std::path::Path;

use super::events::{self, Created, Said};
use super::helper::{self, Helper, Order};
use super::record::Record;
use super::{NAME, running, template};
use crate::host::child::Identity;
use crate::hypervisor::record::Started;
use crate::hypervisor::rendering::{plain, text};
use crate::hypervisor::{Ending, Machine, Rendered, RenderedFile, Running};
use crate::{Error, Kind, Result};

/// Makes and starts the machine.
pub fn launch(machine: &Machine, rendered: &Rendered) -> Result<Running> {
    let scratch = &machine.scratch;
    RenderedFile::write_all(&rendered.files, scratch)?;
    let mut helper = Helper::start(&rendered.program, &rendered.args, scratch)?;
    let started = start(&mut helper, machine, rendered);
    match started {
        Ok((record, first)) => Ok(running::attend(scratch, record, helper, Some(first))),
        Err(error) => {
            let _ = helper.process.start_kill();
            let _ = helper.process.wait();
            let order = Order { mode: "forget", session: machine.session(), ..Order::default() };
            // The first error is the one that matters.
            let _ = helper::ask(&rendered.program, &order, scratch);
            Err(if error.safe.is_none() { error.safe("the drive is unchanged") } else { error })
        }
    }
}

/// Lets the helper make the machine, looks at what it made, and lets it start. What the helper says first of the running
/// machine comes with it.
fn start(helper: &mut Helper, machine: &Machine, rendered: &Rendered) -> Result<(Record, Said)> {
    let cannot = |why: &str| {
        Error::new(Kind::Hypervisor, "Hyper-V can't run the machine")
            .hint("see what Hyper-V Manager says about it, or use another hypervisor")
            .because(why.to_owned())
    };
    let created = match helper.next() {
        Some(Said::Created(created)) => created,
        Some(Said::Failed { error }) => return Err(cannot(&plain(&error))),
        _ => return Err(cannot("PowerShell ended before the machine was ready")),
    };
    compare(&created, machine)?;
    let process = Identity::of(helper.process.id()).ok_or_else(|| cannot("PowerShell ended"))?;
    let overlays = machine.disks.iter().map(|disk| text(&disk.overlay).map(str::to_owned));
    let record = Record {
        started: Started { hypervisor: NAME.into(), process },
        powershell: rendered.program.clone(),
        session: machine.session(),
        since: created.time,
        overlays: overlays.collect::<Result<_>>()?,
    };
    // Before the guest's first instruction the next launcher must be able to find it.
    record.write(&machine.scratch)?;
    helper.send("start").map_err(|error| cannot(&error.to_string()))?;
    match helper.next() {
        Some(first @ Said::State { .. }) => Ok((record, first)),
        Some(Said::Failed { error }) => Err(cannot(&plain(&error))),
        _ => Err(cannot("PowerShell ended before the machine ran")),
    }
}

/// Compares what Hyper-V made with what was meant.
fn compare(created: &Created, machine: &Machine) -> Result<()> {
    let overlays = machine.disks.iter().map(|disk| text(&disk.overlay).map(str::to_owned));
    let overlays = overlays.collect::<Result<Vec<_>>>()?;
    let card = template::mac(machine);
    let cards_fit = match &created.cards[..] {
        [] => !machine.devices.network,
        [one] => machine.devices.network && one.lan && one.mac.eq_ignore_ascii_case(&card),
        _ => false,
    };
    let differences = [
        (created.generation == 1, "it is of another generation"),
        (created.memory == template::memory_bytes(machine), "it has another memory"),
        (created.cpus == machine.cpus, "it has other CPUs"),
        (created.checkpoints == "Disabled", "it can have checkpoints"),
        (events::same(&created.disks, &overlays), "it has other disks"),
        (created.others == 0, "it has other drives"),
        (cards_fit, "it has another network card"),
    ];
    match differences.iter().find(|(fits, _)| !fits) {
        None => Ok(()),
        Some((_, what)) => Err(Error::new(
            Kind::Hypervisor,
            format!("Hyper-V understood the machine otherwise than it was meant: {what}"),
        )
        .safe("nothing was started")
        .hint("compare the template with the one of this PocketVM version, or use another hypervisor")),
    }
}

fn ask(mode: &str, record: &Record, scratch: &Path) -> Result<Said> {
    let order = Order { mode, session: record.session, since: Some(&record.since), ..Order::default() };
    helper::ask(&record.powershell, &order, scratch)
}

/// Whether a machine in this state can still write to its disks.
pub fn is_running(state: &str) -> bool {
    !matches!(state, "Off" | "Saved" | "FastSaved" | "OffCritical" | "SavedCritical")
}

/// Whether the machine runs.
pub fn runs(scratch: &Path) -> Result<bool> {
    let Some(record) = Record::read(scratch)? else { return Ok(false) };
    if record.started.process.is_alive() {
        return Ok(true);
    }
    match ask("state", &record, scratch)? {
        Said::State { state, .. } => Ok(is_running(&state)),
        _ => Ok(false),
    }
}

/// Takes over a machine that still runs.
pub fn adopt(scratch: &Path) -> Result<Option<Running>> {
    let Some(mut record) = Record::read(scratch)? else { return Ok(None) };
    match ask("state", &record, scratch)? {
        Said::State { state, .. } if is_running(&state) => {}
        _ => return Ok(None),
    }
    let helper = attach(&record, scratch)?;
    if let Some(process) = Identity::of(helper.process.id()) {
        record.started.process = process;
        record.write(scratch)?;
    }
    Ok(Some(running::attend(scratch, record, helper, None)))
}

/// A new helper for a machine that runs.
pub fn attach(record: &Record, scratch: &Path) -> Result<Helper> {
    let order =
        Order { mode: "attach", session: record.session, since: Some(&record.since), ..Order::default() };
    Helper::start(&record.powershell, &order.arguments(scratch), scratch)
}

/// How the machine ended; none if it still runs.
pub fn ending(scratch: &Path) -> Result<Option<Ending>> {
    let Some(record) = Record::read(scratch)? else { return Ok(None) };
    match ask("ending", &record, scratch)? {
        Said::Off(off) if is_running(&off.state) => Ok(None),
        Said::Off(off) => Ok(Some(events::ending(&off, &record.overlays, false))),
        _ => Ok(Some(Ending::HypervisorDied { detail: "somebody removed the machine from Hyper-V".into() })),
    }
}

/// Hyper-V forgets the machine of `scratch`. Its disks stay.
pub fn forget(scratch: &Path) -> Result<()> {
    let Some(record) = Record::read(scratch)? else { return Ok(()) };
    ask("forget", &record, scratch).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_machine_that_is_off_or_saved_is_over() {
        for state in ["Running", "Paused", "PausedCritical", "Starting", "Stopping", "Saving", "Other"] {
            assert!(is_running(state), "{state}");
        }
        assert!(!is_running("Off") && !is_running("Saved"));
    }
}
