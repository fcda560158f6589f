//! What was interrupted in the midst of a flip: every command finishes it, or takes it back, before anything else.

use std::path::PathBuf;

use super::bench::{Bench, assert_clean, assert_same, io, make_pending, poke, qemu, text};

/// A base whose last merge did not get beyond its commit record: the header block is torn.
struct Interrupted {
    bench: Bench,
    base: PathBuf,
    record: PathBuf,
    /// The header block before the merge.
    old_header: Vec<u8>,
    /// What a guest sees before and after the merge.
    before: PathBuf,
    after: PathBuf,
}

impl Interrupted {
    fn new() -> Interrupted {
        let bench = Bench::new();
        let base = bench.image("base.qcow2", "", "16M");
        io(&base, &["write -P 1 0 2M"]);
        // A first merge gives the generation, so that the second one is the only flip that can be pending.
        let overlay = bench.overlay("1.qcow2", &base, "", &["write -P 2 1M 1M"]);
        bench.done(&["merge", "base.qcow2", text(&overlay)]);
        let before = bench.content("before.raw", &base);
        let old_header = std::fs::read(&base).unwrap()[..512].to_vec();
        let overlay = bench.overlay("2.qcow2", &base, "", &["write -P 3 4M 1M"]);
        let after = bench.content("after.raw", &overlay);
        bench.done(&["merge", "base.qcow2", text(&overlay)]);
        let record = bench.path("pocketvm.commit");
        make_pending(&record);
        poke(&base, 0, &[0x5a; 512]);
        Interrupted { bench, base, record, old_header, before, after }
    }
}

#[test]
fn every_command_first_makes_a_torn_base_whole_and_says_so() {
    let commands: [&[&str]; 9] = [
        &["info", "base.qcow2"],
        &["check", "base.qcow2"],
        &["map", "base.qcow2"],
        &["history", "base.qcow2"],
        &["recover", "base.qcow2"],
        &["undo", "base.qcow2"],
        &["merge", "base.qcow2", "2.qcow2"],
        &["merge", "--dry-run", "base.qcow2", "2.qcow2"],
        &["recover", "--record", "pocketvm.commit"],
    ];
    for command in commands {
        let it = Interrupted::new();
        let ran = it.bench.done(&[command, &["--json"]].concat());
        let told = if command[0] == "recover" {
            assert_eq!(ran.event("disk-recovered")["outcome"], "finished");
            assert_eq!(ran.event("disk-recovered")["disks"][0]["repaired"], true);
            it.bench.generation(&it.base)
        } else {
            let notice = ran.event("notice");
            assert_eq!(notice["code"], "recovered", "{command:?}");
            assert_eq!(ran.events()[0], notice, "{command:?}: before anything else");
            notice["text"].as_str().unwrap().to_owned()
        };
        assert!(!told.is_empty());
        assert!(!pocketvm_disk::CommitFile::is_interrupted(&it.record).unwrap(), "{command:?}");
        assert_clean(&it.base);
        assert_same(&it.base, if command[0] == "undo" { &it.before } else { &it.after });
    }
}

#[test]
fn a_merge_whose_tables_were_lost_is_taken_back() {
    let it = Interrupted::new();
    poke(&it.base, 0, &it.old_header);
    // Behind the last cluster of the old generation are only the new one's: its tables among them.
    let said = qemu("qemu-img", &["check", "--output=json", text(&it.base)]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let used = said["image-end-offset"].as_u64().unwrap();
    let lost = std::fs::metadata(&it.base).unwrap().len().saturating_sub(used);
    assert_ne!(lost, 0, "the merge appended nothing");
    poke(&it.base, used, &vec![0; lost as usize]);
    let ran = it.bench.done(&["history", "base.qcow2", "--json"]);
    assert!(ran.event("notice")["text"].as_str().unwrap().contains("taken back"), "{}", ran.stdout);
    assert_clean(&it.base);
    assert_same(&it.base, &it.before);
}

#[test]
fn a_last_merge_that_the_storage_lost_stops_the_next_one() {
    let it = Interrupted::new();
    it.bench.done(&["recover", "base.qcow2"]);
    // Found complete once; later the storage turns out to have lost the new tables.
    let new_header = std::fs::read(&it.base).unwrap()[..512].to_vec();
    poke(&it.base, 0, &it.old_header);
    let said = qemu("qemu-img", &["check", "--output=json", text(&it.base)]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let used = said["image-end-offset"].as_u64().unwrap();
    let lost = std::fs::metadata(&it.base).unwrap().len() - used;
    poke(&it.base, 0, &new_header);
    poke(&it.base, used, &vec![0; lost as usize]);
    let ran = it.bench.disk(&["merge", "base.qcow2", "2.qcow2"]);
    assert_eq!(ran.code, Some(9), "{}", ran.stderr);
    assert!(ran.stderr.contains("lost parts of it"), "{}", ran.stderr);
    assert_clean(&it.base);
    assert_same(&it.base, &it.before);
    it.bench.done(&["merge", "base.qcow2", "2.qcow2"]);
    assert_same(&it.base, &it.after);
}

#[test]
fn a_damaged_record_keeps_nobody_from_looking_at_an_image_but_from_changing_it() {
    let bench = Bench::new();
    let base = bench.image("base.qcow2", "", "16M");
    bench.overlay("overlay.qcow2", &base, "", &["write -P 1 0 1M"]);
    std::fs::write(bench.path("pocketvm.commit"), vec![0x5a; 512 * 1024]).unwrap();
    for command in ["info", "check", "map"] {
        bench.done(&[command, "base.qcow2"]);
    }
    let before = std::fs::read(&base).unwrap();
    for command in
        [&["history", "base.qcow2"][..], &["undo", "base.qcow2"], &["merge", "base.qcow2", "overlay.qcow2"]]
    {
        let refused = bench.disk(command);
        assert_eq!(refused.code, Some(10), "{command:?}: {}", refused.stderr);
        assert!(refused.stderr.contains("pocketvm.commit"), "{command:?}: {}", refused.stderr);
    }
    assert_eq!(std::fs::read(&base).unwrap(), before);
}
