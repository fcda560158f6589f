//! Starting a machine in VirtualBox, finding one again that outlived its launcher, and making VirtualBox forget it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::manage::{self, Description, Manage};
use super::record::Record;
use super::running::{self, Process};
use super::{NAME, SETTINGS, nvram, readback, template};
use crate::drive::names;
use crate::host::child::{self, Handle, Identity};
use crate::hypervisor::record::Started;
use crate::hypervisor::{Ending, Machine, Rendered, RenderedFile, Running};
use crate::{Error, Kind, Result};

/// VirtualBox opens its files and pauses the machine within this time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts the machine and lets the guest run.
pub fn launch(manage: &Manage, machine: &Machine, rendered: &Rendered) -> Result<Running> {
    let scratch = &machine.scratch;
    let session = machine.session();
    tidy(manage, scratch);
    RenderedFile::write_all(&rendered.files, scratch)?;
    nvram::make(scratch, &machine.chips)?;
    // Before VirtualBox knows of it: should this launcher be killed now, the next one must make it forget.
    let process = Identity::of(std::process::id())
        .ok_or_else(|| Error::new(Kind::Unexpected, "this program can't be found among the processes"))?;
    let record = Record {
        started: Started { hypervisor: NAME.into(), process },
        manage: manage.program().to_owned(),
        machine: session,
        known: false,
        overlays: machine.disks.iter().map(|disk| template::overlay_id(machine, &disk.name)).collect(),
    };
    record.write(scratch)?;
    let settings = scratch.join(SETTINGS);
    let path = crate::hypervisor::rendering::text(&settings)?;
    let safe = |error: Error| {
        if error.safe.is_none() { error.safe("the drive is unchanged") } else { error }
    };
    let started = manage
        .tell(&["registervm", path])
        .and_then(|_| registered(manage, machine))
        .and_then(|()| start(machine, rendered, record));
    started.map_err(safe).inspect_err(|_| {
        // The first error is the one that matters.
        let _ = unregister(manage, session);
    })
}

/// VirtualBox has the machine as it was meant.
fn registered(manage: &Manage, machine: &Machine) -> Result<()> {
    let said = manage.describe(machine.session())?.unwrap_or_default();
    readback::compare(&said, machine, &template::places(machine)?)
}

fn start(machine: &Machine, rendered: &Rendered, record: Record) -> Result<Running> {
    let scratch = &machine.scratch;
    let cannot = |why: String| {
        Error::new(Kind::Hypervisor, "VirtualBox can't run the machine")
            .hint("see what VirtualBox says about it in its own window, or use another hypervisor")
            .because(why)
    };
    let log = fs_err::File::create(scratch.join(names::HYPERVISOR_LOG))?.into_file();
    let errors = log.try_clone()?;
    let mut command = Command::new(&rendered.program);
    command.args(&rendered.args).current_dir(scratch).stdin(Stdio::null());
    command.stdout(Stdio::from(log)).stderr(Stdio::from(errors));
    child::clean_environment(&mut command, scratch);
    child::keep_variables(&mut command, manage::VARIABLES);
    let mut process = child::start(command).map_err(|error| cannot(error.to_string()))?;
    // The machine starts paused: before the guest's first instruction the next launcher must be able to find it.
    let record = Identity::of(process.id()).map(|process| Record {
        started: Started { hypervisor: NAME.into(), process },
        known: true,
        ..record
    });
    let ready = match &record {
        Some(record) => record.write(scratch).and_then(|()| until_paused(scratch, record)),
        None => Err(Error::new(Kind::Hypervisor, "it ended at once")),
    };
    let (Ok(()), Some(record)) = (&ready, record) else {
        let _ = process.start_kill();
        let ended = process.wait().map(child::describe).unwrap_or_default();
        let said = running::last_words(scratch);
        let why = ready.err().map_or(ended, |error| error.to_string());
        return Err(cannot(if said.is_empty() { why } else { format!("{why}: {said}") }));
    };
    let handle = Handle::open(&record.started.process);
    let running = running::attend(scratch, record, Process::Own { child: process, handle });
    if let Err(error) = let_run(&running) {
        let _ = running.guest.force_off();
        return Err(cannot(error.to_string()));
    }
    Ok(running)
}

/// Returns when the machine stands before its first instruction. VirtualBox is not asked for it: while a machine starts, a
/// question fails, and can get in its way.
fn until_paused(scratch: &Path, record: &Record) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !running::is_paused(scratch) {
        if !record.started.process.is_alive() {
            return Err(Error::new(Kind::Hypervisor, "its program ended before the machine was ready"));
        }
        if Instant::now() >= deadline {
            return Err(Error::new(Kind::Hypervisor, "the machine does not become ready"));
        }
        // The log is the only word there is, and nothing tells when it grows.
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Lets the guest run. Right after the start VirtualBox may still be busy with itself.
fn let_run(running: &Running) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match running.guest.resume() {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(200)),
            result => return result,
        }
    }
}

/// The machine's process, if there is one: the one of the record, or one that was started without us: before the record could
/// say so, or by somebody who found the machine in VirtualBox's list.
fn alive(scratch: &Path, record: &Record) -> Option<Identity> {
    let process = &record.started.process;
    if record.known && process.is_alive() {
        return Some(process.clone());
    }
    let machine = record.machine.to_string();
    // VirtualBox's own list starts them with that word, too.
    let argument = Path::new(&machine);
    let found = [manage::WINDOW, manage::HEADLESS]
        .into_iter()
        .find_map(|name| child::find_by_argument(name, argument));
    found.filter(|_| scratch.exists())
}

