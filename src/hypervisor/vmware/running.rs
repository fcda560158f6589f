//! A running machine: what its log tells, in our words, and the levers.

use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::log::Reader;
use super::record::Record;
use super::vmrun::Vmrun;
use super::{CONFIGURATION, dictionary, launch};
use crate::host::child::{self, Handle};
use crate::host::file;
use crate::hypervisor::end::End;
use crate::hypervisor::rendering::plain;
use crate::hypervisor::tail::{self, Tail};
use crate::hypervisor::{Base, Ending, Figures, Guest, GuestEvent, Running};
use crate::{Error, Kind, Result};

/// In scratch: what VMware tells about the machine.
pub const LOG: &str = "vmware.log";

/// How often the log is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// The longest configuration that is read back.
const LONGEST_CONFIGURATION: u64 = 1 << 20;

/// The machine is switched off within this time; then its process is killed.
const OFF_PATIENCE: Duration = Duration::from_secs(15);

/// The log of a machine and what it told so far.
pub struct Log {
    tail: Tail,
    reader: Reader,
}

impl Log {
    /// The log in `scratch`, read as far as it is written.
    pub fn at_start(scratch: &Path) -> Log {
        let mut log = Log { tail: Tail::new(scratch.join(LOG)), reader: Reader::default() };
        log.read(&mut |_| ());
        log
    }

    fn read(&mut self, each: &mut dyn FnMut(GuestEvent)) {
        let Log { tail, reader } = self;
        tail.read(&mut |line| {
            if let Some(event) = reader.read(line) {
                each(event);
            }
        });
    }

    /// The process that writes it.
    pub fn pid(&self) -> Option<u32> {
        self.reader.pid()
    }
}

/// Whoever is told of events, with the last state that was told: what we did and what the log says of it is one event.
struct Teller {
    sender: Sender<GuestEvent>,
    state: Option<GuestEvent>,
}

impl Teller {
    /// A receiver that is gone changes nothing: the machine must be waited for all the same.
    fn tell(&mut self, event: GuestEvent) {
        if matches!(event, GuestEvent::Running | GuestEvent::Paused) {
            if self.state.as_ref() == Some(&event) {
                return;
            }
            self.state = Some(event.clone());
        }
        if matches!(event, GuestEvent::DiskError { .. }) {
            self.state = None;
        }
        let _ = self.sender.send(event);
    }
}

fn tell(teller: &Mutex<Teller>, event: GuestEvent) {
    teller.lock().unwrap_or_else(PoisonError::into_inner).tell(event);
}

/// Reports what happens to the machine from now on. `fresh`: it was just started.
pub fn attend(scratch: &Path, record: Record, handle: Option<Handle>, fresh: bool) -> Running {
    let (sender, receiver) = mpsc::channel();
    let teller = Arc::new(Mutex::new(Teller { sender, state: None }));
    let end = Arc::new(End::default());
    let handle = handle.map(Arc::new);
    let guest = VMwareGuest {
        vmrun: launch::levers(scratch, &record),
        pid: record.started.process.pid,
        handle: handle.clone(),
        end: Arc::clone(&end),
        teller: Arc::clone(&teller),
    };
    let waiting = Arc::clone(&end);
    thread::spawn(move || {
        if let Some(handle) = &handle {
            handle.wait();
        }
        waiting.reached(None);
    });
    let scratch = scratch.to_owned();
    thread::spawn(move || {
        let mut log = Log { tail: Tail::new(scratch.join(LOG)), reader: Reader::default() };
        if fresh {
            tell(&teller, GuestEvent::Running);
        } else {
            // What was told before is known. Whether it is paused is not: resuming does no harm.
            let mut last = None;
            log.read(&mut |event| {
                if matches!(event, GuestEvent::Running | GuestEvent::Paused) {
                    last = Some(event);
                }
            });
            tell(&teller, last.unwrap_or(GuestEvent::Running));
        }
        loop {
            let over = end.wait(LOOK);
            log.read(&mut |event| tell(&teller, event));
            if over {
                break;
            }
        }
        let ending = log.reader.ending(end.how().1, || how(&scratch));
        tell(&teller, GuestEvent::Ended(judged(&scratch, &record, ending)));
        // The guest's levers hold the other end: the channel is to end with this event all the same.
        let (nobody, _) = mpsc::channel();
        teller.lock().unwrap_or_else(PoisonError::into_inner).sender = nobody;
    });
    Running { guest: Box::new(guest), events: receiver }
}

