//! What a click, a key or a closed window comes to: orders to the desk, answers to the session, pages, dialogs.

use eframe::egui::Key;
use jiff::SignedDuration;
use pocketvm::drive::{Look, Settings};
use pocketvm::gui::desk::{Job, Message, Order};
use pocketvm::gui::model::{Chosen, Confirm, Intent, Model, Page, Safety, Stage};
use pocketvm::hypervisor::{Ending, GuestEvent};
use pocketvm::session::event::{Answer, Event, Notice, Outcome, Step, Subject};
use pocketvm::session::history::Direction;
use pocketvm::session::supervision::Control;
use pocketvm::session::{Fate, LeftBehind, Options, Place, Status, Wish};
use pocketvm::{Error, Kind};

use super::bench::{Bench, ENGLISH, now};
use super::facts::*;
use super::scenes;

fn at(set: fn(&mut Bench, super::bench::Manner)) -> Bench {
    let mut bench = Bench::new(ENGLISH);
    set(&mut bench, ENGLISH);
    bench.orders();
    bench
}

fn at_scene(name: &str) -> Bench {
    at(scenes::SCENES.iter().find(|scene| scene.name == name).unwrap().set)
}

// --- before -------------------------------------------------------------------------------------------------

#[test]
fn a_new_window_looks_by_itself_and_shows_a_frame_before_anything_is_known() {
    let mut bench = Bench::new(ENGLISH);
    bench.reads(&["One moment", "Nothing is changed"]);
    assert!(bench.orders().is_empty(), "the bench looks only when told to");
}

#[test]
fn return_starts_with_what_is_proposed_and_only_once() {
    let mut bench = at(scenes::ready);
    assert_eq!(bench.focused().as_deref(), Some("Start"));
    bench.key(Key::Enter);
    let orders = bench.orders();
    let [Order::Do(Job::Run(options))] = &orders[..] else { panic!("{orders:?}") };
    assert_eq!((options.memory, options.cpus, options.accept_plain_scratch), (None, None, false));
    assert!(bench.is_waiting() && !bench.has("Start"));
}

#[test]
fn the_mouse_starts_as_well() {
    let mut bench = at(scenes::ready);
    bench.click_with_mouse("Start");
    assert!(matches!(bench.orders()[..], [Order::Do(Job::Run(_))]));
}

#[test]
fn the_first_screen_says_what_will_happen() {
    let bench = at(scenes::ready);
    bench.reads(&[
        "Annas Büro",
        "Last session: yesterday, 10:00, on LIB-PC-7, 1.2 GiB saved.",
        "QEMU 10.0.2 with KVM",
        "Memory\n",
        "4 GiB\n",
        "Processors\n",
        "Changes are thrown away",
        "Changes are saved to the drive",
        "On this PC: 80 GiB free, 4 GiB needed",
        "On the drive: 21 GiB free, 1 GiB needed",
        "The drive's owner accepted that",
    ]);
}

#[test]
fn a_machine_has_its_picture_and_one_that_is_none_does_no_harm() {
    let mut bench = at(scenes::ready);
    assert_eq!(bench.images(), 0);
    bench.say(says_status_with(ENGLISH, status(), Some(png())));
    assert_eq!(bench.images(), 1);
    let mut damaged = png();
    damaged.truncate(damaged.len() / 2);
    bench.say(says_status_with(ENGLISH, status(), Some(damaged)));
    assert_eq!(bench.images(), 0);
    bench.reads(&["Annas Büro"]);
}

#[test]
fn why_and_the_alternatives_are_behind_one_click() {
    let mut bench = at(scenes::ready);
    bench.keeps_quiet(&["912.3 million"]);
    bench.click("Why this?");
    bench.reads(&[
        "KVM: used",
        "912.3 million loops a second in the trial",
        "TCG: usable",
        "not used: it is older than 6.0",
        "What would help: add yourself to the group kvm",
    ]);
    bench.click("Hide why");
    bench.keeps_quiet(&["912.3 million"]);
}

#[test]
fn an_alternative_is_one_click_more_and_so_is_the_way_back() {
    let mut bench = at(scenes::ready);
    bench.click("Why this?").click("Use QEMU with TCG instead");
    let orders = bench.orders();
    let Some(Order::Do(Job::Plan(options))) = orders.last() else { panic!("{orders:?}") };
    assert_eq!(options.accelerator.as_deref(), Some("tcg"));
    bench.say(Message::Plan(Box::new(plan())));
    bench.click("Back to what is proposed");
    let orders = bench.orders();
    assert!(matches!(&orders[..], [Order::Do(Job::Plan(options))] if options.accelerator.is_none()));
}

