//! Merging: what it does to bases, overlays and records, and what it says.

use std::process::Stdio;

use insta::assert_snapshot;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::bench::{Bench, assert_clean, assert_same, io, program, qemu, text};

#[test]
fn two_disks_are_merged_in_one_step_and_read_as_their_overlays_did() {
    let bench = Bench::new();
    let system = bench.image("a/system.qcow2", "cluster_size=16k", "64M");
    let user = bench.image("b/user.qcow2", "", "32M");
    for base in [&system, &user] {
        io(base, &["write -P 1 0 6M"]);
    }
    let commands =
        ["write -P 2 1M 300k", "write -z 2M 1M", "discard 4M 1M", "write -P 0 5M 64k", "write -P 3 20M 4M"];
    let overlays = [
        bench.overlay("s.qcow2", &system, "cluster_size=4k", &commands),
        bench.overlay("u.qcow2", &user, "", &commands),
    ];
    let contents = [bench.content("s.raw", &overlays[0]), bench.content("u.raw", &overlays[1])];
    let before = overlays.each_ref().map(|overlay| std::fs::read(overlay).unwrap());

    let record = bench.path("pocketvm.commit");
    let ran = bench.done(&[
        "merge",
        text(&system),
        "s.qcow2",
        text(&user),
        "u.qcow2",
        "--record",
        text(&record),
        "--json",
    ]);
    let disks = ran.event("merged")["disks"].clone();
    assert_eq!((&disks[0]["name"], &disks[1]["name"]), (&"a/system.qcow2".into(), &"b/user.qcow2".into()));
    for (base, content) in [&system, &user].into_iter().zip(&contents) {
        assert_clean(base);
        assert_same(base, content);
    }
    assert_eq!(overlays.each_ref().map(|overlay| std::fs::read(overlay).unwrap()), before);
    let history = bench.done(&["history", "--record", text(&record), "--json"]).event("disk-history");
    assert_eq!(history["merges"].as_array().unwrap().len(), 1);
    assert_eq!(history["merges"][0]["disks"].as_array().unwrap().len(), 2);
    assert_eq!(history["merges"][0]["note"], "pc");
    assert_eq!(bench.generation(&system), disks[0]["to"]);
    assert_eq!(bench.generation(&user), disks[1]["to"]);
}

#[test]
fn json_lines_tell_of_the_first_generation_the_progress_the_amounts_and_the_end() {
    let bench = Bench::new();
    let base = bench.image("base.qcow2", "", "64M");
    io(&base, &["write -P 1 0 4M"]);
    bench.overlay("changes.qcow2", &base, "", &["write -P 1 0 1M", "write -P 2 1M 1M", "write -z 2M 1M"]);
    let ran = bench.done(&["merge", "base.qcow2", "changes.qcow2", "--json"]);
    assert_eq!(ran.stderr, "");
    assert_snapshot!(bench.plain(&ran.timeless()));
}

#[test]
fn people_read_amounts_and_generations_and_that_the_overlay_is_still_there() {
    let bench = Bench::new();
    let base = bench.image("base.qcow2", "", "64M");
    io(&base, &["write -P 1 0 4M"]);
    bench.overlay("changes.qcow2", &base, "", &["write -P 1 0 1M", "write -P 2 1M 1M", "write -z 2M 1M"]);
    let ran = bench.done(&["merge", "base.qcow2", "changes.qcow2"]);
    // Tables are counted, whose number is the engine's own matter.
    let (start, rest) = ran.stdout.split_once(" changed, ").unwrap();
    let (_, rest) = rest.split_once(" written").unwrap();
    assert_snapshot!(bench.plain(&format!("{start} changed, N written{rest}---\n{}", ran.stderr)));
}

#[test]
fn quiet_says_nothing_when_all_is_well() {
    let bench = Bench::new();
    let base = bench.image("base.qcow2", "", "16M");
    bench.overlay("changes.qcow2", &base, "", &["write -P 2 1M 1M"]);
    for command in [&["merge", "-q", "base.qcow2", "changes.qcow2"][..], &["undo", "-q", "base.qcow2"]] {
        let ran = bench.done(command);
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""), "{command:?}");
    }
}

#[test]
fn a_dry_run_tells_what_progress_will_count_to_and_leaves_no_trace() {
    let bench = Bench::new();
    let base = bench.image("base.qcow2", "", "64M");
    io(&base, &["write -P 1 0 4M"]);
    let overlay = bench.overlay("changes.qcow2", &base, "", &["write -P 2 1M 8M", "write -z 20M 1M"]);
    let before = [&base, &overlay].map(|image| std::fs::read(image).unwrap());
    let command = ["merge", "base.qcow2", "changes.qcow2", "--json"];
    let estimate = bench.done(&[&command[..], &["--dry-run"]].concat()).event("disk-estimate");
    assert_eq!([&base, &overlay].map(|image| std::fs::read(image).unwrap()), before);
    assert!(!bench.path("pocketvm.commit").exists());

    let length = || std::fs::metadata(&base).unwrap().len();
    let small = length();
    let ran = bench.done(&command);
    let progress: Vec<_> =
        ran.events().into_iter().filter(|event| event["event"] == "merge-progress").collect();
    let last = progress.last().unwrap();
    assert_eq!((&progress[0]["done"], &last["done"]), (&0.into(), &last["total"]));
    assert_eq!((&estimate["changed"], estimate["changed"].as_u64()), (&last["total"], Some(9 << 20)));
    assert!(length() - small <= estimate["grows"].as_u64().unwrap(), "{estimate}");

    // With a record, which is not needed for itself.
    let held = pocketvm_disk::CommitFile::open(&bench.path("pocketvm.commit"), &bench.path("")).unwrap();
    let again = bench.done(&[&command[..], &["--dry-run"]].concat()).event("disk-estimate");
    assert_eq!(again["changed"], estimate["changed"]);
    drop(held);
}

