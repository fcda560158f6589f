//! Every screen of the window, by name, and how a window gets there.

use std::path::PathBuf;
use std::sync::mpsc;

use pocketvm::gui::desk::Message;
use pocketvm::hypervisor::{Ending, GuestEvent};
use pocketvm::session::event::{Answer, Event, Notice, Outcome, Question, Report, Step, Subject};
use pocketvm::session::plan::{Plan, Reason};
use pocketvm::session::status::State;
use pocketvm::session::{Fate, LeftBehind, Place, Status};
use pocketvm::{Error, Kind};

use super::bench::{Bench, Manner};
use super::facts::*;

/// A screen.
pub struct Scene {
    pub name: &'static str,
    pub set: fn(&mut Bench, Manner),
}

/// All of them.
pub const SCENES: [Scene; 53] = [
    Scene { name: "looking", set: |_, _| {} },
    Scene { name: "choosing", set: |bench, _| choosing(bench) },
    Scene { name: "checking", set: checking },
    Scene { name: "ready", set: ready },
    Scene { name: "ready-picture", set: pictured },
    Scene { name: "ready-why", set: |bench, manner| why(bench, manner) },
    Scene { name: "ready-fresh", set: fresh },
    Scene { name: "ready-consent", set: consent },
    Scene { name: "ready-copied", set: |bench, manner| ready_with(bench, manner, copied_plan()) },
    Scene { name: "copying", set: copying },
    Scene { name: "refused", set: |bench, manner| refuse(bench, manner, &EVERY_REASON) },
    Scene { name: "starting", set: starting },
    Scene { name: "running", set: running },
    Scene { name: "running-fitted", set: fitted },
    Scene { name: "running-drive-gone", set: |bench, manner| trouble(bench, manner, Notice::DriveGone) },
    Scene {
        name: "running-drive-changed",
        set: |bench, manner| trouble(bench, manner, Notice::DriveChanged),
    },
    Scene { name: "running-host-full", set: |bench, manner| trouble(bench, manner, Notice::HostFull) },
    Scene { name: "running-disk-error", set: |bench, manner| trouble(bench, manner, Notice::DiskError) },
    Scene { name: "running-drive-room", set: |bench, manner| trouble(bench, manner, Notice::DriveRoom) },
    Scene { name: "running-hypervisor", set: |bench, manner| trouble(bench, manner, Notice::Hypervisor) },
    Scene { name: "running-panicked", set: |bench, manner| trouble(bench, manner, Notice::GuestPanicked) },
    Scene { name: "running-shutting-down", set: shutting_down },
    Scene { name: "running-force", set: |bench, manner| ask(bench, manner, "running-force") },
    Scene { name: "running-close", set: close },
    Scene { name: "unclean-forced", set: |bench, manner| unclean(bench, manner, Ending::Forced) },
    Scene { name: "unclean-panicked", set: |bench, manner| unclean(bench, manner, Ending::Panicked) },
    Scene { name: "unclean-hibernated", set: |bench, manner| unclean(bench, manner, hibernated()) },
    Scene { name: "unclean-died", set: |bench, manner| unclean(bench, manner, died()) },
    Scene { name: "saving", set: saving },
    Scene { name: "saving-close", set: saving_close },
    Scene { name: "wiping", set: wiping },
    Scene { name: "done", set: |bench, manner| done(bench, manner, Outcome::Saved) },
    Scene { name: "done-undone", set: |bench, manner| done(bench, manner, Outcome::Undone) },
    Scene { name: "failed-before", set: |bench, manner| fail_early(bench, manner) },
    Scene { name: "failed-kept", set: |bench, manner| fail_late(bench, manner) },
    Scene { name: "failed-disk", set: |bench, manner| fail_disk(bench, manner) },
    Scene { name: "left-behind", set: |bench, manner| leave(bench, manner, left_behind(Fate::Mergeable)) },
    Scene { name: "left-behind-running", set: left_running },
    Scene { name: "left-behind-moved", set: left_moved },
    Scene { name: "left-behind-unreadable", set: left_unreadable },
    Scene {
        name: "left-behind-settled",
        set: |bench, manner| leave(bench, manner, left_behind(Fate::Settled)),
    },
    Scene { name: "wiping-close", set: wiping_close },
    Scene { name: "left-behind-discard", set: left_discard },
    Scene { name: "interrupted", set: interrupted },
    Scene { name: "elsewhere-other-pc", set: |bench, manner| away(bench, manner, Place::OtherPc) },
    Scene { name: "elsewhere-lost", set: |bench, manner| away(bench, manner, Place::Lost) },
    Scene { name: "elsewhere-original", set: |bench, manner| away(bench, manner, Place::Original) },
    Scene { name: "busy", set: busy },
    Scene { name: "history", set: show_history },
    Scene { name: "log", set: show_log },
    Scene { name: "about", set: |bench, manner| page(bench, manner, "page-about") },
    Scene { name: "asked-left-behind", set: asked_left_behind },
    Scene { name: "settings", set: |bench, manner| page(bench, manner, "page-settings") },
];

