//! A running machine: what its log tells, in our words, and the levers.

use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use process_wrap::std::ChildWrapper;
use roxmltree::{Document, Node};
use uuid::Uuid;

use super::SETTINGS;
use super::log::Reader;
use super::manage::Manage;
use super::record::Record;
use crate::host;
use crate::host::child::{self, Handle};
use crate::hypervisor::end::End;
use crate::hypervisor::rendering::plain;
use crate::hypervisor::tail::{self, Tail};
use crate::hypervisor::{Base, Ending, Figures, Guest, GuestEvent, Running};
use crate::{Error, Kind, Result};

/// In scratch: what VirtualBox tells about the machine.
const LOG: &str = "Logs/VBox.log";

/// How often the log is looked at, and how many times before VirtualBox is asked, where that is needed.
const LOOK: Duration = Duration::from_millis(200);
const LOOKS_PER_QUESTION: u32 = 5;

/// With less than this free where the session lies, in bytes, its log may not tell everything.
const LITTLE_ROOM: u64 = 16 << 20;

/// What is read of a log after the end; a machine's last words are two hundred thousand bytes long.
const AFTERMATH: u64 = 8 << 20;

/// The machine is switched off within this time; then its process is killed.
const OFF_PATIENCE: Duration = Duration::from_secs(10);

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

/// Reports what happens to the machine from now on.
pub fn attend(scratch: &Path, record: Record, process: Process) -> Running {
    let (sender, receiver) = mpsc::channel();
    let end = Arc::new(End::default());
    let (child, handle) = match process {
        Process::Own { child, handle } => (Some(child), handle.map(Arc::new)),
        Process::Adopted { handle } => (None, Some(Arc::new(handle))),
    };
    let adopted = child.is_none();
    let guest = VirtualBoxGuest {
        manage: Manage::new(&record.manage),
        record: record.clone(),
        handle: handle.clone(),
        end: Arc::clone(&end),
    };
    let manage = Manage::new(&record.manage);
    let waiting = Arc::clone(&end);
    thread::spawn(move || {
        let status = match (child, &handle) {
            (Some(mut child), _) => child.wait().ok(),
            (None, Some(handle)) => {
                handle.wait();
                None
            }
            (None, None) => None,
        };
        waiting.reached(status);
    });
    let scratch = scratch.to_owned();
    thread::spawn(move || {
        let mut log = Log::open(&scratch);
        if adopted {
            // What was told before is known; where it stands now is not.
            let mut last = None;
            log.read(&mut |event| {
                if matches!(event, GuestEvent::Running | GuestEvent::Paused) {
                    last = Some(event);
                }
            });
            let _ = sender.send(last.unwrap_or(GuestEvent::Paused));
        }
        let mut looks = 0u32;
        loop {
            let over = end.wait(LOOK);
            // A receiver that is gone changes nothing: the machine must be waited for all the same.
            log.read(&mut |event| tell(&sender, event));
            if over {
                break;
            }
            // On a disk that is full, the log can't be written either: then VirtualBox has to be asked.
            looks = looks.wrapping_add(1);
            let tight = || host::volume::free(&scratch).is_ok_and(|room| room < LITTLE_ROOM);
            if looks.is_multiple_of(LOOKS_PER_QUESTION)
                && (log.reader.is_full() || tight())
                && let Some(event) =
                    state(&manage, record.machine).ok().and_then(|state| log.reader.is(&state))
            {
                tell(&sender, event);
            }
        }
        // Where a program starts itself again and waits (Windows), the one that was killed may not be the one that runs it.
        until_off(&manage, record.machine);
        log.read(&mut |event| tell(&sender, event));
        let (status, forced) = end.how();
        let ending = log.reader.ending(forced, || how(&scratch, status));
        let _ = sender.send(GuestEvent::Ended(judged(&scratch, &record, ending)));
    });
    Running { guest: Box::new(guest), events: receiver }
}

/// Returns when VirtualBox says that the machine is off, or can't be asked, or after some seconds.
fn until_off(manage: &Manage, machine: Uuid) {
    let deadline = Instant::now() + OFF_PATIENCE;
    while manage.is_on(machine).unwrap_or(false) && Instant::now() < deadline {
        thread::sleep(LOOK);
    }
}