/// How the machine ended, from what it left behind.
pub fn aftermath(scratch: &Path, record: &Record) -> Ending {
    judged(scratch, record, Log::at_start(scratch).reader.ending(false, || how(scratch)))
}

fn how(scratch: &Path) -> String {
    let last = plain(&tail::last_words(scratch));
    let how = "its log does not say that the guest switched itself off";
    if last.is_empty() { how.to_owned() } else { format!("{how}: {last}") }
}

/// A clean end only counts if the guest's last writes went where we look for them, and nothing of it was saved elsewhere.
/// Somebody may have taken a snapshot with VMware's own means.
fn judged(scratch: &Path, record: &Record, ending: Ending) -> Ending {
    let died = |detail: &str| Ending::HypervisorDied { detail: detail.into() };
    let text = crate::host::whole::read_text(&scratch.join(CONFIGURATION), LONGEST_CONFIGURATION);
    let Ok(text) = text else {
        return match ending {
            Ending::PoweredOff => died("the machine's configuration can't be read any more"),
            other => other,
        };
    };
    if attached(scratch, &text)
        != sorted(record.overlays.iter().map(|overlay| file::comparable(overlay)).collect())
    {
        let detail = "somebody took a snapshot or changed the machine's disks in VMware: what the guest wrote since then \
             lies elsewhere";
        return Ending::WrittenElsewhere { detail: detail.into() };
    }
    let is_saved =
        dictionary::values(&text, |key| key == "checkpoint.vmstate").any(|state| !state.is_empty());
    if ending == Ending::PoweredOff && is_saved {
        return died("the machine's state was saved in VMware, which can't be kept");
    }
    ending
}

/// The images that are attached in the configuration `text`, which VMware may have written anew with shorter paths.
fn attached(scratch: &Path, text: &str) -> Vec<String> {
    let is_disk = |key: &str| {
        ["sata", "ide", "scsi", "nvme"].iter().any(|bus| key.starts_with(bus)) && key.ends_with(".filename")
    };
    sorted(dictionary::values(text, is_disk).map(|file| file::comparable(&scratch.join(file))).collect())
}

fn sorted(mut paths: Vec<String>) -> Vec<String> {
    paths.sort();
    paths
}

struct VMwareGuest {
    vmrun: Vmrun,
    pid: u32,
    handle: Option<Arc<Handle>>,
    end: Arc<End>,
    teller: Arc<Mutex<Teller>>,
}

impl Guest for VMwareGuest {
    fn process_id(&self) -> u32 {
        self.pid
    }

    /// VMware has no power button: VMware Tools in the guest do what one does.
    fn shut_down(&self) -> Result<()> {
        self.vmrun.shut_down()
    }

    /// First in VMware's own way, so that it writes out its caches; then by killing it.
    fn force_off(&self) -> Result<()> {
        self.end.force();
        if self.vmrun.tell("stop", Some("hard")).is_ok() && self.end.wait(OFF_PATIENCE) {
            return Ok(());
        }
        if let Some(handle) = &self.handle {
            let failed = |error| Error::new(Kind::Hypervisor, "VMware can't be ended").because(error);
            handle.kill().map_err(failed)?;
        }
        if self.end.wait(OFF_PATIENCE) {
            return Ok(());
        }
        let what = format!("VMware does not end (process {})", self.pid);
        Err(Error::new(Kind::Hypervisor, what).safe("its changes are in scratch"))
    }

    fn pause(&self) -> Result<()> {
        self.vmrun.tell("pause", None)?;
        tell(&self.teller, GuestEvent::Paused);
        Ok(())
    }

