//! Raw bases: named as such, never guessed, and otherwise as safe as others.

use std::path::{Path, PathBuf};

use insta::assert_snapshot;

use super::bench::{
    Bench, Writer, all_files, assert_clean, assert_same, io, make_pending, poke, qemu, refused, text,
};

/// A raw disk with something on it.
fn disk(bench: &Bench, name: &str, size: u64) -> PathBuf {
    let path = bench.path(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, vec![0; size as usize]).unwrap();
    poke(&path, 0, &vec![1; 3 << 20]);
    path
}

/// What a guest sees through an image, as bytes.
fn seen(bench: &Bench, image: &Path) -> Vec<u8> {
    std::fs::read(bench.content("seen.raw", image)).unwrap()
}

/// Compared here, as the difference would fill the screen.
fn assert_holds(base: &Path, content: &[u8], when: &str) {
    assert!(std::fs::read(base).unwrap() == content, "{when}: {} does not hold that", base.display());
}

fn journals(folder: &Path) -> usize {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_str().unwrap().ends_with(".journal")).count()
}

const COMMANDS: [&str; 4] = ["write -P 2 1M 300k", "write -z 2M 1M", "write -P 3 7000k 1k", "discard 0 64k"];

#[test]
fn a_raw_and_a_qcow2_base_change_and_go_back_together() {
    let bench = Bench::new();
    let raw = disk(&bench, "a/disk.img", 8 << 20);
    let qcow2 = bench.image("b/base.qcow2", "", "16M");
    io(&qcow2, &["write -P 1 0 2M"]);
    let overlays = [
        bench.overlay_of("raw", "r", &raw, "cluster_size=4k", &COMMANDS),
        bench.overlay("q", &qcow2, "", &COMMANDS),
    ];
    let before = (std::fs::read(&raw).unwrap(), bench.content("before.raw", &qcow2));
    let after = (seen(&bench, &overlays[0]), bench.content("after.raw", &overlays[1]));
    let hold = |(of_raw, of_qcow2): &(Vec<u8>, PathBuf), when| {
        assert_holds(&raw, of_raw, when);
        assert_clean(&qcow2);
        assert_same(&qcow2, of_qcow2);
    };
    let pairs = [text(&raw), "r", text(&qcow2), "q"];
    let more = ["--raw", text(&raw), "--record", "pocketvm.commit", "--json"];
    let merge = [&["merge"][..], &pairs, &more].concat();

    let untouched = all_files(&bench.path(""));
    let estimate = bench.done(&[&merge[..], &["--dry-run"]].concat()).event("disk-estimate");
    assert!(all_files(&bench.path("")) == untouched, "a dry run changed something");
    let ran = bench.done(&merge);
    let (disks, stamped) = (ran.event("merged")["disks"].clone(), ran.events()[..2].to_vec());
    assert_eq!((&disks[0]["name"], &disks[1]["name"]), (&"a/disk.img".into(), &"b/base.qcow2".into()));
    assert!(stamped.iter().all(|event| event["code"] == "stamped"), "{}", ran.stdout);
    assert!(disks[0]["written"].as_u64() <= estimate["disks"][0]["grows"].as_u64(), "{disks} {estimate}");
    hold(&after, "merged");
    assert_eq!(journals(&bench.path("a")), 1);

    let at = |word| bench.done(&[word, text(&qcow2), "--record", "pocketvm.commit", "--json"]);
    let moved = at("undo").event("disk-moved");
    assert_eq!(moved["disks"].as_array().unwrap().len(), 2, "{moved}");
    hold(&before, "undone");
    at("redo");
    hold(&after, "redone");
    let history = bench.done(&["history", "--record", "pocketvm.commit", "--json"]).event("disk-history");
    let of_raw =
        history["merges"][0]["disks"].as_array().unwrap().iter().find(|disk| disk["base"] == "a/disk.img");
    let of_raw = of_raw.unwrap_or_else(|| panic!("{history}"));
    assert_eq!((&of_raw["from"], &of_raw["to"]), (&disks[0]["from"], &disks[0]["to"]));

    // The record knows the base now: the generation counts, and a dry run needs no other estimate.
    let generation = disks[0]["to"].as_str().unwrap();
    let again = bench.overlay_of("raw", "again", &raw, "", &["write -P 9 5M 1M"]);
    let next = seen(&bench, &again);
    let merge =
        ["merge", text(&raw), "again", "--raw", text(&raw), "--record", "pocketvm.commit", "--expect"];
    let old = disks[0]["from"].as_str().unwrap();
    assert_eq!(bench.disk(&[&merge[..], &[old]].concat()).code, Some(9));
    bench.done(&[&merge[..], &[generation, "--dry-run"]].concat());
    let ran = bench.done(&[&merge[..], &[generation, "--json"]].concat());
    assert!(!ran.stdout.contains("stamped"), "{}", ran.stdout);
    assert_holds(&raw, &next, "merged again");
    assert_eq!(journals(&bench.path("a")), 1, "the journal of what can't be undone any more goes");
}