/// Every reason why a start can be refused.
pub const EVERY_REASON: [Reason; 8] = [
    Reason::Memory { needed: 2048, spare: 900 },
    Reason::Cpus { needed: 4, available: 2 },
    Reason::Asked,
    Reason::ScratchRoom { missing: 3000 },
    Reason::DriveRoom { missing: 700 },
    Reason::NoWindow,
    Reason::NoHypervisor,
    Reason::Unsettled,
];

/// What the window calls something, in its language.
pub fn word(manner: Manner, key: &str) -> String {
    use pocketvm::gui::words::Words;
    Words::new(Some(manner.language), &[]).say(key)
}

pub fn click(bench: &mut Bench, manner: Manner, key: &str) {
    bench.click(&word(manner, key));
}

fn choosing(bench: &mut Bench) {
    bench.say(Message::Drives(vec![PathBuf::from("/media/anna/STICK"), PathBuf::from("/media/anna/Büro 2")]));
}

pub fn ready(bench: &mut Bench, manner: Manner) {
    ready_with(bench, manner, plan());
}

pub fn ready_with(bench: &mut Bench, manner: Manner, plan: Plan) {
    bench.say(says_status(manner, status()));
    bench.event(begins(Step::Detect));
    for candidate in candidates() {
        bench.event(Event::Candidate { candidate });
    }
    bench.event(ends(Step::Detect));
    bench.say(Message::Plan(Box::new(plan)));
}

fn why(bench: &mut Bench, manner: Manner) {
    ready(bench, manner);
    click(bench, manner, "ready-why");
}

/// The disks are on their way to this PC.
pub fn copying(bench: &mut Bench, manner: Manner) {
    ready_with(bench, manner, Plan { needs_consent: false, ..copied_plan() });
    click(bench, manner, "ready-start");
    bench.event(begins(Step::Prepare));
    bench.event(Event::CopyProgress { done: 0, total: 9 * GIB });
    bench.event(Event::CopyProgress { done: 2 * GIB, total: 9 * GIB });
}

fn fresh(bench: &mut Bench, manner: Manner) {
    let fresh = Status { identity: None, last: None, ..status() };
    bench.say(says_status(manner, fresh));
    bench.say(Message::Plan(Box::new(Plan { plain_scratch: false, paging: None, ..plan() })));
}

fn consent(bench: &mut Bench, manner: Manner) {
    ready_with(bench, manner, Plan { needs_consent: true, ..plan() });
}

fn refuse(bench: &mut Bench, manner: Manner, reasons: &[Reason]) {
    ready_with(bench, manner, refused(reasons));
}