#[test]
fn memory_and_cpus_are_chosen_within_what_is_safe_and_planned_again() {
    let mut bench = at(scenes::ready);
    bench.slide("Memory", 24.0);
    let orders = bench.orders();
    let Some(Order::Do(Job::Plan(options))) = orders.last() else { panic!("{orders:?}") };
    assert_eq!(options.memory, Some(3 * GIB));
    bench.slide("Memory", 20.0).slide("Memory", 100_000.0);
    assert!(bench.orders().is_empty(), "one plan at a time");
    bench.reads(&["6 GiB"]);
    bench.say(Message::Plan(Box::new(plan())));
    let orders = bench.orders();
    let Some(Order::Do(Job::Plan(options))) = orders.last() else { panic!("{orders:?}") };
    assert_eq!(options.memory, Some(6 * GIB), "never more than the limit");
    bench.say(Message::Plan(Box::new(plan())));
    bench.slide("Processors", 2.0);
    let orders = bench.orders();
    let Some(Order::Do(Job::Plan(options))) = orders.last() else { panic!("{orders:?}") };
    assert_eq!(options.cpus, Some(2));
    bench.say(Message::Plan(Box::new(plan())));
    bench.click("Back to what is proposed");
    let orders = bench.orders();
    assert!(matches!(&orders[..], [Order::Do(Job::Plan(options))] if options.memory.is_none()));
}

#[test]
fn each_disk_can_be_kept_or_not_and_the_last_word_counts() {
    let mut bench = at(scenes::ready);
    bench.click("Keep changes to system");
    bench.click("Keep changes to thesis");
    bench.say(Message::Plan(Box::new(plan())));
    let orders = bench.orders();
    let Some(Order::Do(Job::Plan(options))) = orders.last() else { panic!("{orders:?}") };
    assert_eq!(options.keep, ["system"]);
    assert_eq!(options.discard, ["thesis"]);
}

#[test]
fn one_of_several_drives_is_chosen_with_its_own_options() {
    let mut bench = at_scene("choosing");
    assert!(!bench.has("History"), "there is no history without a drive");
    bench.click("Use /media/anna/Büro 2");
    let orders = bench.orders();
    assert!(
        matches!(&orders[..], [Order::Do(Job::Look(options))] if options.drive == Some("/media/anna/Büro 2".into()))
    );
}

#[test]
fn a_window_whose_drive_is_shown_by_another_one_closes() {
    let mut bench = Bench::new(ENGLISH);
    bench.say(Message::Elsewhere);
    assert!(bench.is_closed());
}

// --- running ------------------------------------------------------------------------------------------------

#[test]
fn a_start_can_be_stopped() {
    let mut bench = at(scenes::starting);
    bench.reads(&["Starting Annas Büro", "Preparing the session"]);
    bench.click("Stop");
    assert!(matches!(bench.orders()[..], [Order::Control(Control::Interrupt)]));
    assert!(!bench.is_enabled("Cancelling…"), "a second one would force off a guest that was just started");
    let error = Error::new(Kind::Interrupted, "stopped before the machine was started");
    bench.say(Message::Ended(Err(error)));
    bench.reads(&["The machine's disks on the drive are unchanged."]);
}

#[test]
fn a_running_machine_is_told_of_in_figures() {
    let bench = at(scenes::running);
    bench.reads(&[
        "Annas Büro is running",
        "Running for 3 minutes",
        "system: 198 MiB, thrown away at the end",
        "thesis: 595 MiB",
        "Memory used on this PC: 4.1 GiB",
        "Room left on this PC: 76 GiB",
        "Ctrl+Alt+G gives it back",
        "Changes on this PC over time, in total 793 MiB",
    ]);
}

#[test]
fn shutting_down_can_be_asked_for_again() {
    let mut bench = at(scenes::running);
    bench.click("Shut down");
    assert!(matches!(bench.orders()[..], [Order::Control(Control::ShutDown)]));
    bench.reads(&["It may ask you something in its own window"]);
    bench.click("Ask again");
    assert!(matches!(bench.orders()[..], [Order::Control(Control::ShutDown)]));
}

#[test]
fn forcing_off_is_confirmed_and_return_lets_it_run() {
    let mut bench = at(scenes::running);
    bench.click("Force off…");
    bench.reads(&["like pulling the power plug"]);
    assert_eq!(bench.focused().as_deref(), Some("Let it run"));
    bench.key(Key::Enter);
    assert!(bench.model().confirm.is_none() && bench.orders().is_empty());
    bench.click("Force off…");
    bench.key(Key::Escape);
    assert!(bench.model().confirm.is_none() && bench.orders().is_empty());
    bench.click("Force off…").click("Force off");
    assert!(matches!(bench.orders()[..], [Order::Control(Control::ForceOff)]));
}