#[test]
fn whether_a_base_is_raw_is_never_guessed() {
    let bench = Bench::new();
    disk(&bench, "disk.img", 8 << 20);
    let base = bench.image("base.qcow2", "", "8M");
    let mut answers = String::new();
    let mut answer = |what, command: &[&str]| answers.push_str(&refused(&bench, what, command));
    // An overlay that names no base, and so says nothing of one's format.
    let silent = |name: &str, base: &Path| {
        let path = bench.overlay(name, base, "", &["write -P 2 0 64k"]);
        qemu("qemu-img", &["rebase", "-u", "-f", "qcow2", "-b", "", text(&path)]);
    };
    silent("silent", &base);
    bench.overlay_of("raw", "of-raw", &bench.path("disk.img"), "", &["write -P 2 0 64k"]);
    bench.overlay("of-qcow2", &base, "", &["write -P 2 0 64k"]);

    answer("a raw disk that is not named as one", &["merge", "disk.img", "of-raw"]);
    answer("nothing tells the format", &["merge", "disk.img", "silent"]);
    answer("the overlay knows better", &["merge", "base.qcow2", "of-qcow2", "--raw", "base.qcow2"]);
    answer(
        "an expected generation",
        &[
            "merge",
            "--raw",
            "disk.img",
            "disk.img",
            "of-raw",
            "--expect",
            "0f6f3a43-5d5e-4b7c-9f0e-3a1c5b2d7e11",
        ],
    );
    bench.done(&["merge", "base.qcow2", "silent"]);
    answer("a base with a generation", &["merge", "base.qcow2", "silent", "--raw", "base.qcow2"]);
    bench.done(&["merge", "disk.img", "silent", "--raw", "disk.img"]);
    answer("the record knows better", &["merge", "disk.img", "silent"]);
    disk(&bench, "large.img", 9 << 20);
    answer("larger than the overlay", &["merge", "large.img", "silent", "--raw", "large.img"]);
    assert_snapshot!(answers);
}

#[test]
fn a_raw_base_grows_with_its_overlay_and_shrinks_back() {
    let bench = Bench::new();
    let raw = disk(&bench, "disk.img", 4 << 20);
    let overlay = bench.overlay_of("raw", "overlay", &raw, "", &["write -P 2 3M 1M"]);
    qemu("qemu-img", &["resize", "-q", text(&overlay), "6M"]);
    io(&overlay, &["write -P 5 5M 64k"]);
    let (before, after) = (std::fs::read(&raw).unwrap(), seen(&bench, &overlay));
    assert_eq!(after.len(), 6 << 20);
    bench.done(&["merge", "disk.img", "overlay", "--raw", "disk.img"]);
    assert_holds(&raw, &after, "merged");
    bench.done(&["undo", "disk.img"]);
    assert_holds(&raw, &before, "undone");
}