/// Whether the guest may have run at all: a machine that was only registered has no log.
pub fn ran(scratch: &Path) -> Result<bool> {
    Ok(Record::read(scratch)?.is_none_or(|record| record.known || running::has_log(scratch)))
}

/// Whether the machine runs, or stands ready to.
pub fn runs(scratch: &Path) -> Result<bool> {
    let Some(record) = Record::read(scratch)? else { return Ok(false) };
    if alive(scratch, &record).is_some() {
        return Ok(true);
    }
    if !ran(scratch)? {
        return Ok(false);
    }
    Manage::new(&record.manage).is_on(record.machine)
}

/// Takes over a machine that still runs.
pub fn adopt(scratch: &Path) -> Result<Option<Running>> {
    let Some(mut record) = Record::read(scratch)? else { return Ok(None) };
    let manage = Manage::new(&record.manage);
    let unreachable = |why: &str| {
        Error::new(Kind::Hypervisor, "the machine still runs in VirtualBox, but can't be taken over")
            .safe("its changes are in scratch")
            .hint("shut it down in VirtualBox")
            .because(why)
    };
    let handle = alive(scratch, &record).and_then(|process| Some((Handle::open(&process)?, process)));
    let Some((handle, process)) = handle else {
        return match ran(scratch)? && manage.is_on(record.machine)? {
            true => Err(unreachable("its process is not to be found")),
            false => Ok(None),
        };
    };
    if manage.describe(record.machine).map_err(|error| unreachable(&error.to_string()))?.is_none() {
        return Err(unreachable("VirtualBox does not know it any more"));
    }
    if !record.known || record.started.process != process {
        (record.started.process, record.known) = (process, true);
        record.write(scratch)?;
    }
    Ok(Some(running::attend(scratch, record, Process::Adopted { handle })))
}

/// How the machine ended; none if it still runs.
pub fn ending(scratch: &Path) -> Result<Option<Ending>> {
    let Some(record) = Record::read(scratch)? else { return Ok(None) };
    if alive(scratch, &record).is_some() || !ran(scratch)? {
        return Ok(None);
    }
    Ok(Some(running::aftermath(scratch, &record)))
}

/// VirtualBox forgets the machine of `scratch`.
pub fn forget(scratch: &Path) -> Result<()> {
    let Some(record) = Record::read(scratch)? else { return Ok(()) };
    let manage = Manage::new(&record.manage);
    unregister(&manage, record.machine)?;
    // With the machine go its disks, unless somebody took a snapshot of it.
    forget_disks(&manage, scratch)
}

/// VirtualBox forgets every disk that lies in `scratch`, those with others below them first.
fn forget_disks(manage: &Manage, scratch: &Path) -> Result<()> {
    let mut left = manage.disks_in(scratch)?;
    while !left.is_empty() {
        let before = left.len();
        let mut refused = None;
        left.retain(|id| match manage.tell(&["closemedium", "disk", &id.to_string()]) {
            Ok(_) => false,
            Err(error) => {
                refused = Some(error);
                true
            }
        });
        if let Some(error) = refused.filter(|_| left.len() == before) {
            return Err(error);
        }
    }
    Ok(())
}

/// VirtualBox forgets a machine, with its disks. One that it does not know is no error.
fn unregister(manage: &Manage, machine: Uuid) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if !manage.machines()?.iter().any(|(_, id)| *id == machine) {
            return Ok(());
        }
        let told = manage.tell(&["unregistervm", &machine.to_string()]);
        if Instant::now() >= deadline {
            return told
                .and_then(|_| Err(Error::new(Kind::Hypervisor, "VirtualBox does not forget the machine")));
        }
        if told.is_err() {
            // The program that ran it has ended, but VirtualBox may not have noticed yet.
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

/// What VirtualBox says of a machine, as soon as it can: for a moment after the end of what ran it, it says nothing.
fn described(manage: &Manage, machine: Uuid) -> Description {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match manage.describe(machine) {
            Ok(said) => return said.unwrap_or_default(),
            Err(error) if Instant::now() >= deadline => {
                tracing::warn!(%error, "VirtualBox says nothing of a machine");
                return Description::default();
            }
            Err(_) => std::thread::sleep(Duration::from_millis(300)),
        }
    }
}

/// VirtualBox forgets machines whose sessions are gone: those with settings in the folder of all sessions, in a session's
/// folder that is not there any more. Whatever drive they were of, and whatever letter it had.
fn tidy(manage: &Manage, scratch: &Path) {
    let Some(root) = scratch.parent() else { return };
    let known = manage.machines().unwrap_or_default();
    // A machine whose settings are gone has no name that VirtualBox could tell, unless it remembers it.
    let may_be_ours = |name: &Option<String>| name.as_ref().is_none_or(|name| name.contains(" (PocketVM "));
    for (_, machine) in known.into_iter().filter(|(name, _)| may_be_ours(name)) {
        let folder = root.join(machine.to_string());
        let said = described(manage, machine);
        let settings = said.get("CfgFile").or_else(|| said.get("Config file"));
        if settings.is_some_and(|path| path.ends_with(SETTINGS) && manage::is_in(path, &folder))
            && !folder.exists()
            && let Err(error) = unregister(manage, machine)
        {
            tracing::warn!(%error, "VirtualBox still knows a machine that is gone");
        }
    }
}
