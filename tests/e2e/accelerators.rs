//! An accelerator is judged by what it does, not by its name.

use std::os::unix::fs::PermissionsExt;

use super::harness::{Bench, Drive, Options, Pc, find_program};

#[test]
fn a_crashing_accelerator_is_rejected_and_the_guest_runs_by_emulation() {
    let bench = Bench::new();
    let mut pc = Pc::new(&bench, "pc");
    // A QEMU whose KVM aborts, as some CPU models make it do; everything else is the real one.
    let programs = bench.folder("programs");
    let wrapper = programs.join("qemu-system-x86_64");
    let real = find_program("qemu-system-x86_64").unwrap();
    let script =
        format!("#!/bin/sh\ncase \"$*\" in *kvm*) kill -ABRT $$;; esac\nexec '{}' \"$@\"\n", real.display());
    std::fs::write(&wrapper, script).unwrap();
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
    pc.programs = Some(programs);

    let drive = Drive::create(&bench.folder("drive"), &Options::new("marker ran"));
    let finished = pc.run_with(&drive, &[]).finish();
    finished.expect(0);
    assert_eq!(finished.guest("marker").len(), 1);
    let candidates = finished.all("candidate");
    assert!(!candidates.is_empty(), "{}", finished.report());
}
