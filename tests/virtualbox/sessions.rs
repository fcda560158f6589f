//! Whole sessions.

use crate::bench::Bench;

#[test]
fn the_same_drive_runs_in_virtualbox_and_qemu_in_turns_and_each_sees_what_the_other_saved() {
    let bench = Bench::new(b'P');
    for turn in 1..=4 {
        let session = if turn % 2 == 1 { bench.virtualbox() } else { bench.qemu() };
        let ended = session.finish();
        ended.expect(0);
        assert_eq!(ended.event("done")["outcome"], "saved");
        for disk in ["system", "user"] {
            assert_eq!(bench.count(disk), turn, "{disk} in turn {turn}");
        }
        bench.assert_as_before();
        bench.assert_sound();
    }
}

#[test]
fn a_guest_in_virtualbox_is_shut_down_by_its_power_button() {
    let bench = Bench::new(b'W');
    let mut session = bench.virtualbox();
    let said = session.says("waits");
    // Both disks and the paging disk; nothing else is attached.
    assert!(said.starts_with("disk 0 count 1\r\ndisk 1 count 1\r\ndisk 2 count 1\r\nready"), "{said}");
    session.interrupt();
    session.guest("ended");
    let ended = session.finish();
    ended.expect(0);
    assert_eq!((bench.count("system"), bench.count("user")), (1, 1));
    bench.assert_as_before();
}

#[test]
fn a_guest_that_is_forced_off_leaves_its_changes_for_a_decision() {
    let bench = Bench::new(b'W');
    let mut session = bench.virtualbox();
    session.says("waits");
    let machine = bench.manage(&["list", "runningvms"]);
    let id = machine.rsplit_once('{').unwrap().1.trim_end().trim_end_matches('}').to_owned();
    // By somebody at this PC, with VirtualBox's own means.
    bench.manage(&["controlvm", &id, "poweroff"]);
    session.finish().expect(8);
    assert_eq!(bench.count("user"), 0);
    bench.call("recover", &["--discard"]).finish().expect(0);
    bench.assert_as_before();
    assert_eq!(bench.count("user"), 0);
}

#[test]
fn a_snapshot_that_somebody_took_leaves_nothing_in_virtualbox_either() {
    let bench = Bench::new(b'W');
    let mut session = bench.virtualbox();
    session.says("waits");
    let machine = bench.manage(&["list", "runningvms"]);
    let id = machine.rsplit_once('{').unwrap().1.trim_end().trim_end_matches('}').to_owned();
    session.kill();
    bench.manage(&["controlvm", &id, "acpipowerbutton"]);
    crate::bench::wait_until("the machine is off", || bench.runner().is_none());
    crate::bench::wait_until("VirtualBox takes a snapshot", || {
        let mut take = std::process::Command::new(crate::bench::programs().join("VBoxManage"));
        bench.here(take.args(["snapshot", &id, "take", "now"])).output().unwrap().status.success()
    });
    bench.call("recover", &["--discard"]).finish().expect(0);
    assert_eq!((bench.count("system"), bench.count("user")), (0, 0));
    bench.assert_as_before();
}

#[test]
fn copying_the_disks_can_be_stopped_and_leaves_nothing() {
    let bench = Bench::new(b'P');
    // Large enough to be caught at it.
    let mut create = std::process::Command::new("qemu-io");
    create.args(["-f", "qcow2", "-c", "write -P 5 1M 60M"]).arg(bench.base("user"));
    crate::bench::must(&mut create);
    let mut session = bench.virtualbox();
    session.event("the first progress", |event| event["event"] == "copy-progress");
    session.interrupt();
    let ended = session.finish();
    if ended.code != Some(0) {
        ended.expect(12);
        assert_eq!(bench.count("user"), 0);
    }
    bench.assert_as_before();
}

#[test]
fn the_plan_says_that_the_disks_are_copied_and_what_this_hypervisor_lacks() {
    let bench = Bench::new(b'P');
    bench.write_manifest("devices: {sound: true, usb: true}\n");
    let more = ["--hypervisor", "virtualbox", "--accelerator", "interpreter", "--headless"];
    let ended = bench.call("plan", &more).finish();
    ended.expect(0);
    let plan = &ended.event("plan")["plan"];
    assert_eq!(plan["hypervisor"]["hypervisor"], "virtualbox");
    assert_eq!(plan["copied"], 65536, "one cluster is all that there is, and a copy has grains of 64 KiB");
    assert_eq!(plan["lacks"], serde_json::json!([]));
    let ended = bench.call("plan", &["--hypervisor", "qemu", "--accelerator", "tcg"]).finish();
    let plan = &ended.event("plan")["plan"];
    assert_eq!(plan["copied"], serde_json::Value::Null);
    assert!(plan["lacks"].as_array().unwrap().contains(&"usb".into()), "{plan}");
}

#[test]
fn without_its_kernel_module_virtualbox_is_not_taken_unasked_and_says_why() {
    let bench = Bench::new(b'P');
    bench.write_manifest("hypervisors: {order: [virtualbox, qemu]}\n");
    let ended = bench.call("plan", &["--headless"]).finish();
    assert_eq!(ended.event("plan")["plan"]["hypervisor"]["hypervisor"], "qemu");
    let told =
        ended.events.iter().filter(|event| event["event"] == "notice").map(|event| event["text"].to_string());
    assert!(told.collect::<String>().contains("kernel module is not loaded"), "{:?}", ended.events);
    // Nor is one that the drive's owner does not list.
    bench.write_manifest("hypervisors: {order: [virtualbox]}\n");
    let ended = bench.call("plan", &["--headless"]).finish();
    ended.expect(5);
}

#[test]
fn a_drive_that_is_pulled_pauses_the_guest_which_goes_on_when_it_is_back() {
    let bench = Bench::new(b'W');
    let mut session = bench.virtualbox();
    session.says("waits");
    let away = bench.path().join("pulled");
    std::fs::rename(&bench.drive, &away).unwrap();
    session.event("drive-gone", |event| event["code"] == "drive-gone");
    session.guest("paused");
    std::fs::rename(&away, &bench.drive).unwrap();
    session.event("drive-back", |event| event["code"] == "drive-back");
    session.guest("running");
    session.interrupt();
    session.finish().expect(0);
    assert_eq!((bench.count("system"), bench.count("user")), (1, 1));
    bench.assert_as_before();
}

#[test]
fn a_folder_of_the_pc_is_shared_only_if_it_is_one_and_not_the_drive() {
    let bench = Bench::new(b'P');
    let share = bench.path().join("exchange");
    std::fs::create_dir(&share).unwrap();
    let rendered = |path: &str| {
        let more =
            ["--hypervisor", "virtualbox", "--accelerator", "interpreter", "--headless", "--share", path];
        bench.call("render", &more).finish()
    };
    let good = rendered(share.to_str().unwrap());
    good.expect(0);
    let files = good.event("rendered")["files"].to_string();
    assert!(files.contains("SharedFolder") && files.contains("exchange"), "{files}");
    for path in
        [&bench.drive, &bench.drive.join("disks"), &share.join("no such"), &bench.drive.join("pocketvm.yaml")]
    {
        rendered(path.to_str().unwrap()).expect(2);
    }
}