/// The state of a machine, as VirtualBox calls it.
fn state(manage: &Manage, machine: Uuid) -> Result<String> {
    let said = manage.describe(machine)?.unwrap_or_default();
    Ok(said.get("VMState").unwrap_or_default().to_owned())
}

fn tell(sender: &Sender<GuestEvent>, event: GuestEvent) {
    let _ = sender.send(event);
}

/// How the machine ended, from what it left behind.
pub fn aftermath(scratch: &Path, record: &Record) -> Ending {
    let mut log = Log::open(scratch);
    log.tail.skip_to_last(AFTERMATH);
    log.read(&mut |_| ());
    judged(scratch, record, log.reader.ending(false, || how(scratch, None)))
}

/// Whether a machine was ever switched on in `scratch`.
pub fn has_log(scratch: &Path) -> bool {
    scratch.join(LOG).exists()
}

/// Whether the machine's log says that it was paused last.
pub fn is_paused(scratch: &Path) -> bool {
    let mut last = None;
    Log::open(scratch).read(&mut |event| last = Some(event));
    last == Some(GuestEvent::Paused)
}

fn how(scratch: &Path, status: Option<ExitStatus>) -> String {
    let how = status.map_or_else(|| "it ended without a word".to_owned(), child::describe);
    let said = last_words(scratch);
    if said.is_empty() { how } else { format!("{how}: {said}") }
}

/// An end only counts if the guest's last writes went where we look for them. Somebody may have taken a snapshot with
/// VirtualBox's own means.
fn judged(scratch: &Path, record: &Record, ending: Ending) -> Ending {
    match attached(&scratch.join(SETTINGS)) {
        Some(mut images) => {
            let mut ours: Vec<String> = record.overlays.iter().map(|id| format!("{{{id}}}")).collect();
            images.sort();
            ours.sort();
            if images == ours {
                return ending;
            }
            let detail = "somebody took a snapshot or changed the machine's disks in VirtualBox: what the guest wrote since \
                 then lies elsewhere";
            Ending::WrittenElsewhere { detail: detail.into() }
        }
        None if ending == Ending::PoweredOff => {
            Ending::HypervisorDied { detail: "its settings can't be read any more".into() }
        }
        None => ending,
    }
}

/// The ids of the images that are attached, in braces, apart from those of snapshots.
fn attached(settings: &Path) -> Option<Vec<String>> {
    let text = crate::host::whole::read_text(settings, 4 << 20).ok()?;
    let document = Document::parse(&text).ok()?;
    let now = |node: &Node<'_, '_>| {
        node.tag_name().name() == "Image"
            && !node.ancestors().any(|above| above.tag_name().name() == "Snapshot")
    };
    let ids =
        document.descendants().filter(now).filter_map(|image| image.attribute("uuid").map(str::to_owned));
    Some(ids.collect())
}

/// The last lines that the machine's program said, on one line.
pub fn last_words(scratch: &Path) -> String {
    plain(&tail::last_words(scratch))
}

/// The machine's log, as far as it was read, and what it says.
struct Log {
    tail: Tail,
    reader: Reader,
}

impl Log {
    fn open(scratch: &Path) -> Log {
        Log { tail: Tail::new(scratch.join(LOG)), reader: Reader::default() }
    }

    /// Reads on to where it ends now.
    fn read(&mut self, each: &mut dyn FnMut(GuestEvent)) {
        let Log { tail, reader } = self;
        tail.read(&mut |line| {
            if let Some(event) = reader.read(line) {
                each(event);
            }
        });
    }
}

struct VirtualBoxGuest {
    manage: Manage,
    record: Record,
    handle: Option<Arc<Handle>>,
    end: Arc<End>,
}

impl VirtualBoxGuest {
    fn tell(&self, command: &str) -> Result<()> {
        self.manage.tell(&["controlvm", &self.record.machine.to_string(), command]).map(drop)
    }

