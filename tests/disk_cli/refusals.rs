//! What is refused: one sentence, what is safe, a hint, and an exit code; and nothing is touched.

use insta::assert_snapshot;
use pocketvm_disk::CommitFile;

use super::bench::{Bench, Writer, io, poke, qemu, refused, text};

#[test]
fn each_base_that_is_not_supported_is_refused_with_its_own_sentence() {
    let bench = Bench::new();
    let merge = ["merge", "base.qcow2", "overlay.qcow2"];
    let plain = bench.image("plain.qcow2", "", "16M");
    io(&plain, &["write -P 1 0 1M"]);
    bench.overlay("overlay.qcow2", &plain, "", &["write -P 2 0 1M"]);
    let base = bench.path("base.qcow2");
    let copied = || {
        std::fs::copy(&plain, &base).unwrap();
    };
    let mut answers = String::new();
    let mut answer = |what| answers.push_str(&refused(&bench, what, &merge));

    answer("it does not exist");
    std::fs::write(&base, "nothing that makes sense").unwrap();
    answer("no image");
    copied();
    poke(&base, 4, &1u32.to_be_bytes());
    answer("an old version");
    let secret = ["--object", "secret,id=s,data=abc", "-f", "qcow2"];
    // Not LUKS: to make that, QEMU measures the processor, which fails now and then on a busy one.
    let options = ["-o", "encrypt.format=aes,encrypt.key-secret=s", text(&base), "16M"];
    qemu("qemu-img", &[&["create", "-q"][..], &secret, &options].concat());
    answer("encrypted");
    bench.image("base.qcow2", &format!("data_file={}", text(&bench.path("data"))), "16M");
    answer("external data");
    copied();
    qemu("qemu-img", &["snapshot", "-c", "one", text(&base)]);
    answer("a snapshot");
    copied();
    qemu("qemu-img", &["bitmap", "--add", text(&base), "dirty"]);
    answer("a bitmap");
    copied();
    poke(&base, 79, &[1]);
    answer("dirty");
    poke(&base, 79, &[2]);
    answer("corrupt");
    poke(&base, 72, &[0x40]);
    answer("features of the future");
    copied();
    std::fs::OpenOptions::new().write(true).open(&base).unwrap().set_len(192 * 1024).unwrap();
    answer("cut short");
    bench.overlay("base.qcow2", &plain, "", &[]);
    answer("a backing file by an absolute path");
    let _ = std::fs::remove_file(&base);
    let options = ["-b", "plain.qcow2", "-F", "qcow2"];
    qemu("qemu-img", &[&["create", "-q", "-f", "qcow2"][..], &options, &[text(&base)]].concat());
    bench.overlay("overlay.qcow2", &base, "", &[]);
    answers.push_str(&refused(&bench, "the wrong way round", &["merge", "overlay.qcow2", "base.qcow2"]));
    answers.push_str(&refused(
        &bench,
        "the wrong way round, by a relative name",
        &["merge", "base.qcow2", "plain.qcow2"],
    ));
    bench.image("base.qcow2", "", "32M");
    answers.push_str(&refused(&bench, "larger than the overlay", &merge));
    copied();
    poke(&base, 32, &2u32.to_be_bytes());
    for command in ["info", "check", "map"] {
        let what = format!("{command} of an encrypted image");
        answers.push_str(&refused(&bench, &what, &[command, "base.qcow2"]));
    }
    assert_snapshot!(answers);
}

#[test]
fn a_base_with_wrong_counts_gets_no_generation() {
    let bench = Bench::new();
    let base = bench.image("base.qcow2", "", "16M");
    io(&base, &["write -P 1 0 1M"]);
    bench.overlay("overlay.qcow2", &base, "", &["write -P 2 0 1M"]);
    poke(&base, 0x20000 + 5 * 2, &[0, 0]);
    let before = std::fs::read(&base).unwrap();
    let ran = bench.disk(&["merge", "base.qcow2", "overlay.qcow2"]);
    assert_eq!(ran.code, Some(10), "{}", ran.stderr);
    assert!(ran.stderr.contains("1 errors in its tables"), "{}", ran.stderr);
    assert_eq!(std::fs::read(&base).unwrap(), before);
}

