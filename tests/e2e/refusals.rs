//! What is refused, with which exit code, and whether the message says what a person needs.

use rustix::process::Signal;

use super::harness::{Bench, Drive, Options, Pc, small_disk};

#[test]
fn a_second_launcher_is_refused_and_told_who_holds_the_drive() {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &Options::new("wait"));
    let pc = Pc::new(&bench, "reception");
    let mut launcher = pc.run(&drive);
    launcher.guest("wait");

    let refused = pc.run(&drive).finish();
    refused.expect(4);
    assert!(refused.error().contains("reception"), "{}", refused.error());
    // The guest that runs does not notice.
    launcher.signal(Signal::INT);
    launcher.finish().expect(0);
}

#[test]
fn a_mistake_in_the_manifest_is_one_sentence_with_line_and_column() {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &Options::new("show"));
    let pc = Pc::new(&bench, "pc");
    let manifest = drive.path.join("pocketvm.yaml");
    let good = std::fs::read_to_string(&manifest).unwrap();
    for (from, to, needle, line) in [
        ("schema: 1", "schema: 99", "newer", 1),
        ("  name: Test guest", "  nmae: Test guest", "name", 3),
        ("  min: 256 MiB", "  min: lots", "lots", 5),
        ("disks/system/base.qcow2", "../../etc/passwd", "etc/passwd", 12),
        ("keep: false", "keep: perhaps", "yes or no", 13),
        ("controller: ahci", "controller: scsi", "scsi", 14),
        ("  - name: user", "  - name: system", "system", 15),
        ("  size: 128 MiB", "  size: 12 parsec", "parsec", 20),
        ("plain: accepted", "plain: accepted: x", "", 23),
    ] {
        assert!(good.contains(from), "{from}");
        std::fs::write(&manifest, good.replacen(from, to, 1)).unwrap();
        let refused = pc.run(&drive).finish();
        refused.expect(3);
        let error = refused.error();
        assert!(error.contains(needle), "{to}: {error}");
        assert!(error.contains(&format!("line {line}")) && error.contains("column"), "{to}: {error}");
    }
}

#[test]
fn too_little_memory_is_refused_with_the_missing_number_and_without_a_trace() {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &Options::new("show"));
    let pc = Pc::new(&bench, "pc");
    let manifest = drive.path.join("pocketvm.yaml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("256 MiB", "900 GiB")).unwrap();
    let refused = pc.run(&drive).finish();
    refused.expect(5);
    assert!(refused.error().contains("MiB"), "the number should be named: {}", refused.error());
    pc.assert_as_before();
    drive.assert_untouched();
}

#[test]
fn too_little_room_on_this_pc_is_refused_with_the_missing_number_and_without_a_trace() {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &Options::new("show"));
    let pc = Pc::new(&bench, "pc");
    small_disk(&bench, 24, &pc.scratch);
    let refused = pc.run(&drive).finish();
    refused.expect(5);
    assert!(refused.error().contains("MiB"), "the number should be named: {}", refused.error());
    pc.assert_as_before();
    drive.assert_untouched();
}

#[test]
fn unencrypted_scratch_needs_the_owners_consent() {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &Options::new("poweroff"));
    let pc = Pc::new(&bench, "pc");
    let manifest = drive.path.join("pocketvm.yaml");
    let text = std::fs::read_to_string(&manifest).unwrap().replace("plain: accepted", "plain: ask");
    std::fs::write(&manifest, text).unwrap();
    let refused = pc.run(&drive).finish();
    refused.expect(5);
    assert!(refused.error().contains("--accept-plain-scratch"), "{}", refused.error());
    pc.run_with(&drive, &["--accelerator", "tcg", "--accept-plain-scratch"]).finish().expect(0);
}

#[test]
fn a_folder_without_a_manifest_is_no_drive() {
    let bench = Bench::new();
    let pc = Pc::new(&bench, "pc");
    let folder = bench.folder("empty");
    let refused = pc.call(&["run", folder.to_str().unwrap(), "--headless"]);
    refused.expect(3);
    assert!(refused.error().contains(folder.to_str().unwrap()), "{}", refused.error());
}

#[test]
fn a_damaged_base_is_refused_before_anything_starts() {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &Options::new("poweroff"));
    let pc = Pc::new(&bench, "pc");
    std::fs::write(drive.base("user"), b"QFI\xfb and then nothing that makes sense").unwrap();
    pc.run(&drive).finish().expect(10);
    pc.assert_as_before();
}
