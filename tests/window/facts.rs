//! What a session would say: plausible facts, with private things in them that must not leave the window.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use pocketvm::drive::LastSession;
use pocketvm::drive::manifest::Format;
use pocketvm::gui::desk::Message;
use pocketvm::hypervisor::{Accelerator, Candidate, Rejection};
use pocketvm::session::event::{Event, MergedDisk, Step, StepState};
use pocketvm::session::history::{History, Save};
use pocketvm::session::plan::{Choice, Limits, Plan, PlannedDisk, Reason, Refusal, Room};
use pocketvm::session::status::State;
use pocketvm::session::{Elsewhere, Fate, LeftBehind, Place, Status};
use uuid::Uuid;

use super::bench::{Manner, now};

pub const MIB: u64 = 1 << 20;
pub const GIB: u64 = 1 << 30;

/// What must never be in a report.
pub const PRIVATE: [&str; 7] =
    ["Annas Büro", "LIB-PC-7", "HOME-PC", "/media/anna", "/home/anna", "system", "thesis"];

pub fn hours_ago(hours: i64) -> Timestamp {
    now() - SignedDuration::from_hours(hours)
}

pub fn status() -> Status {
    Status {
        drive: PathBuf::from("/media/anna/STICK"),
        machine: "Annas Büro".to_owned(),
        identity: Some(Uuid::from_u128(7)),
        state: State::Clean,
        text: "The drive is clean".to_owned(),
        hint: None,
        here: None,
        away: None,
        last: Some(LastSession {
            id: Uuid::from_u128(8),
            host_name: "LIB-PC-7".to_owned(),
            ended: hours_ago(26),
            saved: 1_288_490_189,
        }),
    }
}

pub fn says_status(manner: Manner, status: Status) -> Message {
    says_status_with(manner, status, None)
}

pub fn says_status_with(manner: Manner, status: Status, picture: Option<Vec<u8>>) -> Message {
    Message::Status { status: Box::new(status), settings: manner.settings(), picture }
}

