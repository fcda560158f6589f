//! The QEMU door against a real QEMU with emulation and a guest of one boot sector.
#![allow(missing_docs)]

#[path = "qemu_door/bench.rs"]
mod bench;

use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bench::{Bench, SOON, door, ending, next, run, text, wait_for};
use pocketvm::hypervisor::qemu::TEMPLATE;
use pocketvm::hypervisor::{Ending, GuestEvent, Hypervisor as _, Places, Verdicts, detect, open};

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
    let candidates = detect(&Places::default(), &mut verdicts, &|_| {});
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
    let again = detect(&Places::default(), &mut verdicts, &|_| {});
    let second = start.elapsed();
    assert!(again[0].accelerators.iter().all(|a| a.remembered || a.rejected.is_some()), "{again:?}");
    assert!(second < Duration::from_millis(1000), "took {second:?}");
    assert!(open(again[0].clone()).is_ok());
}
