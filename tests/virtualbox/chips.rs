//! What a machine's chips remember goes with it from one hypervisor to the next.

use std::io::Read as _;
use std::process::Command;

use crate::bench::{Bench, Session, assembled, must, wait_until};

/// A drive with a TPM, whose guest asks the TPM whether it knows it: see tpm.S.
fn bench() -> Bench {
    let bench = Bench::of(assembled("guest/tpm.S"));
    std::fs::create_dir(bench.drive.join("disks/tpm")).unwrap();
    must(Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(bench.base("tpm")).arg("1M"));
    bench.write_manifest_with("- {name: tpm, file: disks/tpm/base.qcow2, keep: true, controller: tpm}\n", "");
    bench
}

/// Lets the guest run, and says what it heard from its TPM.
fn answer(mut session: Session) -> String {
    let log = session.log();
    wait_until("the guest has a serial port", || log.exists());
    // The file is gone before the session has ended; what was in it is not, for us.
    let mut log = std::fs::File::open(log).unwrap();
    session.finish().expect(0);
    let mut said = String::new();
    log.read_to_string(&mut said).unwrap();
    said
}

#[test]
fn a_tpm_goes_with_the_machine_from_virtualbox_to_qemu_and_back() {
    let bench = bench();
    for turn in 0..4 {
        let session = if turn % 2 == 0 { bench.virtualbox() } else { bench.qemu() };
        let expected = if turn == 0 { "tpm new\r\n" } else { "tpm known\r\n" };
        assert_eq!(answer(session), expected, "in turn {turn}");
        bench.assert_as_before();
        must(Command::new("qemu-img").args(["check", "-q"]).arg(bench.base("tpm")));
    }
}

#[test]
fn a_tpm_that_began_in_qemu_is_known_in_virtualbox_and_is_undone_with_the_disks() {
    let bench = bench();
    assert_eq!(answer(bench.qemu()), "tpm new\r\n");
    bench.call("undo", &[]).finish().expect(0);
    assert_eq!(answer(bench.qemu()), "tpm new\r\n");
    assert_eq!(answer(bench.virtualbox()), "tpm known\r\n");
    bench.assert_as_before();
}
