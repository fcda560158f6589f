//! A running QEMU: its events in our words, and the levers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use process_wrap::std::ChildWrapper;
use serde_json::{Value, json};

use super::qmp::{Client, QmpEvent};
use super::record::Record;
use super::reopen;
use crate::host::child::{self, Handle};
use crate::hypervisor::end::End;
use crate::hypervisor::tail::last_words;
use crate::hypervisor::{Base, Ending, Figures, Guest, GuestEvent, Running};
use crate::{Error, Kind, Result};

/// For commands that only change a state.
const PATIENCE: Duration = Duration::from_secs(10);

/// After `quit` QEMU still writes what its caches hold; a drive that is gone can block it for good.
const QUIT_PATIENCE: Duration = Duration::from_secs(5);

/// The process behind a guest.
pub enum Process {
    /// Started by us: its exit status is ours to fetch.
    Own {
        /// To be waited for.
        child: Box<dyn ChildWrapper>,
        /// For killing it; none if it ended already.
        handle: Option<Handle>,
    },
    /// Started by a launcher that died.
    Adopted {
        /// For waiting and killing.
        handle: Handle,
    },
}

/// Reports what happens to the QEMU behind `client` from now on.
pub fn attend(
    scratch: &Path,
    client: Client,
    events: Receiver<QmpEvent>,
    process: Process,
    record: Record,
) -> Running {
    let (sender, receiver) = mpsc::channel();
    let mut reader = Reader::new(record.disks.keys().cloned().collect());
    let end = Arc::new(End::default());
    let (waiter, handle) = match process {
        Process::Own { child, handle } => (Waiter::Own(child), handle.map(Arc::new)),
        Process::Adopted { handle } => {
            // Its state is asked for, because the event that told it is gone.
            let running = client
                .execute("query-status", json!({}), PATIENCE)
                .is_ok_and(|status| status["running"] == Value::Bool(true));
            let _ = sender.send(if running { GuestEvent::Running } else { GuestEvent::Paused });
            let handle = Arc::new(handle);
            (Waiter::Adopted(Arc::clone(&handle)), Some(handle))
        }
    };
    let guest = QemuGuest {
        pid: record.started.process.pid,
        client,
        handle,
        record: Mutex::new(record),
        scratch: scratch.to_owned(),
        end: Arc::clone(&end),
    };
    let scratch = scratch.to_owned();
    thread::spawn(move || {
        // A receiver that is gone changes nothing: the process must be waited for all the same.
        for event in events {
            if let Some(event) = reader.translate(&event) {
                let _ = sender.send(event);
            }
        }
        let status = waiter.wait();
        end.reached(status);
        let (_, forced) = end.how();
        let ending = reader.ending(status, forced, || last_words(&scratch));
        let _ = sender.send(GuestEvent::Ended(ending));
    });
    Running { guest: Box::new(guest), events: receiver }
}

enum Waiter {
    Own(Box<dyn ChildWrapper>),
    Adopted(Arc<Handle>),
}

impl Waiter {
    /// Returns when the process has ended; its status if it is ours to know.
    fn wait(self) -> Option<ExitStatus> {
        match self {
            Waiter::Own(mut child) => child.wait().ok(),
            Waiter::Adopted(handle) => {
                handle.wait();
                None
            }
        }
    }
}

/// Turns QMP's events into ours: a pure function of what came before.
pub struct Reader {
    disks: BTreeSet<String>,
    /// Disk errors reported since the guest last ran: (disk, no space, read).
    failed: BTreeSet<(String, bool, bool)>,
    shutdown: Option<String>,
    panicked: bool,
}

impl Reader {
    /// For a guest with these disks.
    pub fn new(disks: BTreeSet<String>) -> Self {
        Reader { disks, failed: BTreeSet::new(), shutdown: None, panicked: false }
    }

