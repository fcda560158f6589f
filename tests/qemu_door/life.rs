//! The life of a guest: start, levers, every way to end, and a new launcher.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pocketvm::hypervisor::qemu::TEMPLATE;
use pocketvm::hypervisor::{
    Ending, GuestEvent, Hypervisor as _, MachineDisk, Places, Verdicts, detect, open,
};

use crate::bench::{Bench, SOON, door, ending, nasty_folder, next, run, scratch_in, text, wait_for};

#[test]
fn a_guest_that_powers_itself_off_ends_cleanly() {
    let bench = Bench::new(b'P');
    let running = bench.launch();
    assert_eq!(next(&running.events), GuestEvent::Running);
    assert_eq!(next(&running.events), GuestEvent::ShuttingDown { by_guest: true });
    assert_eq!(next(&running.events), GuestEvent::Ended(Ending::PoweredOff));
    assert_eq!(bench.serial(), "ready\r\n");
}

#[test]
fn machines_with_several_disks_start_on_every_controller() {
    for controller in ["ahci", "virtio", "ide"] {
        let mut bench = Bench::new(b'P');
        bench.machine.disks[0].controller = controller.into();
        for name in ["user", "paging"] {
            let overlay = bench.machine.scratch.join(name);
            run("qemu-img", &["create", "-q", "-f", "qcow2", text(&overlay), "64M"]);
            let (base, controller) = (None, controller.into());
            bench.machine.disks.push(MachineDisk {
                name: name.into(),
                overlay,
                size: 64 << 20,
                base,
                controller,
            });
        }
        assert_eq!(ending(&bench.launch().events), Ending::PoweredOff, "{controller}");
    }
}

#[test]
fn the_power_button_reaches_the_guest() {
    let bench = Bench::new(b'W');
    let running = bench.launch();
    bench.wait_for_serial(|said| said.contains("ready"));
    running.guest.shut_down().unwrap();
    assert_eq!(next(&running.events), GuestEvent::Running);
    assert_eq!(next(&running.events), GuestEvent::ShuttingDown { by_guest: false });
    assert_eq!(next(&running.events), GuestEvent::ShuttingDown { by_guest: true });
    assert_eq!(next(&running.events), GuestEvent::Ended(Ending::PoweredOff));
}

#[test]
fn a_guest_is_paused_resumed_measured_and_forced_off() {
    let bench = Bench::new(b'W');
    let running = bench.launch();
    assert_eq!(next(&running.events), GuestEvent::Running);
    running.guest.pause().unwrap();
    assert_eq!(next(&running.events), GuestEvent::Paused);
    running.guest.resume().unwrap();
    assert_eq!(next(&running.events), GuestEvent::Running);
    assert!(running.guest.figures().unwrap().memory > 10 << 20);
    running.guest.force_off().unwrap();
    assert_eq!(ending(&running.events), Ending::Forced);
    assert!(running.guest.figures().is_err());
    assert!(running.guest.pause().is_err());
    running.guest.force_off().expect("forcing off what has ended is no failure");
}

#[test]
fn a_restart_is_told_and_a_panic_is_no_clean_end() {
    let bench = Bench::new(b'T');
    let running = bench.launch();
    wait_for(&running.events, |event| *event == GuestEvent::Reset);
    running.guest.force_off().unwrap();
    assert_eq!(ending(&running.events), Ending::Forced);

    let bench = Bench::new(b'X');
    let running = bench.launch();
    wait_for(&running.events, |event| *event == GuestEvent::Panicked);
    assert_eq!(ending(&running.events), Ending::Panicked);
}

#[test]
fn a_killed_qemu_is_told_from_a_guest_that_ended() {
    let bench = Bench::new(b'W');
    let running = bench.launch();
    assert_eq!(next(&running.events), GuestEvent::Running);
    run("kill", &["-9", &running.guest.process_id().to_string()]);
    let detail = "it was killed (signal 9)".to_owned();
    assert_eq!(ending(&running.events), Ending::HypervisorDied { detail });
}

