//! Whatever prevents starting is said before Start, with its remedy, and Start can't be pressed.

use pocketvm::gui::desk::{Job, Message, Order};
use pocketvm::gui::model::Chosen;
use pocketvm::session::plan::{Plan, Reason};

use super::bench::{Bench, ENGLISH};
use super::facts::{plan, refused};
use super::scenes::{EVERY_REASON, ready_with};

fn refused_for(reason: &Reason) -> Bench {
    let mut bench = Bench::new(ENGLISH);
    ready_with(&mut bench, ENGLISH, refused(std::slice::from_ref(reason)));
    bench
}

#[test]
fn every_refusal_is_said_with_its_remedy_and_start_waits() {
    for reason in &EVERY_REASON {
        let texts = match reason {
            Reason::Memory { .. } => {
                ["needs 2 GiB of memory. This PC can spare 900 MiB", "Close programs on this PC"]
            }
            Reason::Cpus { .. } => ["needs 4 processors. This PC has 2", "a PC with more processors"],
            Reason::Asked => ["can't be had any more", "Go back to what is proposed"],
            Reason::ScratchRoom { .. } => ["2.9 GiB are missing", "Free some room on this PC"],
            Reason::DriveRoom { .. } => ["700 MiB are missing", "Free some room on the drive"],
            Reason::NoWindow => ["can't show a window", "Install its window support"],
            Reason::NoHypervisor => ["nothing that can run the machine", "Install QEMU"],
            Reason::Unsettled => ["An earlier session stands in the way", "Look again"],
        };
        let mut bench = refused_for(reason);
        bench.reads(&texts).reads(&["One thing has to be put right first"]);
        assert!(!bench.is_enabled("Start"), "{reason:?}");
        bench.orders();
        bench.click("Start");
        assert!(bench.orders().is_empty(), "{reason:?}");
        bench.click("Look again");
        assert!(matches!(bench.orders()[..], [Order::Do(Job::Look(_))]), "{reason:?}");
    }
}

#[test]
fn all_refusals_at_once_are_counted() {
    let mut bench = Bench::new(ENGLISH);
    ready_with(&mut bench, ENGLISH, refused(&EVERY_REASON));
    bench.reads(&["8 things have to be put right first"]);
}

#[test]
fn a_choice_that_can_not_be_had_any_more_is_taken_back_with_one_click() {
    let mut bench = refused_for(&Reason::Asked);
    bench.orders();
    bench.click("Back to what is proposed");
    let orders = bench.orders();
    assert!(
        matches!(&orders[..], [Order::Do(Job::Plan(options))] if options.memory.is_none() && options.cpus.is_none())
    );
}

#[test]
fn too_little_room_here_can_be_mended_by_another_folder() {
    let mut bench = refused_for(&Reason::ScratchRoom { missing: 3000 });
    bench.orders();
    bench.click("Use another folder on this PC…");
    assert!(matches!(bench.orders()[..], [Order::Do(Job::PickFolder(Chosen::Scratch))]));
    bench.say(Message::Folder(Chosen::Scratch, None));
    assert!(bench.orders().is_empty(), "nothing was chosen");
    bench.click("Use another folder on this PC…");
    bench.orders();
    bench.say(Message::Folder(Chosen::Scratch, Some("/mnt/large".into())));
    let orders = bench.orders();
    assert!(
        matches!(&orders[..], [Order::Do(Job::Look(options))] if options.scratch == Some("/mnt/large".into()))
    );
}

#[test]
fn unencrypted_changes_wait_for_the_users_word_which_counts_for_one_session() {
    let mut bench = Bench::new(ENGLISH);
    ready_with(&mut bench, ENGLISH, Plan { needs_consent: true, ..plan() });
    bench.reads(&["without encryption", "deleted files can leave traces"]);
    assert!(!bench.is_enabled("Start"));
    bench.click("I accept that for this session");
    assert!(bench.is_enabled("Start"));
    bench.orders();
    bench.click("Start");
    let orders = bench.orders();
    assert!(matches!(&orders[..], [Order::Do(Job::Run(options))] if options.accept_plain_scratch));
    bench.say(Message::Ended(Ok(pocketvm::session::event::Outcome::Saved)));
    bench.click("Use it again");
    let orders = bench.orders();
    assert!(matches!(&orders[..], [Order::Do(Job::Look(options))] if !options.accept_plain_scratch));
}