    /// What `event` means to others, if anything.
    pub fn translate(&mut self, event: &QmpEvent) -> Option<GuestEvent> {
        let data = &event.data;
        match event.name.as_str() {
            "RESUME" => {
                self.failed.clear();
                Some(GuestEvent::Running)
            }
            // The stop that belongs to a disk error or to the end is no pause.
            "STOP" => (self.failed.is_empty() && self.shutdown.is_none()).then_some(GuestEvent::Paused),
            "RESET" => Some(GuestEvent::Reset),
            "GUEST_PANICKED" => {
                self.panicked = true;
                Some(GuestEvent::Panicked)
            }
            "BLOCK_IO_ERROR" => self.disk_error(data),
            "POWERDOWN" => Some(GuestEvent::ShuttingDown { by_guest: false }),
            "SHUTDOWN" => {
                let reason = data["reason"].as_str().unwrap_or_default().to_owned();
                let by_guest = reason == "guest-shutdown";
                self.panicked |= reason == "guest-panic";
                self.shutdown = Some(reason);
                (!self.panicked).then_some(GuestEvent::ShuttingDown { by_guest })
            }
            _ => None,
        }
    }

    /// Many requests fail at once; one of a kind is reported.
    fn disk_error(&mut self, data: &Value) -> Option<GuestEvent> {
        let node = data["node-name"].as_str()?;
        let disk = node
            .strip_prefix("overlay-")
            .filter(|disk| self.disks.contains(*disk))
            .unwrap_or(node)
            .to_owned();
        let no_space = data["nospace"] == Value::Bool(true);
        let read = data["operation"] == "read";
        let reason = data["reason"].as_str().unwrap_or("no reason given").to_owned();
        self.failed.insert((disk.clone(), no_space, read)).then_some(GuestEvent::DiskError {
            disk,
            no_space,
            read,
            reason,
        })
    }

    /// How it ended, after the last event: `status` if it is known, `forced` if we ended it.
    pub fn ending(
        &self,
        status: Option<ExitStatus>,
        forced: bool,
        last_words: impl Fn() -> String,
    ) -> Ending {
        // Without a status (an adopted process) its own announcement has to do.
        let in_order = status.is_none_or(|status| status.success());
        match self.shutdown.as_deref() {
            _ if self.panicked => Ending::Panicked,
            Some("guest-shutdown") if in_order => Ending::PoweredOff,
            Some(reason) if reason.starts_with("host-") && in_order => Ending::Forced,
            _ if forced => Ending::Forced,
            _ => {
                let how = status.map_or_else(|| "it ended without a word".to_owned(), child::describe);
                let said = last_words();
                let detail = if said.is_empty() { how } else { format!("{how}: {said}") };
                Ending::HypervisorDied { detail }
            }
        }
    }
}

struct QemuGuest {
    pid: u32,
    client: Client,
    handle: Option<Arc<Handle>>,
    record: Mutex<Record>,
    scratch: PathBuf,
    end: Arc<End>,
}

impl QemuGuest {
    fn tell(&self, command: &str) -> Result<()> {
        self.client
            .execute(command, json!({}), PATIENCE)
            .map(drop)
            .map_err(|error| Error::new(Kind::Hypervisor, "QEMU does not do as it is told").because(error))
    }
}

impl Guest for QemuGuest {
    fn process_id(&self) -> u32 {
        self.pid
    }

    fn shut_down(&self) -> Result<()> {
        self.tell("system_powerdown")
    }

    /// First in QEMU's own way, so that it writes out its caches; then by killing it. Returns when it has ended, after
    /// 15 s at most.
    fn force_off(&self) -> Result<()> {
        self.end.force();
        let told = self.client.execute("quit", json!({}), QUIT_PATIENCE);
        if told.is_ok() && self.end.wait(QUIT_PATIENCE) {
            return Ok(());
        }
        if let Some(handle) = &self.handle {
            let failed = |error| Error::new(Kind::Hypervisor, "QEMU can't be ended").because(error);
            handle.kill().map_err(failed)?;
        }
        if self.end.wait(QUIT_PATIENCE) {
            return Ok(());
        }
        Err(Error::new(Kind::Hypervisor, format!("QEMU does not end (process {})", self.pid))
            .safe("its changes are in scratch")
            .hint("pull the drive; a program that waits for a drive ends when it is gone"))
    }

