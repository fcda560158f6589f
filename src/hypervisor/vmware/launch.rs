//! Starting a machine in VMware, and finding one again that outlived its launcher.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::record::Record;
use super::running::{self, Log};
use super::vmrun::{self, Vmrun};
use super::{CONFIGURATION, Edition, MACHINE_PROGRAM, NAME};
use crate::drive::names;
use crate::host::child::{self, Handle, Identity};
use crate::hypervisor::record::Started;
use crate::hypervisor::{Ending, Machine, Rendered, RenderedFile, Running};
use crate::{Error, Kind, Result};

/// VMware starts the machine within this time, its window included.
const PATIENCE: Duration = Duration::from_secs(90);

/// The machine's process is found within this time after `vmrun` said that it runs.
const FINDING: Duration = Duration::from_secs(10);

/// Between two looks: there is nothing to wait for.
const LOOK: Duration = Duration::from_millis(100);

/// Starts the machine.
pub fn launch(edition: Edition, machine: &Machine, rendered: &Rendered) -> Result<Running> {
    let scratch = &machine.scratch;
    let own = Identity::of(std::process::id())
        .ok_or_else(|| Error::new(Kind::Hypervisor, "this process can't be told from others"))?;
    let mut record = Record {
        started: Started { hypervisor: NAME.into(), process: own },
        known: false,
        program: rendered.program.clone(),
        kind: edition.kind().into(),
        overlays: machine.disks.iter().map(|disk| disk.overlay.clone()).collect(),
    };
    RenderedFile::write_all(&rendered.files, scratch)?;
    // What an earlier try left behind is not told of this one.
    let _ = std::fs::remove_file(scratch.join(running::LOG));
    // Before anything starts: from here on a guest may have run.
    record.write(scratch)?;
    let cannot = |why: String| {
        Error::new(Kind::Hypervisor, "VMware can't run the machine")
            .safe("the drive is unchanged")
            .hint("see what VMware says about it in its own window, or use another hypervisor")
            .because(why)
    };
    match start(&record, scratch, rendered) {
        Ok(process) => {
            (record.started.process, record.known) = (process, true);
            record.write(scratch)?;
            let handle = Handle::open(&record.started.process);
            Ok(running::attend(scratch, record, handle, true))
        }
        Err(why) => {
            // It may have come up all the same.
            if let Some(handle) = find(scratch).and_then(|process| Handle::open(&process)) {
                let _ = handle.kill();
            }
            Err(cannot(why))
        }
    }
}

/// Runs `vmrun start` and returns the machine's process; in words why it does not run.
fn start(record: &Record, scratch: &Path, rendered: &Rendered) -> Result<Identity, String> {
    let log = fs_err::File::create(scratch.join(names::HYPERVISOR_LOG)).map_err(|error| error.to_string())?;
    let log = log.into_file();
    let errors = log.try_clone().map_err(|error| error.to_string())?;
    let mut command = Command::new(&record.program);
    command.args(&rendered.args).current_dir(scratch).stdin(Stdio::null());
    // Its window inherits these: files, so that nobody waits for their end.
    command.stdout(Stdio::from(log)).stderr(Stdio::from(errors));
    child::clean_environment(&mut command, scratch);
    child::keep_variables(&mut command, vmrun::VARIABLES);
    let mut process = child::start(command).map_err(|error| error.to_string())?;
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match process.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break status,
            None if Instant::now() >= deadline => {
                let _ = process.start_kill();
                let _ = process.wait();
                return Err("it does not answer".into());
            }
            None => std::thread::sleep(LOOK),
        }
    };
    if !status.success() {
        let said = crate::host::whole::read_text(&scratch.join(names::HYPERVISOR_LOG), 64 * 1024);
        let words = vmrun::reason(&said.unwrap_or_default());
        return Err(words.unwrap_or_else(|| child::describe(status)));
    }
    let deadline = Instant::now() + FINDING;
    loop {
        match find(scratch) {
            Some(process) => return Ok(process),
            None if Instant::now() >= deadline => return Err("its process is not to be found".into()),
            None => std::thread::sleep(LOOK),
        }
    }
}

/// The process that runs the machine of `scratch`, if one does: by what it was told, or, where that is not to be seen, by
/// what it wrote into its log.
fn find(scratch: &Path) -> Option<Identity> {
    by_argument(scratch).or_else(|| {
        let pid = Log::at_start(scratch).pid()?;
        // The number may be another machine's by now: one that tells what it runs has told that it is not ours.
        child::find_by_id(pid, MACHINE_PROGRAM).filter(|_| child::tells_nothing(pid))
    })
}

fn by_argument(scratch: &Path) -> Option<Identity> {
    child::find_by_argument(MACHINE_PROGRAM, &scratch.join(CONFIGURATION))
}

/// The machine's process, if it runs: the one of the record, or one that was started before the record could say so. A start
/// that a dead launcher left under way is waited for.
fn alive(scratch: &Path, record: &Record) -> Option<Identity> {
    let process = &record.started.process;
    if record.known && process.is_alive() {
        return Some(process.clone());
    }
    if record.known {
        // Somebody may have opened the machine in VMware's own window since.
        return by_argument(scratch);
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = find(scratch);
        let starting = || child::find_by_argument(vmrun::VMRUN, &scratch.join(CONFIGURATION)).is_some();
        if found.is_some() || !starting() || Instant::now() >= deadline {
            // It may have come up between the two looks.
            return found.or_else(|| find(scratch));
        }
        std::thread::sleep(LOOK);
    }
}

/// Takes over a machine that still runs.
pub fn adopt(scratch: &Path) -> Result<Option<Running>> {
    let Some(mut record) = Record::read(scratch)? else { return Ok(None) };
    let Some(process) = alive(scratch, &record) else { return Ok(None) };
    let Some(handle) = Handle::open(&process) else { return Ok(None) };
    if !record.known {
        (record.started.process, record.known) = (process, true);
        record.write(scratch)?;
    }
    Ok(Some(running::attend(scratch, record, Some(handle), false)))
}

/// Whether the machine runs.
pub fn runs(scratch: &Path) -> Result<bool> {
    Ok(Record::read(scratch)?.is_some_and(|record| alive(scratch, &record).is_some()))
}

/// How the machine ended; none if it still runs.
pub fn ending(scratch: &Path) -> Result<Option<Ending>> {
    let Some(record) = Record::read(scratch)? else { return Ok(None) };
    if alive(scratch, &record).is_some() {
        return Ok(None);
    }
    Ok(Some(running::aftermath(scratch, &record)))
}

/// The levers of the machine of `record` in `scratch`.
pub fn levers(scratch: &Path, record: &Record) -> Vmrun {
    Vmrun {
        program: record.program.clone(),
        kind: record.kind.clone(),
        configuration: scratch.join(CONFIGURATION),
    }
}
