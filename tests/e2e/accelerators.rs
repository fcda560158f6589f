//! An accelerator is judged by what it does, not by its name.

use super::harness::{Bench, Drive, Finished, Options, Pc};

/// A PC whose QEMU does `what` (shell commands) when it is to use KVM.
fn pc_with_bad_kvm(bench: &Bench, what: &str) -> Pc {
    let questions = "-accel*help | *-version* | *-display*help";
    Pc::new(bench, "pc").with_qemu(bench, &format!("{questions}) ;; *kvm*) {what} ;;"))
}

/// What was found about KVM.
fn kvm(finished: &Finished) -> serde_json::Value {
    let candidates = finished.all("candidate");
    let found = candidates.iter().find_map(|event| {
        let accelerators = event["candidate"]["accelerators"].as_array()?;
        accelerators.iter().find(|accelerator| accelerator["name"] == "kvm").cloned()
    });
    found.unwrap_or_else(|| panic!("nothing is said about KVM\n{}", finished.report()))
}

#[test]
fn a_crashing_accelerator_is_rejected_remembered_and_the_guest_runs_by_emulation() {
    let bench = Bench::new();
    let pc = pc_with_bad_kvm(&bench, "kill -ABRT $$");
    let drive = Drive::create(&bench.folder("drive"), &Options::new("marker ran"));
    let finished = pc.run_with(&drive, &[]).finish();
    finished.expect(0);
    assert_eq!(finished.guest("marker").len(), 1);
    assert_eq!(finished.all("plan")[0]["plan"]["hypervisor"]["accelerator"], "tcg");
    let verdict = kvm(&finished);
    assert!(verdict["rejected"]["reason"].is_string() && verdict["remembered"] == false, "{verdict}");

    let verdict = kvm(&pc.call(&["detect", drive.path.to_str().unwrap()]));
    assert!(verdict["rejected"]["reason"].is_string() && verdict["remembered"] == true, "{verdict}");
}

#[test]
fn a_hanging_accelerator_is_given_up_within_seconds() {
    let bench = Bench::new();
    let pc = pc_with_bad_kvm(&bench, "exec sleep 600");
    let drive = Drive::create(&bench.folder("drive"), &Options::new("poweroff"));
    let start = std::time::Instant::now();
    let finished = pc.call(&["detect", drive.path.to_str().unwrap()]);
    finished.expect(0);
    assert!(kvm(&finished)["rejected"]["reason"].is_string(), "{}", finished.report());
    // Three seconds for the accelerator; the rest is the judging of emulation on a busy machine.
    assert!(start.elapsed().as_secs() < 8, "it took {:?}", start.elapsed());
}