    fn state(&self) -> Result<String> {
        state(&self.manage, self.record.machine)
    }
}

impl Guest for VirtualBoxGuest {
    fn process_id(&self) -> u32 {
        self.record.started.process.pid
    }

    fn shut_down(&self) -> Result<()> {
        self.tell("acpipowerbutton")
    }

    /// First in VirtualBox's own way, so that it writes out its caches; then by killing it. Returns when it has ended, after
    /// 20 s at most.
    fn force_off(&self) -> Result<()> {
        self.end.force();
        if self.tell("poweroff").is_ok() && self.end.wait(OFF_PATIENCE) {
            return Ok(());
        }
        if let Some(handle) = &self.handle {
            let failed = |error| Error::new(Kind::Hypervisor, "VirtualBox can't be ended").because(error);
            handle.kill().map_err(failed)?;
        }
        if self.end.wait(OFF_PATIENCE) {
            return Ok(());
        }
        let what = format!("VirtualBox does not end (process {})", self.record.started.process.pid);
        Err(Error::new(Kind::Hypervisor, what).safe("its changes are in scratch"))
    }

    /// A machine that is paused already, for instance by its user, is as it should be.
    fn pause(&self) -> Result<()> {
        match self.tell("pause") {
            Err(_) if self.state()? == "paused" => Ok(()),
            told => told,
        }
    }

    fn resume(&self) -> Result<()> {
        match self.tell("resume") {
            Err(_) if self.state()? == "running" => Ok(()),
            told => told,
        }
    }

    /// The guest works on a copy of the base, on this PC's own disk: there is nothing to open again.
    fn reopen_base(&self, _disk: &str, _base: &Base) -> Result<()> {
        Ok(())
    }

    fn figures(&self) -> Result<Figures> {
        child::memory(self.process_id())
            .map(|memory| Figures { memory })
            .ok_or_else(|| Error::new(Kind::Hypervisor, "VirtualBox has ended"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::child::Identity;
    use crate::hypervisor::record::Started;

    const OVERLAY: Uuid = Uuid::from_u128(7);

    /// How a machine ended whose guest powered it off, with these settings afterwards.
    fn ended(settings: &str) -> Ending {
        let scratch = tempfile::tempdir().unwrap();
        fs_err::create_dir(scratch.path().join("Logs")).unwrap();
        let log = "00:00:01.1 Console: Machine state changed to 'Running'\n\
                   00:00:02.1 Changing the VM state from 'RUNNING' to 'POWERING_OFF'\n\
                   00:00:02.2 Console: Machine state changed to 'PoweredOff'\n";
        fs_err::write(scratch.path().join(LOG), log).unwrap();
        fs_err::write(scratch.path().join(SETTINGS), settings).unwrap();
        let process = Identity { pid: u32::MAX, started: "long ago".into() };
        let record = Record {
            started: Started { hypervisor: "virtualbox".into(), process },
            manage: "/usr/bin/VBoxManage".into(),
            machine: Uuid::nil(),
            known: true,
            overlays: vec![OVERLAY],
        };
        aftermath(scratch.path(), &record)
    }

    fn attached_to(image: u128, snapshot: &str) -> String {
        let device = |id: Uuid| format!("<AttachedDevice><Image uuid=\"{{{id}}}\"/></AttachedDevice>");
        let old = if snapshot.is_empty() {
            String::new()
        } else {
            format!("<Snapshot>{}</Snapshot>", device(OVERLAY))
        };
        format!(
            "<VirtualBox><Machine>{old}<Hardware>{}</Hardware></Machine></VirtualBox>",
            device(Uuid::from_u128(image))
        )
    }

    #[test]
    fn a_clean_end_counts_only_if_the_guest_wrote_where_we_look() {
        assert_eq!(ended(&attached_to(7, "")), Ending::PoweredOff);
        for settings in [&attached_to(8, "taken"), &attached_to(8, ""), "<VirtualBox/>"] {
            assert!(matches!(ended(settings), Ending::WrittenElsewhere { .. }), "{settings}");
        }
        assert!(matches!(ended("torn"), Ending::HypervisorDied { .. }));
    }
}