#[test]
fn a_command_line_that_makes_no_sense_is_refused_before_anything_is_made() {
    let bench = Bench::new();
    for name in ["a/base.qcow2", "b/base.qcow2"] {
        let base = bench.image(name, "", "16M");
        bench.overlay("overlay.qcow2", &base, "", &["write -P 2 0 1M"]);
    }
    std::fs::create_dir_all(bench.path("drive/disks")).unwrap();
    std::fs::write(bench.path("drive/pocketvm.yaml"), "schema: 1\n").unwrap();
    bench.image("drive/disks/base.qcow2", "", "16M");
    std::os::unix::fs::symlink("../b/base.qcow2", bench.path("a/link.qcow2")).unwrap();
    let id = "0f6f3a43-5d5e-4b7c-9f0e-3a1c5b2d7e11";
    let cases: [(&str, &[&str]); 20] = [
        ("a base without an overlay", &["merge", "a/base.qcow2", "overlay.qcow2", "b/base.qcow2"]),
        ("one image", &["merge", "a/base.qcow2"]),
        ("an image into itself", &["merge", "a/base.qcow2", "a/../a/base.qcow2"]),
        ("a base twice", &["merge", "a/base.qcow2", "overlay.qcow2", "a/base.qcow2", "overlay.qcow2"]),
        (
            "a base beside the record's folder",
            &["merge", "a/base.qcow2", "overlay.qcow2", "b/base.qcow2", "overlay.qcow2"],
        ),
        ("a link out of the record's folder", &["merge", "--record", "a/r", "a/link.qcow2", "overlay.qcow2"]),
        ("a base of a drive", &["merge", "drive/disks/base.qcow2", "overlay.qcow2"]),
        ("undo on a drive", &["undo", "drive/disks/base.qcow2"]),
        ("no such overlay", &["merge", "a/base.qcow2", "nothing.qcow2"]),
        ("no such folder of a record", &["merge", "--record", "no/r", "a/base.qcow2", "overlay.qcow2"]),
        (
            "an expectation too many",
            &["merge", "a/base.qcow2", "overlay.qcow2", "--expect", id, "--expect", id],
        ),
        ("no generation", &["merge", "a/base.qcow2", "overlay.qcow2", "--expect", "latest"]),
        ("a raw base that is none", &["merge", "a/base.qcow2", "overlay.qcow2", "--raw", "b/base.qcow2"]),
        ("a raw base that does not exist", &["merge", "a/base.qcow2", "overlay.qcow2", "--raw", "none"]),
        ("compacting a base of a drive", &["compact", "drive/disks/base.qcow2"]),
        ("a state that is no number", &["undo", "a/base.qcow2", "--to", "first"]),
        ("none to keep", &["merge", "a/base.qcow2", "overlay.qcow2", "--keep", "0"]),
        ("undo without a record", &["undo", "a/base.qcow2"]),
        ("history without a record", &["history", "a/base.qcow2"]),
        ("an image for a record", &["history", "--record", "a/base.qcow2"]),
    ];
    let answers: String = cases.iter().map(|(what, command)| refused(&bench, what, command)).collect();
    assert_snapshot!(answers);
}

#[test]
fn a_record_or_an_image_that_another_program_holds_is_busy() {
    let bench = Bench::new();
    let base = bench.image("base.qcow2", "", "16M");
    bench.overlay("1.qcow2", &base, "", &["write -P 1 0 1M"]);
    bench.done(&["merge", "base.qcow2", "1.qcow2"]);
    let overlay = bench.overlay("2.qcow2", &base, "", &["write -P 2 0 1M"]);
    let merge = ["merge", "base.qcow2", "2.qcow2"];
    let mut answers = String::new();

    let held = CommitFile::open(&bench.path("pocketvm.commit"), &bench.path("")).unwrap();
    for command in [&merge[..], &["undo", "base.qcow2"], &["recover", "base.qcow2"]] {
        answers.push_str(&refused(&bench, &format!("{} while a merge is under way", command[0]), command));
    }
    // Looking does not need the record.
    for command in ["history", "info", "check", "map"] {
        bench.done(&[command, "base.qcow2"]);
    }
    drop(held);
    let writer = Writer::open(&overlay);
    answers.push_str(&refused(&bench, "the overlay is written to", &merge));
    drop(writer);
    let writer = Writer::open(&base);
    answers.push_str(&refused(&bench, "the base is written to", &merge));
    drop(writer);
    assert_snapshot!(answers);
}
