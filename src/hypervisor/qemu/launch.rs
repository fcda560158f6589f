//! Starting QEMU, or finding one again that outlived its launcher.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::disks;
use super::qmp::{Client, QmpError};
use super::record::{BaseRecord, DiskRecord, Record};
use super::running::{self, Process};
use super::tpm::{self, Tpm};
use crate::drive::names;
use crate::host::channel::{self, Prepared, Side};
use crate::host::child::{self, Handle, Identity};
use crate::hypervisor::record::Started;
use crate::hypervisor::tail::last_words;
use crate::hypervisor::{Machine, Rendered, Running};
use crate::{Error, Kind, Result};

/// QEMU opens its files and answers within this time; a slow stick is counted in.
const PATIENCE: Duration = Duration::from_secs(30);

/// For a QEMU that runs already.
const ADOPTION_PATIENCE: Duration = Duration::from_secs(5);

/// How QEMU is told to speak QMP.
pub fn channel_arguments() -> &'static [&'static str] {
    match channel::SIDE {
        Side::ListeningStdin => &[
            "-chardev",
            "socket,id=pocketvm-qmp,fd=0,server=on,wait=off,logfile=qmp.log",
            "-mon",
            "chardev=pocketvm-qmp,mode=control",
        ],
        Side::Stdio => &["-qmp", "stdio"],
    }
}

/// Starts QEMU, and beside it the program `tpm` if the machine has one, and lets the guest run.
pub fn launch(machine: &Machine, rendered: &Rendered, tpm: Option<&Path>) -> Result<Running> {
    let scratch = &machine.scratch;
    let cannot = |why: String| {
        Error::new(Kind::Hypervisor, format!("QEMU can't be started: {}", rendered.program.display()))
            .safe("the drive is unchanged")
            .because(why)
    };
    let tpm = match (tpm, &machine.chips.tpm) {
        (Some(program), Some(file)) => Some(Tpm::prepare(program, scratch, file)?),
        _ => None,
    };
    let mut prepared =
        Prepared::new(scratch, names::CONTROL_SOCKET).map_err(|error| cannot(error.to_string()))?;
    let (stdin, stdout) = prepared.stdio()?;
    let log = fs_err::File::create(scratch.join(names::HYPERVISOR_LOG))?.into_file();
    let mut command = Command::new(&rendered.program);
    command.args(&rendered.args).current_dir(scratch).stdin(stdin).stdout(stdout).stderr(Stdio::from(log));
    child::clean_environment(&mut command, scratch);
    let home = scratch.join(names::HYPERVISOR_HOME);
    fs_err::create_dir_all(&home)?;
    child::private_home(&mut command, &home);
    let mut process = child::start(command).map_err(|error| cannot(error.to_string()))?;
    let (stdin, stdout) = (process.stdin().take(), process.stdout().take());
    let identity = Identity::of(process.id());
    let start = move || {
        let channel = prepared.connect(stdin, stdout).map_err(|_| QmpError::Closed)?;
        let (client, events) = Client::connect(channel, PATIENCE)?;
        Ok::<_, QmpError>((client, events))
    };
    // Before anything else: should this launcher be killed now, the next one must find the process.
    let record = identity.clone().map(|process| {
        let started = Started { hypervisor: super::NAME.into(), process };
        Record { started, disks: disk_records(machine, &rendered.args) }
    });
    let recorded = record.as_ref().map_or(Ok(()), |record| record.write(scratch));
    // QEMU waits for it, and is known by now: with QEMU it will be found.
    if let Err(error) = tpm.map_or(Ok(()), Tpm::start) {
        let _ = process.start_kill();
        let _ = process.wait();
        return Err(error.safe("the drive is unchanged"));
    }
    let connected = recorded.map_err(|_| QmpError::Closed).and_then(|()| start());
    let (client, events, record) = match (connected, record) {
        (Ok((client, events)), Some(record)) => (client, events, record),
        (connected, _) => {
            // It ended by itself, or hangs before its first word.
            let _ = process.start_kill();
            let ended = process.wait().map(child::describe).unwrap_or_default();
            tpm::end(scratch);
            let said = [last_words(scratch), tpm::last_words(scratch)];
            let said = said.into_iter().filter(|said| !said.is_empty()).collect::<Vec<_>>().join("; ");
            let why = connected.err().map_or(ended.clone(), |error| match error {
                QmpError::Closed => ended,
                silent => silent.to_string(),
            });
            return Err(cannot(if said.is_empty() { why } else { said }));
        }
    };
    if let Err(error) = client.execute("cont", json!({}), PATIENCE).map_err(|error| cannot(error.to_string()))
    {
        let _ = process.start_kill();
        let _ = process.wait();
        tpm::end(scratch);
        return Err(error);
    }
    let handle = Handle::open(&record.started.process);
    Ok(running::attend(scratch, client, events, Process::Own { child: process, handle }, record))
}