    fn pause(&self) -> Result<()> {
        self.tell("stop")
    }

    fn resume(&self) -> Result<()> {
        self.tell("cont")
    }

    fn reopen_base(&self, disk: &str, base: &Base) -> Result<()> {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        reopen::reopen_base(&self.client, &mut record, disk, base)?;
        // The guest can go on. A PC whose disk is full, perhaps why it was paused, must not keep it from that; what a
        // later launcher then reads is outdated, and `reopen` copes with it.
        if let Err(error) = record.write(&self.scratch) {
            tracing::warn!("the record of QEMU was not written: {error}");
        }
        Ok(())
    }

    fn figures(&self) -> Result<Figures> {
        child::memory(self.pid)
            .map(|memory| Figures { memory })
            .ok_or_else(|| Error::new(Kind::Hypervisor, "QEMU has ended"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader() -> Reader {
        Reader::new(["system".to_owned()].into())
    }

    fn tell(reader: &mut Reader, name: &str, data: Value) -> Option<GuestEvent> {
        reader.translate(&QmpEvent { name: name.into(), data })
    }

    fn error(node: &str) -> Value {
        json!({ "node-name": node, "operation": "write", "action": "stop", "nospace": true, "reason": "full" })
    }

    #[test]
    fn a_disk_error_is_told_once_until_the_guest_runs_again_and_its_stop_is_no_pause() {
        let mut reader = reader();
        let told = tell(&mut reader, "BLOCK_IO_ERROR", error("overlay-system"));
        let expected = GuestEvent::DiskError {
            disk: "system".into(),
            no_space: true,
            read: false,
            reason: "full".into(),
        };
        assert_eq!(told, Some(expected.clone()));
        assert_eq!(tell(&mut reader, "BLOCK_IO_ERROR", error("overlay-system")), None);
        assert_eq!(tell(&mut reader, "STOP", Value::Null), None);
        assert_eq!(tell(&mut reader, "RESUME", Value::Null), Some(GuestEvent::Running));
        assert_eq!(tell(&mut reader, "BLOCK_IO_ERROR", error("overlay-system")), Some(expected));
    }

    #[test]
    fn a_stop_by_itself_is_a_pause() {
        assert_eq!(tell(&mut reader(), "STOP", Value::Null), Some(GuestEvent::Paused));
    }

    #[test]
    fn only_the_guests_own_shutdown_is_a_clean_end() {
        for (reason, by_guest, ending) in [
            ("guest-shutdown", true, Ending::PoweredOff),
            ("host-qmp-quit", false, Ending::Forced),
            ("host-signal", false, Ending::Forced),
            ("host-ui", false, Ending::Forced),
        ] {
            let mut reader = reader();
            let told = tell(&mut reader, "SHUTDOWN", json!({ "guest": by_guest, "reason": reason }));
            assert_eq!(told, Some(GuestEvent::ShuttingDown { by_guest }));
            assert_eq!(tell(&mut reader, "STOP", Value::Null), None);
            assert_eq!(reader.ending(None, false, String::new), ending, "{reason}");
        }
    }

    #[test]
    fn a_panic_is_never_a_clean_end() {
        let mut reader = reader();
        assert_eq!(tell(&mut reader, "GUEST_PANICKED", json!({})), Some(GuestEvent::Panicked));
        assert_eq!(tell(&mut reader, "SHUTDOWN", json!({ "guest": true, "reason": "guest-panic" })), None);
        assert_eq!(tell(&mut reader, "SHUTDOWN", json!({ "guest": true, "reason": "guest-shutdown" })), None);
        assert_eq!(reader.ending(None, false, String::new), Ending::Panicked);
    }

    #[test]
    fn an_end_without_a_word_tells_what_qemu_said_last() {
        let detail = "it ended without a word: out of memory".to_owned();
        assert_eq!(
            reader().ending(None, false, || "out of memory".into()),
            Ending::HypervisorDied { detail }
        );
        assert_eq!(reader().ending(None, true, String::new), Ending::Forced);
    }
}