#[test]
fn each_trouble_says_what_is_safe_and_one_next_thing_and_goes_when_it_is_over() {
    let troubles: [(Notice, [&str; 3], Option<Event>); 7] = [
        (
            Notice::DriveGone,
            ["The drive can't be reached", "nothing is lost", "Plug the same drive in again"],
            Some(Event::notice(Notice::DriveBack, "")),
        ),
        (
            Notice::DriveChanged,
            ["not the drive as the session left it", "its changes are on this PC", "Plug in the drive that"],
            Some(Event::notice(Notice::DriveBack, "")),
        ),
        (
            Notice::HostFull,
            ["This PC's disk is full", "nothing is lost", "Free 32 MiB or more"],
            Some(Event::notice(Notice::HostRoom, "")),
        ),
        (
            Notice::DiskError,
            ["A disk can't be read or written", "nothing is lost", "unplug the drive and plug it in again"],
            Some(Event::Guest { guest: GuestEvent::Running }),
        ),
        (
            Notice::DriveRoom,
            ["may not fit on the drive", "Nothing is lost", "Free some room on the drive"],
            None,
        ),
        (
            Notice::Hypervisor,
            ["did not do what was asked", "changes are on this PC", "force the machine off"],
            Some(Event::Guest { guest: GuestEvent::Running }),
        ),
        (
            Notice::GuestPanicked,
            ["The machine's system crashed", "kept on this PC", "Wait until it restarts"],
            Some(Event::Guest { guest: GuestEvent::Reset }),
        ),
    ];
    for (code, texts, over) in troubles {
        let mut bench = at(scenes::running);
        bench.event(Event::notice(code, "in the session's own words"));
        bench.reads(&texts);
        let Some(over) = over else { continue };
        bench.event(over);
        bench.keeps_quiet(&texts[..1]);
    }
}

#[test]
fn two_troubles_at_once_are_both_told_until_each_is_over() {
    let mut bench = at(scenes::running);
    bench.event(Event::notice(Notice::DriveRoom, ""));
    bench.event(Event::notice(Notice::DriveGone, ""));
    bench.reads(&["may not fit on the drive", "The drive can't be reached", "Paused"]);
    bench.event(Event::notice(Notice::DriveBack, ""));
    bench.reads(&["may not fit on the drive"]).keeps_quiet(&["can't be reached", "Paused"]);
}

#[test]
fn closing_the_window_of_a_running_machine_asks_once_and_keeps_working_by_default() {
    let mut bench = at(scenes::running);
    bench.close();
    assert!(!bench.is_closed());
    assert_eq!(bench.focused().as_deref(), Some("Keep working"));
    bench.key(Key::Enter);
    assert!(bench.orders().is_empty());
    bench.close();
    bench.click("Shut down and save");
    assert!(matches!(bench.orders()[..], [Order::Control(Control::ShutDown)]));
    assert!(!bench.is_closed(), "the window stays until everything is saved");
    bench.close();
    bench.click("Force off…");
    assert_eq!(bench.model().confirm, Some(Confirm::Force), "what is destructive is asked about once more");
}

#[test]
fn a_system_that_ends_the_window_leaves_a_recoverable_session() {
    let mut bench = at(scenes::running);
    bench.say(Message::Quit);
    assert!(matches!(bench.orders()[..], [Order::Control(Control::Terminate)]));
    assert!(!bench.is_closed());
    bench.say(Message::Ended(Err(Error::new(Kind::Interrupted, "ended"))));
    assert!(bench.is_closed());
}

// --- afterwards ---------------------------------------------------------------------------------------------

#[test]
fn a_machine_that_did_not_end_cleanly_leaves_the_decision_to_the_user() {
    for (button, answer) in [("Save to the drive", Answer::Merge), ("Decide later", Answer::Later)] {
        let mut bench = at(scenes::running);
        let answers = vec![Answer::Later, Answer::Merge, Answer::Discard];
        let reply = scenes::question(&mut bench, Subject::Unclean(Ending::Forced), answers);
        bench.reads(&["The machine was forced off", "The drive is as before the session"]);
        bench.click(button);
        assert_eq!(reply.try_recv(), Ok(Some(answer)));
    }
}

