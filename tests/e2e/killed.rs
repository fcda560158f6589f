//! kill -9 of the launcher in each phase, and of QEMU: nothing is lost, nothing is merged by halves, and the same
//! PC gets out of it with one command.

use super::harness::{Bench, Drive, Finished, Options, Pc, kill_hypervisor, wait_until_gone};

/// Runs a session whose launcher is killed when `phase` reaches `state`, and recovers it by merging.
/// Returns the markers that the next session finds.
fn killed_at(phase: &str, state: &str) -> Vec<String> {
    killed_with(Options::keeping_both, phase, state)
}

/// The same with a machine whose disks are as `options` says.
fn killed_with(options: fn(&str) -> Options, phase: &str, state: &str) -> Vec<String> {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &options("marker kept;system-marker kept;write 24"));
    let pc = Pc::new(&bench, "pc");
    let mut launcher = pc.run(&drive);
    launcher.phase(phase, state);
    launcher.kill();
    recovered_with(options, &pc, &drive)
}

/// Recovers whatever is there by merging, and checks what must be true then.
fn recovered(pc: &Pc, drive: &Drive) -> Vec<String> {
    recovered_with(Options::keeping_both, pc, drive)
}

/// The same with a machine whose disks are as `options` says.
fn recovered_with(options: fn(&str) -> Options, pc: &Pc, drive: &Drive) -> Vec<String> {
    let path = drive.path.to_str().unwrap();
    pc.call(&["status", path]).expect(0);
    pc.recover(drive);
    wait_until_gone(&pc.scratch, "qemu-system");
    pc.assert_as_before();
    drive.set(&options("show"));
    let next: Finished = pc.session(drive);
    assert_eq!(next.markers("system"), next.markers("user"), "one disk's changes came without the other's");
    next.markers("user")
}

#[test]
fn a_launcher_killed_before_the_launch_leaves_nothing_in_the_way() {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &Options::keeping_both("marker kept"));
    let pc = Pc::new(&bench, "pc");
    for phase in ["detect", "plan", "prepare"] {
        for state in ["started", "done"] {
            let mut launcher = pc.run(&drive);
            launcher.phase(phase, state);
            launcher.kill();
            drive.assert_untouched();
            pc.recover(&drive);
            pc.assert_as_before();
        }
    }
    assert_eq!(recovered(&pc, &drive), [] as [&str; 0]);
}

#[test]
fn a_launcher_killed_while_it_launches_leaves_nothing_in_the_way() {
    // Depending on the moment the guest runs by then, and what it does is kept.
    let markers = killed_at("launch", "started");
    assert!(markers.is_empty() || markers == ["kept"], "{markers:?}");
}

#[test]
fn a_guest_whose_launcher_was_killed_runs_on_and_is_taken_over_shut_down_and_merged() {
    let bench = Bench::new();
    let drive =
        Drive::create(&bench.folder("drive"), &Options::keeping_both("marker kept;system-marker kept;wait"));
    let pc = Pc::new(&bench, "pc");
    let mut launcher = pc.run(&drive);
    launcher.guest("wait");
    launcher.kill();
    // Nobody starts a second guest on these disks.
    pc.run(&drive).finish().expect(6);
    assert_eq!(recovered(&pc, &drive), ["kept"]);
}

#[test]
fn a_launcher_killed_right_after_the_guest_stopped_loses_nothing() {
    assert_eq!(killed_at("run", "done"), ["kept"]);
}

#[test]
fn a_launcher_killed_while_it_merges_loses_nothing() {
    assert_eq!(killed_at("merge", "started"), ["kept"]);
}

#[test]
fn a_launcher_killed_while_it_saves_a_raw_disk_and_a_chain_loses_nothing() {
    for (phase, state) in [("merge", "started"), ("wipe", "started")] {
        assert_eq!(killed_with(Options::raw_and_chain, phase, state), ["kept"], "{phase}");
    }
}

#[test]
fn a_launcher_killed_while_it_wipes_leaves_merged_bases_and_an_empty_scratch() {
    assert_eq!(killed_at("wipe", "started"), ["kept"]);
}

#[test]
fn a_left_over_session_can_be_discarded_instead() {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &Options::keeping_both("marker lost;wait"));
    let pc = Pc::new(&bench, "pc");
    let mut launcher = pc.run(&drive);
    launcher.guest("wait");
    launcher.kill();
    pc.call(&["recover", drive.path.to_str().unwrap(), "--discard"]).expect(0);
    wait_until_gone(&pc.scratch, "qemu-system");
    pc.assert_as_before();
    drive.assert_untouched();
}

#[test]
fn the_next_run_recovers_first_when_told_how() {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &Options::new("marker first"));
    let pc = Pc::new(&bench, "pc");
    let mut launcher = pc.run(&drive);
    launcher.phase("run", "done");
    launcher.kill();

    drive.set(&Options::new("show"));
    let next = pc.run_with(&drive, &["--accelerator", "tcg", "--leftover", "merge"]).finish();
    next.expect(0);
    assert_eq!(next.markers("user"), ["first"]);
}

#[test]
fn a_killed_hypervisor_is_no_clean_end_and_its_changes_wait_for_a_decision() {
    let bench = Bench::new();
    let drive =
        Drive::create(&bench.folder("drive"), &Options::keeping_both("marker kept;system-marker kept;wait"));
    let pc = Pc::new(&bench, "pc");
    let mut launcher = pc.run(&drive);
    launcher.guest("wait");
    kill_hypervisor(&pc.scratch);
    launcher.finish().expect(8);
    drive.assert_untouched();
    assert_eq!(recovered(&pc, &drive), ["kept"]);
}