/// Takes over a QEMU that still runs in `scratch`.
pub fn adopt(scratch: &Path) -> Result<Option<Running>> {
    let Some(record) = Record::read(scratch)? else { return Ok(None) };
    let Some(handle) = Handle::open(&record.started.process) else { return Ok(None) };
    let unreachable = |why: String| {
        Error::new(
            Kind::Hypervisor,
            format!("a guest still runs but can't be reached (process {})", record.started.process.pid),
        )
        .safe("its changes are in scratch")
        .hint("end the other launcher if one still runs; otherwise end that process")
        .because(why)
    };
    let channel = match channel::connect(scratch, names::CONTROL_SOCKET) {
        Ok(Some(channel)) => channel,
        // It closed its socket: it is ending right now.
        Ok(None) => return Ok(None),
        Err(error) => return Err(unreachable(error.to_string())),
    };
    let (client, events) = match Client::connect(channel, ADOPTION_PATIENCE) {
        Ok(connected) => connected,
        Err(QmpError::Closed) if !record.started.process.is_alive() => return Ok(None),
        Err(error) => return Err(unreachable(error.to_string())),
    };
    is_ours(&client, &record).map_err(unreachable)?;
    Ok(Some(running::attend(scratch, client, events, Process::Adopted { handle }, record)))
}

/// Who listens on the socket has our overlays open.
fn is_ours(client: &Client, record: &Record) -> std::result::Result<(), String> {
    let nodes = client
        .execute("query-named-block-nodes", json!({ "flat": true }), ADOPTION_PATIENCE)
        .map_err(|error| error.to_string())?;
    let has =
        |name: &str| nodes.as_array().is_some_and(|nodes| nodes.iter().any(|node| node["node-name"] == name));
    match record.disks.keys().find(|disk| !has(&disks::overlay_node(disk))) {
        Some(disk) => Err(format!("it has no disk {disk}")),
        None => Ok(()),
    }
}

fn disk_records(machine: &Machine, arguments: &[String]) -> std::collections::BTreeMap<String, DiskRecord> {
    let record = |disk: &crate::hypervisor::MachineDisk| {
        let base = disk.base.as_ref().map(|base| BaseRecord {
            format: base.format.clone(),
            node: disks::base_node(&disk.name),
            file_node: disks::base_file_node(&disk.name),
            reopened: 0,
        });
        (disk.name.clone(), DiskRecord { overlay: overlay_options(&disk.name, arguments), base })
    };
    machine.disks.iter().map(record).collect()
}

/// The overlay's node as it was given to QEMU.
fn overlay_options(disk: &str, arguments: &[String]) -> Value {
    let node = disks::overlay_node(disk);
    arguments
        .windows(2)
        .filter(|pair| pair[0] == "-blockdev")
        .filter_map(|pair| serde_json::from_str::<Value>(&pair[1]).ok())
        .find(|options| options["node-name"] == node)
        .unwrap_or_default()
}