#[test]
fn a_qemu_that_can_not_start_says_why() {
    let bench = Bench::new(b'P');
    let rendered = door().render(&bench.machine, TEMPLATE).unwrap();
    std::fs::remove_file(&bench.machine.disks[0].base.as_ref().unwrap().path).unwrap();
    let error = door().launch(&bench.machine, &rendered).err().expect("no base, no start");
    assert!(error.to_string().contains("No such file"), "{error}");
    assert!(error.to_string().contains("base, ö"), "{error}");
}

#[test]
fn detection_judges_every_accelerator_in_time_and_remembers_it() {
    let mut verdicts = Verdicts::new();
    let start = Instant::now();
    let candidates = detect(&Places::default(), &["qemu".to_owned()], &mut verdicts, &|_| {});
    let first = start.elapsed();
    assert!(first < Duration::from_secs(3), "took {first:?}");
    let best = candidates.first().expect("QEMU is installed: install qemu-system-x86");
    assert!(best.is_usable(), "{best:?}");
    assert!(best.version.is_some());
    let tcg = best.accelerators.last().unwrap();
    assert_eq!(tcg.name, "tcg");
    assert!(tcg.rate.unwrap() > 0 && !tcg.remembered);
    for accelerator in &best.accelerators {
        let slower = accelerator.rate.is_none_or(|rate| Some(rate) < tcg.rate);
        assert_eq!(accelerator.rejected.is_some(), slower && accelerator.name != "tcg", "{accelerator:?}");
    }

    let start = Instant::now();
    let again = detect(&Places::default(), &["qemu".to_owned()], &mut verdicts, &|_| {});
    let second = start.elapsed();
    assert!(again[0].accelerators.iter().all(|a| a.remembered || a.rejected.is_some()), "{again:?}");
    assert!(second < Duration::from_millis(1000), "took {second:?}");
    assert!(open(again[0].clone()).is_ok());
}

/// Names the folder in which [`a_launcher_for_the_test_below`] works.
const FOLDER: &str = "POCKETVM_TEST_FOLDER";

/// No test of its own: the process that [`a_guest_outlives_its_launcher_and_is_taken_over`] starts and kills.
#[test]
#[ignore = "started by another test"]
fn a_launcher_for_the_test_below() {
    let folder = std::env::var_os(FOLDER).expect("started by another test");
    let running = Bench::at(b'W', Path::new(&folder)).launch();
    eprintln!("launched");
    for event in running.events {
        eprintln!("{event:?}");
    }
}

#[test]
fn a_guest_outlives_its_launcher_and_is_taken_over() {
    let folder = nasty_folder();
    let mut launcher = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "life::a_launcher_for_the_test_below", "--ignored", "--nocapture"])
        .env(FOLDER, folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(launcher.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.any(|line| line == "Running"), "the guest was started");
    let scratch = scratch_in(folder.path());
    let error = pocketvm::hypervisor::adopt(&scratch).err().expect("its launcher lives");
    assert!(error.to_string().contains("can't be reached"), "{error}");

    launcher.kill().unwrap();
    launcher.wait().unwrap();
    assert_eq!(said.next(), None, "the guest does not hold what its launcher wrote to");
    let running = pocketvm::hypervisor::adopt(&scratch).unwrap().expect("the guest still runs");
    assert_eq!(next(&running.events), GuestEvent::Running);
    running.guest.pause().unwrap();
    assert_eq!(next(&running.events), GuestEvent::Paused);
    running.guest.resume().unwrap();
    assert_eq!(next(&running.events), GuestEvent::Running);
    running.guest.shut_down().unwrap();
    assert_eq!(ending(&running.events), Ending::PoweredOff);
    assert!(pocketvm::hypervisor::adopt(&scratch).unwrap().is_none(), "nothing runs there any more");
}