    /// A machine that waits for an answer about a full disk goes on with that answer, in VMware's window.
    fn resume(&self) -> Result<()> {
        self.vmrun.tell("unpause", None)?;
        tell(&self.teller, GuestEvent::Running);
        Ok(())
    }

    /// The guest works on a copy of the base, on this PC's own disk: there is nothing to open again.
    fn reopen_base(&self, _disk: &str, _base: &Base) -> Result<()> {
        Ok(())
    }

    fn figures(&self) -> Result<Figures> {
        child::memory(self.pid)
            .map(|memory| Figures { memory })
            .ok_or_else(|| Error::new(Kind::Hypervisor, "VMware has ended"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::child::Identity;
    use crate::hypervisor::record::Started;

    /// A machine that ended with this log and this configuration.
    fn ended(log: &str, configuration: &str) -> Ending {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join(LOG), log).unwrap();
        let own = scratch.path().to_str().unwrap().to_owned();
        std::fs::write(scratch.path().join(CONFIGURATION), configuration.replace("SCRATCH", &own)).unwrap();
        let record = Record {
            started: Started {
                hypervisor: "vmware".into(),
                process: Identity { pid: 1, started: "never".into() },
            },
            known: true,
            program: "vmrun".into(),
            kind: "ws".into(),
            overlays: ["system.vmdk", "user.vmdk"].map(|name| scratch.path().join(name)).to_vec(),
        };
        aftermath(scratch.path(), &record)
    }

    const CLEAN: &str = "2026-10-06T13:45:38.000Z In(05) vmx Log for VMware Workstation pid=2 version=17.5.2\n\
        2026-10-06T13:45:39.000Z In(05) vmx Transitioned vmx/execState/val to poweredOn\n\
        2026-10-06T13:46:00.000Z In(05) vcpu-0 Chipset: The guest has requested that the virtual machine be powered off.\n\
        2026-10-06T13:46:05.000Z In(05) vmx Transitioned vmx/execState/val to poweredOff\n\
        2026-10-06T13:46:06.000Z In(05) vmx VMX exit (0).\n";

    #[test]
    fn a_clean_end_counts_if_the_configuration_still_names_our_overlays() {
        let same = "sata0:0.fileName = \"SCRATCH/system.vmdk\"\nsata0:1.fileName = \"SCRATCH/user.vmdk\"\n";
        assert_eq!(ended(CLEAN, same), Ending::PoweredOff);
        let shorter = "sata0:1.fileName = \"user.vmdk\"\nSATA0:0.FileName = \"system.vmdk\"\ncheckpoint.vmState = \"\"\n";
        assert_eq!(ended(CLEAN, shorter), Ending::PoweredOff);
    }

    #[test]
    fn a_snapshot_a_saved_state_or_another_disk_spoils_it() {
        for configuration in [
            "sata0:0.fileName = \"SCRATCH/system-000001.vmdk\"\nsata0:1.fileName = \"user.vmdk\"\n",
            "sata0:0.fileName = \"SCRATCH/system.vmdk\"\n",
            "sata0:0.fileName = \"system.vmdk\"\nsata0:1.fileName = \"user.vmdk\"\nide0:0.fileName = \"x.vmdk\"\n",
            "sata0:0.fileName = \"system.vmdk\"\nsata0:1.fileName = \"user.vmdk\"\ncheckpoint.vmState = \"m.vmss\"\n",
            "",
        ] {
            let ending = ended(CLEAN, configuration);
            let saved = configuration.contains("m.vmss");
            assert_eq!(matches!(ending, Ending::HypervisorDied { .. }), saved, "{configuration}");
            assert_eq!(matches!(ending, Ending::WrittenElsewhere { .. }), !saved, "{configuration}");
        }
    }

    #[test]
    fn no_log_is_no_clean_end() {
        let same = "sata0:0.fileName = \"system.vmdk\"\nsata0:1.fileName = \"user.vmdk\"\n";
        assert!(matches!(ended("", same), Ending::HypervisorDied { .. }));
    }
}