#[test]
fn an_expected_generation_is_merged_onto_and_another_one_is_not() {
    let bench = Bench::new();
    let base = bench.image("base.qcow2", "", "16M");
    bench.overlay("1.qcow2", &base, "", &["write -P 1 0 1M"]);
    let stale = bench.overlay("2.qcow2", &base, "", &["write -P 2 0 1M"]);
    let command = |overlay, generation| ["merge", "base.qcow2", overlay, "--expect", generation];

    let fresh = bench.disk(&command("1.qcow2", "0f6f3a43-5d5e-4b7c-9f0e-3a1c5b2d7e11"));
    assert_eq!(fresh.code, Some(9), "{}", fresh.stderr);
    assert!(fresh.stderr.contains("no generation"), "{}", fresh.stderr);
    assert!(!bench.path("pocketvm.commit").exists());

    bench.done(&["merge", "base.qcow2", "1.qcow2"]);
    let first = bench.generation(&base);
    bench.overlay("3.qcow2", &base, "", &["write -P 3 1M 1M"]);
    bench.done(&command("3.qcow2", &first));
    let before = std::fs::read(&base).unwrap();
    let refused = bench.disk(&command(text(&stale), &first));
    assert_eq!(refused.code, Some(9), "{}", refused.stderr);
    for word in [first.as_str(), &bench.generation(&base)] {
        assert!(refused.stderr.contains(word), "{word}: {}", refused.stderr);
    }
    assert_eq!(std::fs::read(&base).unwrap(), before);
}

#[test]
fn a_base_that_another_program_wrote_to_is_checked_again_and_its_history_ends() {
    let bench = Bench::new();
    let base = bench.image("base.qcow2", "", "16M");
    bench.overlay("1.qcow2", &base, "", &["write -P 1 0 1M"]);
    bench.done(&["merge", "base.qcow2", "1.qcow2"]);
    let ours = bench.generation(&base);
    io(&base, &["write -P 9 8M 1M"]);

    let refused = bench.disk(&["merge", "base.qcow2", "1.qcow2", "--expect", &ours]);
    assert_eq!(refused.code, Some(9), "{}", refused.stderr);
    assert!(refused.stderr.contains("another program has written"), "{}", refused.stderr);
    let undo = bench.disk(&["undo", "base.qcow2"]);
    assert_ne!(undo.code, Some(0), "{}", undo.stderr);

    bench.overlay("2.qcow2", &base, "", &["write -P 2 4M 1M"]);
    let content = bench.content("content.raw", &bench.path("2.qcow2"));
    let ran = bench.done(&["merge", "base.qcow2", "2.qcow2", "--json"]);
    let notice = ran.event("notice");
    assert_eq!(notice["code"], "stamped");
    assert!(notice["text"].as_str().unwrap().contains(&ours), "{notice}");
    assert_same(&base, &content);
    let history = bench.done(&["history", "base.qcow2", "--json"]).event("disk-history");
    assert_eq!(history["merges"].as_array().unwrap().len(), 1, "{history}");
}

/// How many bytes a merge of 24 MiB read, from files and caches.
fn bytes_read(more: &[&str]) -> u64 {
    let bench = Bench::new();
    let base = bench.image("base.qcow2", "", "64M");
    let overlay = bench.overlay("overlay.qcow2", &base, "", &["write -P 2 1M 24M"]);
    let content = bench.content("content.raw", &overlay);
    let args = [&["merge", "base.qcow2", "overlay.qcow2"], more].concat();
    let mut child = program()
        .args(args)
        .current_dir(bench.path(""))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Its end, but not its removal, which would take the counters along.
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(Pid::from_child(&child)), options).unwrap();
    let counters = std::fs::read_to_string(format!("/proc/{}/io", child.id()));
    assert!(child.wait().unwrap().success());
    assert_clean(&base);
    assert_same(&base, &content);
    let counters =
        counters.expect("this test needs a kernel that counts what a process reads (/proc/PID/io)");
    counters.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

#[test]
fn the_data_is_read_back_if_that_is_asked_for() {
    let (without, with) = (bytes_read(&[]), bytes_read(&["--verify"]));
    assert!(
        with - without >= 24 << 20 && without < 36 << 20,
        "{without} bytes read without, {with} with --verify"
    );
}

#[test]
fn a_base_with_a_layer_below_it_takes_an_overlay_and_leaves_the_layer_alone() {
    let bench = Bench::new();
    let layer = bench.image("layer.qcow2", "", "16M");
    io(&layer, &["write -P 1 0 4M"]);
    let base = bench.path("base.qcow2");
    qemu("qemu-img", &["create", "-q", "-f", "qcow2", "-b", "layer.qcow2", "-F", "qcow2", text(&base)]);
    io(&base, &["write -P 2 1M 1M"]);
    let overlay = bench.overlay("overlay.qcow2", &base, "", &["write -P 3 2M 10k"]);
    let (content, before) = (bench.content("content.raw", &overlay), std::fs::read(&layer).unwrap());
    bench.done(&["merge", "base.qcow2", "overlay.qcow2"]);
    assert_clean(&base);
    assert_same(&base, &content);
    assert_eq!(std::fs::read(&layer).unwrap(), before);
}