#[test]
fn the_end_of_a_guest_is_known_although_nobody_was_there() {
    for (mode, ending) in [(b'P', Ending::PoweredOff), (b'X', Ending::Panicked)] {
        let bench = Bench::new(mode);
        let running = bench.launch();
        let process = running.guest.process_id();
        // Nobody listens any more, and the channel is closed.
        drop(running);
        wait_until_gone(process);
        assert_eq!(pocketvm::hypervisor::ending(&bench.machine.scratch).unwrap(), Some(ending));
    }
    let bench = Bench::new(b'W');
    assert_eq!(pocketvm::hypervisor::ending(&bench.machine.scratch).unwrap(), None, "none was started");
    let running = bench.launch();
    assert_eq!(pocketvm::hypervisor::ending(&bench.machine.scratch).unwrap(), None, "it runs");
    run("kill", &["-9", &running.guest.process_id().to_string()]);
    ending(&running.events);
    let detail = "it ended without a word".to_owned();
    let died = Some(Ending::HypervisorDied { detail });
    assert_eq!(pocketvm::hypervisor::ending(&bench.machine.scratch).unwrap(), died);
}

fn wait_until_gone(process: u32) {
    let start = Instant::now();
    while Path::new(&format!("/proc/{process}")).exists() {
        assert!(start.elapsed() < SOON, "process {process} does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_record_that_names_another_process_leads_to_no_adoption() {
    let bench = Bench::new(b'W');
    let running = bench.launch();
    let file = bench.machine.scratch.join("hypervisor.json");
    let record = std::fs::read_to_string(&file).unwrap();
    running.guest.force_off().unwrap();
    let mine = record.replace(
        &format!("\"pid\":{}", running.guest.process_id()),
        &format!("\"pid\":{}", std::process::id()),
    );
    assert_ne!(mine, record);
    std::fs::write(&file, mine).unwrap();
    assert!(pocketvm::hypervisor::adopt(&bench.machine.scratch).unwrap().is_none());
    std::fs::write(&file, "{").unwrap();
    assert!(pocketvm::hypervisor::adopt(&bench.machine.scratch).unwrap().is_none());
    assert!(pocketvm::hypervisor::was_started(&bench.machine.scratch).unwrap(), "damaged is not absent");
    std::fs::remove_file(&file).unwrap();
    assert!(!pocketvm::hypervisor::was_started(&bench.machine.scratch).unwrap());
}

#[test]
fn a_base_is_opened_again_although_the_record_can_not_be_written_also_by_the_next_launcher() {
    let bench = Bench::new(b'W');
    let base = bench.machine.disks[0].base.as_ref().unwrap();
    let running = bench.launch();
    wait_for(&running.events, |event| *event == GuestEvent::Running);
    running.guest.pause().unwrap();
    let file = bench.machine.scratch.join("hypervisor.json");
    let record = std::fs::read(&file).unwrap();
    // A folder in its place, as nothing else keeps root from writing.
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir_all(file.join("in the way")).unwrap();
    running.guest.reopen_base("system", base).unwrap();
    drop(running);

    std::fs::remove_dir_all(&file).unwrap();
    std::fs::write(&file, record).unwrap();
    let running = pocketvm::hypervisor::adopt(&bench.machine.scratch).unwrap().expect("the guest still runs");
    running.guest.reopen_base("system", base).unwrap();
    running.guest.force_off().unwrap();
    assert_eq!(ending(&running.events), Ending::Forced);
}

#[test]
fn a_machine_with_every_device_that_this_qemu_has_starts() {
    let mut bench = Bench::new(b'P');
    let has = door().capabilities().devices;
    bench.machine.devices = has;
    bench.machine.display = Some((1280, 800));
    let share = bench.machine.scratch.join("shared, ß");
    std::fs::create_dir(&share).unwrap();
    bench.machine.share = Some(share);
    assert!(has.share && has.network, "{has:?}");
    assert_eq!(ending(&bench.launch().events), Ending::PoweredOff);
}