pub fn starting(bench: &mut Bench, manner: Manner) {
    ready(bench, manner);
    click(bench, manner, "ready-start");
    bench.event(begins(Step::Detect));
    for candidate in candidates() {
        bench.event_quietly(Event::Candidate { candidate });
    }
    bench.event(ends(Step::Detect));
    bench.event(Event::Plan { plan: Box::new(plan()) });
    bench.event(begins(Step::Prepare));
}

/// A guest that was changed, and something in it that can't be helped.
pub fn fitted(bench: &mut Bench, manner: Manner) {
    running(bench, manner);
    let note = "The guest's configuration names its network card ens3; in VirtualBox it is not called so but enp0s3, and the guest \
                may have no network";
    bench.event(Event::notice(Notice::Fit, note));
    let adapted = Report {
        system: "Debian GNU/Linux 12 (bookworm)".to_owned(),
        hypervisor: "virtualbox".to_owned(),
        controller: "ahci",
        card: Some("82540EM"),
        display: Some("VMSVGA"),
        changes: vec![
            "Linux 6.1.0-37-amd64 starts with the driver ahci, sd_mod as well".to_owned(),
            "Disks in /etc/fstab are named by their UUID".to_owned(),
        ],
        notes: vec![note.to_owned()],
    };
    bench.event(Event::Adapted { adapted: Box::new(adapted) });
}

fn hibernated() -> Ending {
    Ending::Hibernated { detail: pocketvm_guest::fit::HIBERNATED_WINDOWS.to_owned() }
}

pub fn running(bench: &mut Bench, manner: Manner) {
    starting(bench, manner);
    bench.event(begins(Step::Launch));
    bench.event(ends(Step::Launch));
    bench.event(begins(Step::Run));
    bench.event(Event::Guest { guest: GuestEvent::Running });
    for seconds in (0..200).step_by(2) {
        bench.event_quietly(figures(seconds));
    }
    bench.settle();
}

fn trouble(bench: &mut Bench, manner: Manner, code: Notice) {
    running(bench, manner);
    bench.event(Event::notice(code, "the session's own words"));
}

fn shutting_down(bench: &mut Bench, manner: Manner) {
    running(bench, manner);
    click(bench, manner, "running-shut-down");
}

fn ask(bench: &mut Bench, manner: Manner, key: &str) {
    running(bench, manner);
    click(bench, manner, key);
}

fn close(bench: &mut Bench, manner: Manner) {
    running(bench, manner);
    bench.close();
}

pub fn died() -> Ending {
    Ending::HypervisorDied { detail: "signal 9 of /usr/bin/qemu-system-x86_64".to_owned() }
}

pub fn unclean(bench: &mut Bench, manner: Manner, ending: Ending) {
    running(bench, manner);
    bench.event(Event::Guest { guest: GuestEvent::Ended(ending.clone()) });
    bench.event(ends(Step::Run));
    question(bench, Subject::Unclean(ending), vec![Answer::Later, Answer::Merge, Answer::Discard]);
}

/// The session asks; returns where its answer will arrive.
pub fn question(bench: &mut Bench, subject: Subject, answers: Vec<Answer>) -> mpsc::Receiver<Option<Answer>> {
    let (reply, answer) = mpsc::channel();
    let text = "The situation in the session's own words".to_owned();
    bench.say(Message::Ask(Question { subject, text, answers }, reply));
    answer
}

pub fn saving(bench: &mut Bench, manner: Manner) {
    running(bench, manner);
    bench.event(Event::Guest { guest: GuestEvent::Ended(Ending::PoweredOff) });
    bench.event(ends(Step::Run));
    bench.event(begins(Step::Merge));
    bench.event(Event::MergeProgress { done: 120 * MIB, total: 600 * MIB });
}

fn saving_close(bench: &mut Bench, manner: Manner) {
    saving(bench, manner);
    bench.close();
}

fn wiping(bench: &mut Bench, manner: Manner) {
    saving(bench, manner);
    bench.event(merged(600 * MIB));
    bench.event(ends(Step::Merge));
    bench.event(begins(Step::Wipe));
}