#[test]
fn throwing_changes_away_takes_two_clicks_and_return_keeps_them() {
    let mut bench = at(scenes::running);
    let answers = vec![Answer::Later, Answer::Merge, Answer::Discard];
    let reply = scenes::question(&mut bench, Subject::Unclean(scenes::died()), answers);
    bench.reads(&["(the hypervisor) ended unexpectedly"]);
    bench.click("Throw away…");
    bench.reads(&["793 MiB of changes of this session will be gone for good"]);
    assert_eq!(bench.focused().as_deref(), Some("Keep them"));
    bench.key(Key::Enter);
    assert!(reply.try_recv().is_err(), "nothing is decided");
    bench.click("Throw away…").click("Throw away for good");
    assert_eq!(reply.try_recv(), Ok(Some(Answer::Discard)));
}

#[test]
fn closing_the_window_at_a_question_decides_later() {
    let mut bench = at(scenes::running);
    let answers = vec![Answer::Later, Answer::Merge, Answer::Discard];
    let reply = scenes::question(&mut bench, Subject::Unclean(Ending::Forced), answers);
    bench.close();
    assert_eq!(reply.try_recv(), Ok(Some(Answer::Later)));
    assert!(!bench.is_closed(), "the session is still at work");
    bench.say(Message::Ended(Err(Error::new(Kind::Unclean, "kept"))));
    assert!(bench.is_closed());
}

#[test]
fn saving_shows_how_far_it_is_and_can_be_cancelled() {
    let mut bench = at(scenes::saving);
    bench.reads(&["Saving to the drive", "Do not unplug the drive yet.", "120 MiB of 600 MiB", "20 %"]);
    bench.click("Cancel saving");
    assert!(matches!(bench.orders()[..], [Order::Control(Control::Interrupt)]));
    assert!(!bench.is_enabled("Cancelling…"));
    let error = Error::new(Kind::Merge, "cancelled");
    bench.say(Message::Ended(Err(error)));
    bench.reads(&[
        "Your changes are on this PC. The drive is at the state before or after them, never between.",
    ]);
    bench.keeps_quiet(&["You can unplug now"]);
}

#[test]
fn speed_and_estimate_follow_from_what_was_saved_so_far() {
    let mut model = Model::new(Options::default(), Settings::default(), now());
    let at = |seconds: i64| now() + SignedDuration::from_secs(seconds);
    model.hear(says_status(ENGLISH, status()), now());
    model.hear(Message::Plan(Box::new(plan())), now());
    model.want(Intent::Start);
    model.hear(Message::Event(begins(Step::Merge)), now());
    let saving = |model: &Model| match &model.stage {
        Stage::Saving(saving) => (saving.speed, saving.left),
        _ => panic!("it does not save"),
    };
    model.hear(Message::Event(Event::MergeProgress { done: 0, total: 600 * MIB }), at(0));
    assert_eq!(saving(&model), (None, None), "nothing can be told yet");
    for second in 1..=20 {
        let done = second as u64 * 10 * MIB;
        model.hear(Message::Event(Event::MergeProgress { done, total: 600 * MIB }), at(second));
    }
    assert_eq!(saving(&model), (Some(10 * MIB), Some(40)));
}

#[test]
fn cancelling_before_anything_was_merged_is_heard_too() {
    let mut bench = at(scenes::running);
    bench.event(begins(Step::Merge));
    bench.reads(&["Looking at what has changed"]);
    bench.orders();
    bench.click("Cancel saving");
    assert!(matches!(bench.orders()[..], [Order::Control(Control::Interrupt)]));
    assert!(!bench.is_enabled("Cancelling…"));
}

#[test]
fn closing_while_saving_keeps_saving_by_default() {
    let mut bench = at(scenes::saving);
    bench.close();
    assert_eq!(bench.focused().as_deref(), Some("Keep saving"));
    bench.click("Keep saving");
    assert!(bench.orders().is_empty());
    bench.close();
    bench.click("Cancel saving and close");
    assert!(matches!(bench.orders()[..], [Order::Control(Control::Terminate)]));
    assert!(!bench.is_closed(), "until the session lets it");
    bench.say(Message::Ended(Err(Error::new(Kind::Merge, "cancelled"))));
    assert!(bench.is_closed());
}

#[test]
fn unplugging_is_invited_only_when_everything_has_ended_well() {
    let told = "You can unplug now";
    for scene in scenes::SCENES {
        let mut bench = at(scene.set);
        let is_done = matches!(bench.model().stage, Stage::Done(_));
        assert_eq!(bench.text().contains(told), is_done, "{}", scene.name);
        bench.orders();
    }
    let mut bench = at(scenes::saving);
    bench.event(merged(5 * MIB));
    bench.event(ends(Step::Merge));
    bench.event(Event::Done { outcome: Outcome::Saved, text: "You can unplug the drive now".to_owned() });
    bench.keeps_quiet(&[told]);
    bench.say(Message::Ended(Ok(Outcome::Saved)));
    bench.reads(&[told, "5 MiB of changes", "Nothing of the machine's data is left on this PC."]);
    assert_eq!(bench.focused().as_deref(), Some("Close"));
    bench.close();
    assert!(bench.is_closed(), "without a question");
}

