//! The proof of an accelerator, with a real QEMU and with programs that behave like bad ones.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pocketvm::hypervisor::qemu::probe::{PAYLOAD, Patience, Proof, prove};

use crate::bench::{run, text};

const PATIENCE: Patience = Patience { start: Duration::from_secs(10), work: Duration::from_secs(10) };

/// Emulation on a PC that also builds something; a hundred times slower would be a wrong measurement.
const SLOWEST: u64 = 20_000;

#[test]
fn the_committed_payload_is_what_its_source_builds() {
    let folder = tempfile::tempdir().unwrap();
    let built = folder.path().join("probe.bin");
    run(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/probe/build.sh"), &[text(&built)]);
    assert!(std::fs::read(built).unwrap() == PAYLOAD, "run assets/probe/build.sh and commit probe.bin");
}

#[test]
fn emulation_runs_the_payload_to_its_end() {
    let qemu = PathBuf::from("/usr/bin/qemu-system-x86_64");
    let Proof::Rate(rate) = prove(&qemu, "tcg", "max", PATIENCE).unwrap() else { panic!("no rate") };
    assert!(rate > SLOWEST, "{rate} thousand loops a second");
}

#[test]
fn an_accelerator_that_qemu_does_not_have_is_told_in_its_words() {
    let qemu = PathBuf::from("/usr/bin/qemu-system-x86_64");
    let Proof::Crashed(words) = prove(&qemu, "hax", "max", PATIENCE).unwrap() else { panic!("no words") };
    assert!(words.contains("accelerator"), "{words}");
}

/// What is concluded about a program that does `what`, and how long it takes.
fn conclusion(what: &str, patience: Patience) -> (Proof, Duration) {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("qemu");
    std::fs::write(&program, format!("#!/bin/sh\n{what}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    let start = Instant::now();
    (prove(&program, "kvm", "host", patience).unwrap(), start.elapsed())
}

#[test]
fn a_slow_or_silent_accelerator_is_stopped_in_time() {
    let short = Patience { start: Duration::from_secs(5), work: Duration::from_millis(200) };
    let (proof, time) = conclusion("printf S; sleep 60", short);
    assert_eq!(proof, Proof::Rate(20_000), "one chunk at most in that time");
    assert!(time < Duration::from_secs(6), "{time:?}");

    let (proof, _) = conclusion("printf S..; sleep 60", short);
    assert_eq!(proof, Proof::Rate(40_000));

    let impatient = Patience { start: Duration::from_millis(200), work: Duration::from_secs(10) };
    let (proof, time) = conclusion("sleep 60", impatient);
    assert_eq!(proof, Proof::Silent);
    assert!(time < Duration::from_secs(3), "{time:?}");
}

#[test]
fn an_accelerator_that_ends_early_has_not_proved_anything() {
    let (proof, _) = conclusion("echo 'Assertion failed' >&2; kill -ABRT $$", PATIENCE);
    assert_eq!(proof, Proof::Crashed("Assertion failed".into()));
    let (proof, _) = conclusion("printf S......", PATIENCE);
    assert_eq!(proof, Proof::Crashed("it ended with code 0".into()));
    // All the work, but not the end that only the payload can cause.
    let (proof, _) = conclusion("printf S....................", PATIENCE);
    assert_eq!(proof, Proof::Crashed("it ended with code 0".into()));
    let (proof, _) = conclusion("printf S....................; exit 33", PATIENCE);
    assert!(matches!(proof, Proof::Rate(_)), "{proof:?}");
}
