//! kill -9 of the launcher and of VirtualBox: nothing is lost, and nothing stays in VirtualBox's lists.

use crate::bench::{Bench, kill};

#[test]
fn a_launcher_killed_in_any_phase_leaves_a_session_that_one_command_saves() {
    for (phase, state, counts) in [
        ("prepare", "started", &[0][..]),
        ("launch", "started", &[0, 1]),
        ("run", "done", &[1]),
        ("merge", "started", &[1]),
        ("wipe", "started", &[1]),
    ] {
        let bench = Bench::new(b'P');
        let mut session = bench.virtualbox();
        session.event(phase, |event| event["phase"] == phase && event["state"] == state);
        session.kill();
        bench.call("recover", &["--merge"]).finish().expect(0);
        let (system, user) = (bench.count("system"), bench.count("user"));
        assert_eq!(system, user, "one disk's changes came without the other's, {phase}");
        assert!(counts.contains(&user), "{phase}: {user}");
        bench.assert_as_before();
        bench.assert_sound();
    }
}

#[test]
fn a_guest_whose_launcher_was_killed_runs_on_and_is_taken_over_shut_down_and_merged() {
    let bench = Bench::new(b'W');
    let mut session = bench.virtualbox();
    session.says("waits");
    session.kill();
    // Nobody starts a second guest on these disks, in whatever hypervisor.
    bench.qemu().finish().expect(6);
    bench.call("recover", &["--merge"]).finish().expect(0);
    assert_eq!((bench.count("system"), bench.count("user")), (1, 1));
    bench.assert_as_before();
    bench.assert_sound();
}

#[test]
fn a_killed_virtualbox_is_no_clean_end_and_its_changes_wait_for_a_decision() {
    let bench = Bench::new(b'W');
    let mut session = bench.virtualbox();
    session.says("waits");
    kill(bench.runner().expect("the machine runs"));
    session.finish().expect(8);
    assert_eq!(bench.count("user"), 0);
    bench.call("recover", &["--merge"]).finish().expect(0);
    assert_eq!((bench.count("system"), bench.count("user")), (1, 1));
    bench.assert_as_before();
    bench.assert_sound();
}

#[test]
fn a_machine_that_somebody_started_again_in_virtualbox_is_not_merged_under_its_guest() {
    let bench = Bench::new(b'W');
    let mut session = bench.virtualbox();
    session.says("waits");
    let machine = bench.manage(&["list", "runningvms"]);
    let id = machine.rsplit_once('{').unwrap().1.trim_end().trim_end_matches('}').to_owned();
    let runner = bench.runner().expect("the machine runs");
    let log = session.log();
    session.kill();
    kill(runner);
    crate::bench::wait_until("VirtualBox has noticed", || {
        bench.manage(&["showvminfo", &id, "--machinereadable"]).contains("VMState=\"aborted\"")
    });
    std::fs::remove_file(&log).unwrap();
    let mut again = std::process::Command::new(crate::bench::programs().join("VirtualBoxVM"));
    bench.here(again.args(["--startvm", &id, "--driverless", "--no-startvm-errormsgbox"]));
    let mut again = again.spawn().unwrap();
    crate::bench::wait_until("the guest waits again", || {
        std::fs::read_to_string(&log).unwrap_or_default().contains("waits")
    });
    // It is taken over, asked to shut down, and only then merged: with what it wrote both times.
    bench.call("recover", &["--merge"]).finish().expect(0);
    again.wait().unwrap();
    assert_eq!((bench.count("system"), bench.count("user")), (2, 2));
    bench.assert_as_before();
    bench.assert_sound();
}

#[test]
fn a_machine_whose_folder_was_deleted_is_forgotten_by_the_next_session_wherever_its_drive_is() {
    let bench = Bench::new(b'W');
    let mut session = bench.virtualbox();
    let scratch =
        session.event("session", |event| event["event"] == "session")["scratch"].as_str().unwrap().to_owned();
    session.says("waits");
    let runner = bench.runner().expect("the machine runs");
    session.kill();
    kill(runner);
    // By somebody who wanted room. The drive comes back under another name.
    std::fs::remove_dir_all(&scratch).unwrap();
    assert_ne!(bench.manage(&["list", "vms"]), "");
    let elsewhere = bench.path().join("other letter");
    std::fs::rename(&bench.drive, &elsewhere).unwrap();
    let write = ["-f", "qcow2", "-c", "write -P 80 432 1"];
    crate::bench::must(
        std::process::Command::new("qemu-io").args(write).arg(elsewhere.join("disks/system/base.qcow2")),
    );
    let drive = elsewhere.to_str().unwrap();
    let next = bench.start(&[
        "run",
        drive,
        "--hypervisor",
        "virtualbox",
        "--accelerator",
        "interpreter",
        "--headless",
        "--abandon-session",
    ]);
    next.finish().expect(0);
    bench.assert_as_before();
}