#[test]
fn a_session_is_undone_and_redone_with_one_click_each() {
    let mut bench = at(scenes::saving);
    bench.say(Message::Ended(Ok(Outcome::Saved)));
    bench.click("Undo this session");
    assert!(matches!(bench.orders()[..], [Order::Do(Job::Travel(_, Direction::Undo, None))]));
    bench.say(Message::Ended(Ok(Outcome::Undone)));
    bench.reads(&["You can unplug now", "The drive is as before that save."]);
    bench.click("Take that back");
    assert!(matches!(bench.orders()[..], [Order::Do(Job::Travel(_, Direction::Redo, None))]));
}

// --- what was left behind -----------------------------------------------------------------------------------

#[test]
fn a_session_left_behind_here_is_explained_and_can_be_saved_discarded_or_left() {
    let leave = || {
        let mut bench = Bench::new(ENGLISH);
        scenes::leave(&mut bench, ENGLISH, left_behind(Fate::Mergeable));
        bench
    };
    let mut bench = leave();
    bench.reads(&[
        "A session on this PC (today, 09:00) left 320 MiB of changes",
        "thesis: 300 MiB",
        "The machine had not shut down properly.",
        "The drive is intact, and these changes are kept.",
    ]);
    assert!(!bench.has("Start"));
    assert_eq!(bench.focused().as_deref(), Some("Save to the drive"));
    bench.click("Save to the drive");
    assert!(matches!(bench.orders()[..], [Order::Do(Job::Recover(_, Wish::Merge))]));

    let mut bench = leave();
    bench.click("Throw away…");
    assert!(bench.orders().is_empty());
    assert_eq!(bench.focused().as_deref(), Some("Keep them"));
    bench.click("Throw away for good");
    assert!(matches!(bench.orders()[..], [Order::Do(Job::Recover(_, Wish::Discard))]));

    let mut bench = leave();
    bench.click("Keep as files…");
    assert!(matches!(bench.orders()[..], [Order::Do(Job::PickFolder(Chosen::SaveAs))]));
    bench.say(Message::Folder(Chosen::SaveAs, Some("/home/anna/rescue".into())));
    assert!(matches!(&bench.orders()[..], [Order::Do(Job::Recover(_, Wish::SaveAs(_)))]));

    let mut bench = leave();
    bench.click("Not now");
    assert!(bench.orders().is_empty() && bench.is_closed());
}

#[test]
fn what_can_not_be_saved_is_not_offered_to_be() {
    for (fate, text) in [
        (Fate::Moved { disk: "thesis".to_owned() }, "because thesis on it has changed since"),
        (Fate::Unreadable { why: String::new() }, "because a disk on the drive can't be read"),
    ] {
        let mut bench = Bench::new(ENGLISH);
        scenes::leave(&mut bench, ENGLISH, left_behind(fate));
        bench.reads(&[text]);
        assert!(!bench.has("Save to the drive"));
        assert_eq!(bench.focused().as_deref(), Some("Keep as files…"));
    }
}

#[test]
fn a_machine_without_its_window_is_shut_down_and_saved() {
    let mut bench = Bench::new(ENGLISH);
    let left = LeftBehind { running: true, ..left_behind(Fate::Mergeable) };
    scenes::leave(&mut bench, ENGLISH, left);
    bench.reads(&["The machine still runs"]);
    bench.click("Shut down and save");
    assert!(matches!(bench.orders()[..], [Order::Do(Job::Recover(_, Wish::Merge))]));
    bench.event(begins(Step::Run));
    bench.event(figures(10));
    bench.reads(&["Annas Büro is running"]);
}

#[test]
fn an_interrupted_save_is_finished_with_one_click() {
    let mut bench = at_scene("interrupted");
    bench.click("Finish now");
    assert!(matches!(bench.orders()[..], [Order::Do(Job::Recover(_, Wish::Merge))]));
}