/// A picture of a machine: four fields.
pub fn png() -> Vec<u8> {
    let image = image::RgbImage::from_fn(64, 64, |x, y| match (x < 32, y < 32) {
        (true, true) => image::Rgb([200, 60, 60]),
        (false, true) => image::Rgb([60, 160, 60]),
        (true, false) => image::Rgb([60, 90, 200]),
        (false, false) => image::Rgb([220, 180, 60]),
    });
    let mut bytes = std::io::Cursor::new(vec![]);
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

pub fn left_behind(fate: Fate) -> LeftBehind {
    LeftBehind {
        fate,
        started: hours_ago(3),
        unsaved: vec![("thesis".to_owned(), 300 * MIB), ("system".to_owned(), 20 * MIB)],
        clean_shutdown: false,
        running: false,
    }
}

pub fn left_over(left: LeftBehind) -> Status {
    Status {
        state: State::LeftOver,
        text: "A session that was started 3 h ago left 320 MiB of changes".to_owned(),
        here: Some(left),
        ..status()
    }
}

pub fn elsewhere(place: Place) -> Status {
    let away =
        Elsewhere { place, host_name: "HOME-PC".to_owned(), started: hours_ago(72), unsaved: 40 * MIB };
    Status {
        state: State::Elsewhere,
        text: "Changes are on the PC HOME-PC".to_owned(),
        away: Some(away),
        ..status()
    }
}

pub fn plan() -> Plan {
    let disk = |name: &str, keep| PlannedDisk {
        name: name.to_owned(),
        size: 64 * GIB,
        file_size: 9 * GIB,
        format: Format::Qcow2,
        keep,
    };
    Plan {
        machine: "Annas Büro".to_owned(),
        drive: PathBuf::from("/media/anna/STICK"),
        hypervisor: Some(Choice {
            hypervisor: "qemu".to_owned(),
            version: Some("10.0.2".to_owned()),
            accelerator: "kvm".to_owned(),
            release_keys: Some("Ctrl+Alt+G".to_owned()),
        }),
        memory_mib: 4096,
        cpus: 3,
        limits: Limits { memory_min_mib: 1024, memory_max_mib: 6144, cpus_min: 1, cpus_max: 8 },
        scratch: PathBuf::from("/home/anna/.cache/pocketvm"),
        scratch_room: Room { available: 80 * GIB, needed: 4 * GIB },
        drive_room: Room { available: 21 * GIB, needed: GIB },
        disks: vec![disk("system", false), disk("thesis", true)],
        paging: Some(2 * GIB),
        copied: None,
        lacks: vec![],
        plain_scratch: true,
        needs_consent: false,
        refusals: vec![],
    }
}

/// On a PC with VirtualBox, which can't read the disks on the drive.
pub fn copied_plan() -> Plan {
    let hypervisor = Some(Choice {
        hypervisor: "virtualbox".to_owned(),
        version: Some("7.2.22".to_owned()),
        accelerator: "hardware".to_owned(),
        release_keys: Some("Right Ctrl".to_owned()),
    });
    Plan { hypervisor, copied: Some(9 * GIB), lacks: vec!["sound", "share"], needs_consent: true, ..plan() }
}

pub fn refused(reasons: &[Reason]) -> Plan {
    let refusals = reasons
        .iter()
        .map(|reason| Refusal::new(reason.clone(), "something of /home/anna is missing", "mend it"))
        .collect();
    let hypervisor = if reasons.contains(&Reason::NoHypervisor) { None } else { plan().hypervisor };
    Plan { refusals, hypervisor, ..plan() }
}

pub fn candidates() -> Vec<Candidate> {
    let usable = |name: &str, rate| Accelerator {
        name: name.to_owned(),
        rate,
        rejected: None,
        remembered: false,
        on_request: false,
    };
    let rejected = |reason: &str, fix: Option<&str>| {
        Some(Rejection { reason: reason.to_owned(), fix: fix.map(str::to_owned) })
    };
    vec![
        Candidate {
            hypervisor: "qemu".to_owned(),
            version: Some("10.0.2".to_owned()),
            edition: None,
            program: PathBuf::from("/usr/bin/qemu-system-x86_64"),
            found_in: "path",
            accelerators: vec![usable("kvm", Some(912_345)), usable("tcg", Some(31_000))],
            rejected: None,
        },
        Candidate {
            hypervisor: "qemu".to_owned(),
            version: Some("4.2.1".to_owned()),
            edition: None,
            program: PathBuf::from("/home/anna/qemu/qemu-system-x86_64"),
            found_in: "drive",
            accelerators: vec![],
            rejected: rejected("it is older than 6.0", Some("install a newer one")),
        },
        Candidate {
            hypervisor: "qemu".to_owned(),
            version: Some("9.1.0".to_owned()),
            edition: None,
            program: PathBuf::from("/opt/qemu/qemu-system-x86_64"),
            found_in: "well-known",
            accelerators: vec![
                Accelerator {
                    name: "kvm".to_owned(),
                    rate: None,
                    rejected: rejected("/dev/kvm can't be opened", Some("add yourself to the group kvm")),
                    remembered: true,
                    on_request: false,
                },
                usable("tcg", None),
            ],
            rejected: None,
        },
        Candidate {
            hypervisor: "virtualbox".to_owned(),
            version: Some("7.2.22".to_owned()),
            edition: None,
            program: PathBuf::from("/usr/bin/VBoxManage"),
            found_in: "path",
            accelerators: vec![
                usable("hardware", None),
                Accelerator {
                    name: "interpreter".to_owned(),
                    rate: None,
                    rejected: rejected("it is hundreds of times slower than the processor", None),
                    remembered: false,
                    on_request: true,
                },
            ],
            rejected: None,
        },
    ]
}

pub fn history() -> History {
    let save = |number, hours, host: &str, in_effect| Save {
        number,
        in_effect,
        time: Some(hours_ago(hours)),
        host_name: host.to_owned(),
        changed: number as u64 * 100 * MIB,
        disks: vec!["system".to_owned(), "thesis".to_owned()],
    };
    History {
        state: 2,
        saves: vec![
            save(1, 100, "HOME-PC", true),
            save(2, 26, "LIB-PC-7", true),
            save(3, 2, "HOME-PC", false),
        ],
    }
}

pub fn begins(step: Step) -> Event {
    Event::Phase { phase: step, state: StepState::Started, seconds: 0.0 }
}

pub fn ends(step: Step) -> Event {
    Event::Phase { phase: step, state: StepState::Done, seconds: 1.25 }
}

pub fn figures(seconds: u64) -> Event {
    let growing = seconds * 3 * MIB + (seconds * seconds * 40_000) % (5 * MIB);
    Event::Figures {
        seconds,
        memory: 4 * GIB + 130 * MIB,
        unsaved: BTreeMap::from([("thesis".to_owned(), growing), ("system".to_owned(), growing / 3)]),
        room: 76 * GIB,
    }
}

pub fn merged(bytes: u64) -> Event {
    let disk = MergedDisk {
        name: "thesis".to_owned(),
        changed: bytes,
        written: bytes + MIB,
        freed: 0,
        skipped: 0,
        reused: 0,
        from: "a".to_owned(),
        to: "b".to_owned(),
    };
    Event::Merged { disks: vec![disk] }
}
