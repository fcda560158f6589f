//! A guest that is changed for VirtualBox: in the overlay of its copy, and with that on the drive.

use std::process::Command;

use crate::bench::{Bench, assembled, must};
use pocketvm_specimen::flavours::Flavour;
use pocketvm_specimen::hives::number;
use pocketvm_specimen::image::{Layout, START};
use pocketvm_specimen::programs::run;

/// Bytes of code before the partition table.
const CODE: usize = 0x1b8;
/// Where the code has its mode: `P` powers off.
const MODE: usize = 0x1b0;

#[test]
fn what_is_changed_for_virtualbox_is_saved_once_and_exactly() {
    // A Windows, but what starts from its disk is a few bytes that power off.
    let mut content = Flavour::windows_10().image(Layout::Whole).bytes;
    content[..CODE].copy_from_slice(&assembled("guest/tpm.S")[..CODE]);
    content[MODE] = b'P';
    let bench = Bench::of(content.clone());
    let manifest = bench.drive.join("pocketvm.yaml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let text = text.replacen("base.qcow2, keep: true}", "base.qcow2, keep: true, controller: ide}", 1);
    std::fs::write(&manifest, text.replace("16 MiB}\n", "64 MiB}\n")).unwrap();

    let mut session = bench.virtualbox();
    let adapted = session.event("adapted", |event| event["event"] == "adapted")["adapted"].clone();
    session.finish().expect(0);
    assert_eq!((&adapted["hypervisor"], &adapted["controller"]), (&"virtualbox".into(), &"ide".into()));
    assert_eq!(adapted["changes"].as_array().unwrap().len(), 1, "{adapted}");
    bench.assert_as_before();

    let (before, after) = (bench.path().join("before"), bench.path().join("after"));
    std::fs::write(&before, &content).unwrap();
    must(Command::new("qemu-img").args(["check", "-q"]).arg(bench.base("system")));
    must(Command::new("qemu-img").args(["convert", "-O", "raw"]).arg(bench.base("system")).arg(&after));
    let seen = std::fs::read(&after).unwrap();
    assert_eq!(content.iter().zip(&seen).filter(|(one, other)| one != other).count(), 4);
    let volume = bench.path().join("volume");
    std::fs::write(&volume, &seen[START as usize..content.len() - START as usize]).unwrap();
    run("ntfsfix", ["-n".as_ref(), volume.as_os_str()]);
    let hive = bench.path().join("hive");
    std::fs::write(&hive, run("ntfscat", [volume.as_os_str(), "/Windows/System32/config/SYSTEM".as_ref()]))
        .unwrap();
    assert_eq!(number(&hive, r"ControlSet001\Services\intelide\StartOverride", "0"), 0);

    // It has them now, whatever it meets.
    let mut session = bench.virtualbox();
    let adapted = session.event("adapted", |event| event["event"] == "adapted")["adapted"].clone();
    session.finish().expect(0);
    assert_eq!(adapted["changes"], serde_json::json!([]));
    bench.assert_as_before();
}