#[test]
fn changes_on_another_pc_are_not_given_up_without_a_word() {
    let mut bench = at_scene("elsewhere-other-pc");
    bench.reads(&[
        "The PC HOME-PC holds changes",
        "Plug the drive into HOME-PC",
        "About 40 MiB",
        "The drive is intact",
    ]);
    assert!(!bench.has("Start"));
    assert_eq!(bench.focused().as_deref(), Some("Close"));
    bench.click("Go on without those changes…");
    assert_eq!(bench.focused().as_deref(), Some("Leave it as it is"));
    assert!(bench.orders().is_empty());
    bench.click("Go on without them");
    let orders = bench.orders();
    assert!(
        matches!(&orders[..], [Order::Do(Job::Recover(options, Wish::Discard))] if options.abandon_session)
    );
}

#[test]
fn the_other_places_of_changes_have_their_own_next_thing() {
    assert_eq!(at_scene("elsewhere-lost").focused().as_deref(), Some("Show the folder…"));
    let bench = at_scene("elsewhere-original");
    bench.reads(&["Save that session with the original drive."]);
    assert!(bench.has("Keep as files…"));
    assert!(matches!(elsewhere(Place::Lost).away.unwrap().place, Place::Lost));
}

#[test]
fn a_drive_in_use_is_looked_at_again() {
    let mut bench = at_scene("busy");
    bench.click("Look again");
    assert!(matches!(bench.orders()[..], [Order::Do(Job::Look(_))]));
}

// --- failures -----------------------------------------------------------------------------------------------

#[test]
fn every_failure_says_what_failed_what_is_safe_and_what_to_do() {
    for kind in Kind::ALL {
        let mut bench = at(scenes::ready);
        bench.click("Start");
        bench.say(Message::Ended(Err(Error::new(kind, "in the session's own words").hint("do that"))));
        let Stage::Failed(failure) = &bench.model().stage else { panic!("{kind:?}") };
        let is_told = kind == Kind::Disk;
        assert_eq!(failure.safety, if is_told { Safety::Told } else { Safety::Before }, "{kind:?}");
        if !is_told && kind != Kind::Merge {
            bench.keeps_quiet(&["in the session's own words"]);
            bench.click("Details");
        }
        bench.reads(&["n the session's own words"]);
        assert!(bench.has("Look again") && bench.has("Copy details") && bench.has("Close"), "{kind:?}");
        bench.keeps_quiet(&["You can unplug now"]);
    }
}

#[test]
fn a_failed_recovery_does_not_claim_that_this_pc_holds_nothing() {
    for kind in [Kind::Interrupted, Kind::Hypervisor, Kind::Refused] {
        let mut bench = Bench::new(ENGLISH);
        scenes::leave(&mut bench, ENGLISH, left_behind(Fate::Mergeable));
        bench.click("Save to the drive");
        bench.say(Message::Ended(Err(Error::new(kind, "stopped").safe("the changes are kept"))));
        bench.keeps_quiet(&["are unchanged", "nothing of this session"]).reads(&["The changes are kept."]);
    }
}

#[test]
fn what_is_safe_follows_from_what_happened() {
    let fail = |bench: &mut Bench, kind| {
        bench.say(Message::Ended(Err(Error::new(kind, "failed").safe("in the session's own words"))));
        let Stage::Failed(failure) = &bench.model().stage else { panic!("{kind:?}") };
        failure.safety
    };
    let mut bench = at(scenes::ready);
    bench.click("Start");
    assert_eq!(fail(&mut bench, Kind::Refused), Safety::Before);
    let mut bench = at(scenes::starting);
    assert_eq!(fail(&mut bench, Kind::Hypervisor), Safety::Unchanged, "something was made for it");
    let mut bench = at(scenes::running);
    assert_eq!(fail(&mut bench, Kind::Gone), Safety::Kept);
    let mut bench = at(scenes::saving);
    assert_eq!(fail(&mut bench, Kind::Gone), Safety::Either);
    let mut bench = at(scenes::saving);
    bench.event(merged(MIB));
    assert_eq!(fail(&mut bench, Kind::Unexpected), Safety::Saved);
    let mut bench = at(scenes::saving);
    bench.event(merged(MIB));
    assert_eq!(fail(&mut bench, Kind::Gone), Safety::Told, "the drive did not confirm it");
    let mut bench = at(scenes::running);
    bench.event(begins(Step::Wipe));
    assert_eq!(fail(&mut bench, Kind::Unexpected), Safety::Told, "they were thrown away");
    let mut bench = at(scenes::ready);
    bench.click("Start");
    bench.event(begins(Step::Merge));
    bench.event(merged(MIB));
    bench.event(begins(Step::Detect));
    assert_eq!(fail(&mut bench, Kind::Refused), Safety::Told, "an earlier session was saved on the way");
}