#[test]
fn another_programs_write_ends_the_history_and_is_told() {
    let bench = Bench::new();
    let raw = disk(&bench, "disk.img", 4 << 20);
    let merge = ["merge", "disk.img", "overlay", "--raw", "disk.img"];
    bench.overlay_of("raw", "overlay", &raw, "", &["write -P 2 0 1M"]);
    let ran = bench.done(&[&merge[..], &["--json"]].concat());
    let generation = ran.event("merged")["disks"][0]["to"].as_str().unwrap().to_owned();
    poke(&raw, 2 << 20, b"somebody else");
    let changed = std::fs::read(&raw).unwrap();

    let expecting = bench.disk(&[&merge[..], &["--expect", &generation]].concat());
    assert_eq!(expecting.code, Some(9), "{}", expecting.stderr);
    assert!(expecting.stderr.contains("another program has written"), "{}", expecting.stderr);
    let undo = bench.disk(&["undo", "disk.img"]);
    assert_eq!(undo.code, Some(9), "{}", undo.stderr);
    assert_holds(&raw, &changed, "refused");

    let overlay = bench.overlay_of("raw", "overlay", &raw, "", &["write -P 3 3M 64k"]);
    let after = seen(&bench, &overlay);
    let ran = bench.done(&[&merge[..], &["--json"]].concat());
    let notice = ran.event("notice");
    assert_eq!(notice["code"], "stamped");
    assert!(notice["text"].as_str().unwrap().contains(&generation), "{notice}");
    assert_holds(&raw, &after, "merged");
    let history = bench.done(&["history", "disk.img", "--json"]).event("disk-history");
    assert_eq!(history["merges"].as_array().unwrap().len(), 1, "{history}");
}

#[test]
fn a_raw_base_that_somebody_reads_is_left_alone_but_a_qcow2_one_is_merged_into() {
    let bench = Bench::new();
    let raw = disk(&bench, "disk.img", 4 << 20);
    bench.overlay_of("raw", "overlay", &raw, "", &["write -P 2 0 1M"]);
    bench.done(&["merge", "disk.img", "overlay", "--raw", "disk.img"]);
    bench.overlay_of("raw", "overlay", &raw, "", &["write -P 3 0 1M"]);
    let guest = bench.overlay_of("raw", "guest", &raw, "", &[]);
    let running = Writer::open(&guest);
    for command in [&["merge", "disk.img", "overlay", "--raw", "disk.img"][..], &["undo", "disk.img"]] {
        let answer = refused(&bench, "a guest runs", command);
        assert!(
            answer.starts_with("a guest runs: 4\n    error: another program uses the base: "),
            "{answer}"
        );
    }
    drop(running);
    bench.done(&["undo", "disk.img"]);

    let base = bench.image("base.qcow2", "", "16M");
    bench.overlay("overlay", &base, "", &["write -P 3 0 1M"]);
    let _running = Writer::open(&bench.overlay("guest", &base, "", &[]));
    bench.done(&["merge", "base.qcow2", "overlay"]);
}

#[test]
fn a_raw_base_that_was_torn_by_an_interruption_is_made_whole_by_the_next_command() {
    for command in [&["recover", "disk.img"][..], &["history", "disk.img"], &["undo", "disk.img"]] {
        let bench = Bench::new();
        let raw = disk(&bench, "disk.img", 4 << 20);
        let before = std::fs::read(&raw).unwrap();
        let overlay = bench.overlay_of("raw", "overlay", &raw, "", &["write -P 2 1M 1M"]);
        let after = seen(&bench, &overlay);
        bench.done(&["merge", "disk.img", "overlay", "--raw", "disk.img"]);
        make_pending(&bench.path("pocketvm.commit"));
        poke(&raw, (1 << 20) + 12_345, &[0x5a; 100_000]);
        let ran = bench.done(&[command, &["--json"]].concat());
        if command[0] == "recover" {
            assert_eq!(ran.event("disk-recovered")["outcome"], "finished", "{}", ran.stdout);
        } else {
            assert_eq!(ran.events()[0]["code"], "recovered", "{}", ran.stdout);
        }
        assert_holds(&raw, if command[0] == "undo" { &before } else { &after }, command[0]);
    }
}