pub fn done(bench: &mut Bench, manner: Manner, outcome: Outcome) {
    wiping(bench, manner);
    bench.event(ends(Step::Wipe));
    bench.say(Message::Ended(Ok(outcome)));
}

fn fail_early(bench: &mut Bench, manner: Manner) {
    starting(bench, manner);
    let error = Error::new(Kind::Hypervisor, "QEMU ended at once: no such device")
        .safe("nothing was changed on the drive")
        .hint("try another accelerator");
    bench.say(Message::Ended(Err(error)));
}

fn fail_late(bench: &mut Bench, manner: Manner) {
    saving(bench, manner);
    let error = Error::new(Kind::Merge, "cannot write to the drive: /media/anna/STICK/disks/user/base.qcow2")
        .safe("the drive is as before the session, and the changes are in /home/anna/.cache/pocketvm")
        .hint("save them with: pocketvm recover --merge");
    bench.say(Message::Ended(Err(error)));
}

fn fail_disk(bench: &mut Bench, manner: Manner) {
    bench.say(says_status(manner, status()));
    let error = Error::new(Kind::Disk, "the disk user has a table outside of its file")
        .safe("nothing was changed")
        .hint("check it with: pocketvm check");
    bench.say(Message::Ended(Err(error)));
}

pub fn leave(bench: &mut Bench, manner: Manner, left: LeftBehind) {
    bench.say(says_status(manner, left_over(left)));
}

fn left_running(bench: &mut Bench, manner: Manner) {
    leave(bench, manner, LeftBehind { running: true, ..left_behind(Fate::Mergeable) });
}

fn left_moved(bench: &mut Bench, manner: Manner) {
    leave(bench, manner, left_behind(Fate::Moved { disk: "thesis".to_owned() }));
}

fn left_unreadable(bench: &mut Bench, manner: Manner) {
    leave(bench, manner, left_behind(Fate::Unreadable { why: "its header is damaged".to_owned() }));
}

fn left_discard(bench: &mut Bench, manner: Manner) {
    leave(bench, manner, left_behind(Fate::Mergeable));
    click(bench, manner, "leftover-discard");
}

fn interrupted(bench: &mut Bench, manner: Manner) {
    let status = Status { state: State::LeftOver, text: "A save was interrupted".to_owned(), ..status() };
    bench.say(says_status(manner, status));
}

fn away(bench: &mut Bench, manner: Manner, place: Place) {
    bench.say(says_status(manner, elsewhere(place)));
}

fn busy(bench: &mut Bench, manner: Manner) {
    let status = Status {
        state: State::InUse,
        text: "The drive is in use by process 12 on LIB-PC-7".to_owned(),
        ..status()
    };
    bench.say(says_status(manner, status));
}

pub fn show_history(bench: &mut Bench, manner: Manner) {
    ready(bench, manner);
    click(bench, manner, "page-history");
    bench.say(Message::History(Ok(history())));
}

fn show_log(bench: &mut Bench, manner: Manner) {
    trouble(bench, manner, Notice::HostFull);
    click(bench, manner, "page-log");
}

fn page(bench: &mut Bench, manner: Manner, key: &str) {
    ready(bench, manner);
    click(bench, manner, key);
}

fn checking(bench: &mut Bench, manner: Manner) {
    bench.say(says_status(manner, status()));
}

fn asked_left_behind(bench: &mut Bench, manner: Manner) {
    starting(bench, manner);
    let answers = vec![Answer::Later, Answer::Merge, Answer::Discard];
    question(bench, Subject::Leftover(left_behind(Fate::Mergeable)), answers);
}

fn wiping_close(bench: &mut Bench, manner: Manner) {
    wiping(bench, manner);
    bench.close();
}

fn pictured(bench: &mut Bench, manner: Manner) {
    ready(bench, manner);
    bench.say(says_status_with(manner, status(), Some(png())));
    bench.say(Message::Plan(Box::new(plan())));
}