#[test]
fn a_plan_that_comes_late_disturbs_no_session() {
    let mut bench = at(scenes::ready);
    bench.slide("Memory", 24.0).slide("Memory", 20.0);
    bench.click("Start");
    bench.orders();
    bench.say(Message::Plan(Box::new(plan())));
    assert!(bench.orders().is_empty(), "nothing is queued behind the session");
    bench.say(Message::Unseen(Error::new(Kind::Drive, "gone")));
    assert!(bench.is_waiting());
}

#[test]
fn what_was_chosen_for_one_drive_is_not_chosen_for_another() {
    let mut bench = at(scenes::ready);
    bench.click("Keep changes to system");
    bench.say(Message::Plan(Box::new(plan())));
    bench.click("Start");
    let orders = bench.orders();
    let Some(Order::Do(Job::Run(options))) = orders.last() else { panic!("{orders:?}") };
    assert_eq!((options.keep.len(), options.identity, options.drive.is_some()), (1, status().identity, true));
    bench.say(Message::Ended(Ok(Outcome::Saved)));
    bench.click("Use it again");
    let another = Status { identity: Some(uuid::Uuid::from_u128(99)), ..status() };
    bench.say(says_status(ENGLISH, another.clone()));
    bench.say(Message::Plan(Box::new(plan())));
    bench.orders();
    bench.click("Start");
    let orders = bench.orders();
    let Some(Order::Do(Job::Run(options))) = orders.last() else { panic!("{orders:?}") };
    assert_eq!((options.keep.len(), options.identity), (0, another.identity));
}

#[test]
fn a_guest_that_has_ended_is_not_asked_for_anything() {
    let mut bench = at(scenes::running);
    bench.click("Force off…");
    bench.event(Event::Guest { guest: GuestEvent::Ended(Ending::PoweredOff) });
    assert!(bench.model().confirm.is_none());
    assert!(!bench.has("Shut down") && !bench.has("Force off…"));
}

#[test]
fn only_temporary_files_are_tidied_up_without_words_about_changes() {
    let mut bench = at_scene("left-behind-settled");
    bench.reads(&["Nothing in them has to be saved"]).keeps_quiet(&["not on the drive yet"]);
    assert!(!bench.has("Throw away…"));
    bench.click("Tidy up");
    assert!(matches!(bench.orders()[..], [Order::Do(Job::Recover(_, Wish::Merge))]));
    bench.say(Message::Ended(Ok(Outcome::Discarded)));
    bench.reads(&["The temporary files of the earlier session are gone."]);
}

#[test]
fn giving_up_is_not_offered_while_changes_here_would_go_with_it() {
    let mut bench = Bench::new(ENGLISH);
    let both = Status { here: Some(left_behind(Fate::Mergeable)), ..elsewhere(Place::OtherPc) };
    bench.say(says_status(ENGLISH, both));
    bench.reads(&["Besides, a session on this PC (today, 09:00) left 320 MiB"]);
    assert!(!bench.has("Go on without those changes…"));
    bench.click("Keep as files…");
    assert!(matches!(bench.orders()[..], [Order::Do(Job::PickFolder(Chosen::SaveAs))]));
}

#[test]
fn closing_while_the_drive_is_worked_on_waits_for_its_end() {
    let mut bench = at_scene("wiping");
    bench.close();
    bench.reads(&["Work on the drive is not finished"]);
    assert_eq!(bench.focused().as_deref(), Some("Keep the window open"));
    bench.click("Close when it is finished");
    assert!(bench.orders().is_empty() && !bench.is_closed());
    bench.say(Message::Ended(Ok(Outcome::Saved)));
    assert!(bench.is_closed());
}

#[test]
fn a_folder_that_does_not_do_is_not_asked_for_again() {
    let mut bench = at(scenes::ready);
    bench.say(Message::Unseen(Error::new(Kind::Refused, "no place for sessions")));
    bench.click("Use another folder on this PC…");
    bench.say(Message::Folder(Chosen::Scratch, Some("/mnt/bad".into())));
    bench.say(Message::Unseen(Error::new(Kind::Refused, "not that one")));
    bench.orders();
    bench.click("Look again");
    let orders = bench.orders();
    assert!(
        matches!(&orders[..], [Order::Do(Job::Look(options))] if options.scratch.is_none()),
        "{orders:?}"
    );
}

#[test]
fn what_the_drive_lost_is_told_where_unplugging_is_invited() {
    let mut bench = at_scene("interrupted");
    bench.click("Finish now");
    bench.event(Event::notice(Notice::Recovered, "its disks are as before that save"));
    bench.say(Message::Ended(Ok(Outcome::Clean)));
    bench.reads(&["An interrupted save was found", "its disks are as before that save"]);
    bench.keeps_quiet(&["Everything is saved"]);
}

// --- pages --------------------------------------------------------------------------------------------------

#[test]
fn history_goes_back_after_a_question_and_forward_without() {
    let mut bench = at(scenes::show_history);
    bench.click("Go to the state after the save of today, 10:00");
    assert!(matches!(bench.orders()[..], [Order::Do(Job::Travel(_, Direction::Redo, Some(3)))]));

    let mut bench = at(scenes::show_history);
    bench.click("Go to the state before the first of these saves");
    bench.reads(&["The disks will be as before the save of Saturday, 08:00"]);
    assert_eq!(bench.focused().as_deref(), Some("Leave it as it is"));
    bench.click("Go back");
    assert!(matches!(bench.orders()[..], [Order::Do(Job::Travel(_, Direction::Undo, Some(0)))]));
}

#[test]
fn history_waits_until_the_session_is_over() {
    let mut bench = at(scenes::running);
    bench.click("History");
    assert!(bench.orders().is_empty(), "the desk has other work");
    bench.reads(&["Finish the session first."]);
    bench.key(Key::Escape);
    assert_eq!(bench.model().page, Page::Main);
}

#[test]
fn a_question_of_the_session_comes_to_the_front_of_every_page() {
    let mut bench = at(scenes::running);
    bench.click("Log");
    let reply =
        scenes::question(&mut bench, Subject::Unclean(Ending::Panicked), vec![Answer::Later, Answer::Merge]);
    bench.reads(&["The machine's system crashed"]);
    bench.click("Save to the drive");
    assert_eq!(reply.try_recv(), Ok(Some(Answer::Merge)));
}

#[test]
fn the_report_has_nothing_private_in_it() {
    let mut bench = at_scene("running-host-full");
    bench.event(Event::Guest {
        guest: GuestEvent::DiskError {
            disk: "thesis".to_owned(),
            no_space: true,
            read: false,
            reason: "/home/anna/.cache/pocketvm: no space".to_owned(),
        },
    });
    bench.event(Event::Guest { guest: GuestEvent::Ended(scenes::died()) });
    bench.event(merged(3 * MIB));
    let error = Error::new(Kind::Merge, "cannot write /media/anna/STICK of Annas Büro")
        .safe("the changes are in /home/anna")
        .hint("plug it into HOME-PC");
    bench.say(Message::Ended(Err(error)));
    let report = bench.click_to_copy("Copy details").expect("a text");
    for told in
        ["PocketVM 0.1.0", "kvm usable at 912345", "notice host-full", "guest disk-error", "error merge"]
    {
        assert!(report.contains(told), "{told} is not in:\n{report}");
    }
    for private in PRIVATE {
        assert!(!report.replace("system linux", "").contains(private), "{private} is in:\n{report}");
    }
}

#[test]
fn settings_take_effect_at_once_and_are_kept_on_the_drive() {
    let mut bench = at_scene("settings");
    bench.click("Deutsch");
    bench.reads(&["Einstellungen"]);
    bench.click("Hell");
    let orders = bench.orders();
    let Some(Order::Do(Job::Remember(_, settings))) = orders.last() else { panic!("{orders:?}") };
    assert_eq!((settings.look, settings.language.as_deref()), (Look::Light, Some("de")));
    bench.click("English");
    bench.slide("How large everything in this window is.", 150.0);
    let orders = bench.orders();
    let Some(Order::Do(Job::Remember(_, settings))) = orders.last() else { panic!("{orders:?}") };
    assert_eq!(settings.size, 150);
}

#[test]
fn nothing_is_written_to_a_drive_that_may_be_unplugged() {
    let mut bench = at(scenes::saving);
    bench.say(Message::Ended(Ok(Outcome::Saved)));
    bench.orders();
    bench.click("Settings").click("Light");
    assert!(bench.orders().is_empty());
    bench.click("Back").click("Use it again");
    bench.orders();
    bench.say(says_status(ENGLISH, status()));
    let orders = bench.orders();
    assert!(matches!(&orders[..], [Order::Do(Job::Remember(_, settings))] if settings.look == Look::Light));
}

// --- keyboard -----------------------------------------------------------------------------------------------

#[test]
fn tab_reaches_every_control_of_every_screen() {
    for scene in &scenes::SCENES {
        let mut bench = at(scene.set);
        let mut unreached = bench.names();
        for _ in 0..3 * unreached.len() {
            bench.tab();
            if let Some(name) = bench.focused() {
                unreached.retain(|one| *one != name);
            }
        }
        assert!(unreached.is_empty(), "{}: Tab does not reach {unreached:?}", scene.name);
    }
}
