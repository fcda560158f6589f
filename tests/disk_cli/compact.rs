//! Compacting: what it gives back, what it gives up, and when it is refused.

use std::path::{Path, PathBuf};

use super::bench::{Bench, Writer, assert_clean, assert_same, io, poke, refused};

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

/// A base whose file is much longer than what it holds: merges that write a lot, and a last one that discards most of
/// it. All of them can be undone.
fn grown(bench: &Bench, name: &str, merges: u64) -> PathBuf {
    let base = bench.image(name, "cluster_size=16k", "64M");
    for number in 1..=merges {
        let mut commands =
            vec![format!("write -P {number} 8M 16M"), format!("write -P 7 {}M 1M", 30 + number)];
        if number == merges {
            commands.push("discard 9M 14M".to_owned());
        }
        let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
        bench.overlay("overlay", &base, "", &commands);
        bench.done(&["merge", name, "overlay", "--keep", "9", "--record", "pocketvm.commit"]);
    }
    base
}

#[test]
fn a_base_becomes_about_as_short_as_what_it_holds_and_says_what_cannot_be_undone_any_more() {
    let bench = Bench::new();
    let base = grown(&bench, "base.qcow2", 3);
    let (before, generation) = (bench.content("before.raw", &base), bench.generation(&base));
    let long = length(&base);
    let ran = bench.done(&["compact", "base.qcow2", "--json"]);
    let told = ran.event("disk-compacted");
    assert_eq!((&told["base"], &told["forgotten"]), (&"base.qcow2".into(), &3.into()), "{told}");
    assert_eq!(
        (told["before"].as_u64(), told["after"].as_u64()),
        (Some(long), Some(length(&base))),
        "{told}"
    );
    assert!(told["moved"].as_u64().unwrap() > 0, "{told}");
    // 5 MiB of data are left.
    assert!(length(&base) < 7 << 20 && long > 30 << 20, "{told}");
    assert_eq!(ran.event("done")["outcome"], "compacted");
    assert_clean(&base);
    assert_same(&base, &before);
    assert_eq!(bench.generation(&base), told["generation"]);
    assert_ne!(told["generation"], generation);
    let progress: Vec<_> =
        ran.events().into_iter().filter(|event| event["event"] == "merge-progress").collect();
    assert_eq!(progress[0]["done"], 0, "{progress:?}");

    let history = bench.done(&["history", "base.qcow2", "--json"]).event("disk-history");
    assert_eq!((&history["state"], &history["merges"]), (&0.into(), &serde_json::json!([])));
    assert_eq!(bench.disk(&["undo", "base.qcow2"]).code, Some(2));
    assert_same(&base, &before);
}

#[test]
fn people_read_what_was_given_back_and_what_was_given_up() {
    let bench = Bench::new();
    let base = grown(&bench, "base.qcow2", 2);
    let ran = bench.done(&["compact", "base.qcow2"]);
    assert!(ran.stdout.contains("2 merges before it can't be undone or redone any more"), "{}", ran.stdout);
    for word in [" now, ", " given back, ", " moved", &bench.generation(&base)] {
        assert!(ran.stdout.contains(word), "{word}: {}", ran.stdout);
    }
    assert!(ran.stderr.contains("Compacted. What the base holds is as it was"), "{}", ran.stderr);

    let (generation, short) = (bench.generation(&base), length(&base));
    let again = bench.done(&["compact", "base.qcow2"]);
    assert!(again.stderr.contains("as short as it can be already"), "{}", again.stderr);
    assert!(!again.stdout.contains("undone"), "{}", again.stdout);
    assert_eq!((bench.generation(&base), length(&base)), (generation, short));

    let quiet = bench.done(&["compact", "-q", "base.qcow2"]);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
}

#[test]
fn an_overlay_from_before_stays_good_but_its_generation_does_not() {
    let bench = Bench::new();
    let base = grown(&bench, "base.qcow2", 2);
    let overlay = bench.overlay("late", &base, "", &["write -P 9 10M 1M", "write -P 9 50M 1M"]);
    let (after, generation) = (bench.content("after.raw", &overlay), bench.generation(&base));
    bench.done(&["compact", "base.qcow2"]);
    let stale = bench.disk(&["merge", "base.qcow2", "late", "--expect", &generation]);
    assert_eq!(stale.code, Some(9), "{}", stale.stderr);
    bench.done(&["merge", "base.qcow2", "late"]);
    assert_clean(&base);
    assert_same(&base, &after);
    bench.done(&["undo", "base.qcow2"]);
    assert_clean(&base);
}

#[test]
fn a_base_without_a_generation_or_a_record_gets_both_first() {
    let bench = Bench::new();
    let base = bench.image("base.qcow2", "", "64M");
    io(&base, &["write -P 1 0 32M", "discard 0 24M"]);
    let (before, long) = (bench.content("before.raw", &base), length(&base));
    let ran = bench.done(&["compact", "base.qcow2", "--json"]);
    assert_eq!(ran.events()[0]["code"], "stamped", "{}", ran.stdout);
    assert_eq!(ran.event("disk-compacted")["forgotten"], 0);
    assert!(length(&base) < long / 2, "{}", ran.stdout);
    assert_clean(&base);
    assert_same(&base, &before);
    assert!(bench.path("pocketvm.commit").exists());

    // Another program's write takes the fence away, which is not the end of it.
    io(&base, &["write -P 3 40M 1M"]);
    let content = bench.content("content.raw", &base);
    let ran = bench.done(&["compact", "base.qcow2", "--json"]);
    assert!(
        ran.event("notice")["text"].as_str().unwrap().contains("Another program wrote"),
        "{}",
        ran.stdout
    );
    assert_clean(&base);
    assert_same(&base, &content);
}

#[test]
fn merges_of_other_bases_stay_undoable_as_far_as_the_order_allows() {
    let bench = Bench::new();
    grown(&bench, "a.qcow2", 2);
    let other = bench.image("b.qcow2", "", "16M");
    let mut contents = vec![];
    for number in 1..=2 {
        contents.push(bench.content(&format!("{number}.raw"), &other));
        bench.overlay("overlay", &other, "", &[&format!("write -P {number} 0 8M")]);
        bench.done(&["merge", "b.qcow2", "overlay", "--keep", "9"]);
    }
    assert_eq!(bench.done(&["compact", "a.qcow2", "--json"]).event("disk-compacted")["forgotten"], 2);
    bench.done(&["undo", "b.qcow2", "--to", "0"]);
    assert_same(&other, &contents[0]);
    bench.done(&["redo", "b.qcow2"]);
    // What was undone of b goes with it as well: 1 and 2 were made on top of a merge that is out of reach.
    assert_eq!(bench.done(&["compact", "b.qcow2", "--json"]).event("disk-compacted")["forgotten"], 2);
    assert_same(&other, &contents[1]);
}

#[test]
fn a_base_that_somebody_reads_below_an_overlay_is_left_alone() {
    let bench = Bench::new();
    let base = grown(&bench, "base.qcow2", 2);
    let overlay = bench.overlay("guest", &base, "", &["write -P 9 10M 1M"]);
    let guest = Writer::open(&overlay);
    let answer = refused(&bench, "a guest runs", &["compact", "base.qcow2"]);
    assert!(answer.starts_with("a guest runs: 4\n    error: another program uses the base: "), "{answer}");
    drop(guest);
    bench.done(&["compact", "base.qcow2"]);
}

#[test]
fn what_cannot_be_compacted_is_refused_and_keeps_its_history() {
    let bench = Bench::new();
    std::fs::write(bench.path("text"), "nothing that makes sense").unwrap();
    let answer = refused(&bench, "no image", &["compact", "text"]);
    assert!(answer.starts_with("no image: 10\n"), "{answer}");

    let raw = bench.path("disk.img");
    std::fs::write(&raw, vec![1; 1 << 20]).unwrap();
    bench.overlay_of("raw", "overlay", &raw, "", &["write -P 2 0 64k"]);
    bench.done(&["merge", "--raw", "disk.img", "disk.img", "overlay"]);
    let answer = refused(&bench, "a raw disk", &["compact", "disk.img"]);
    assert!(answer.starts_with("a raw disk: 2\n    error: a raw disk is as long as"), "{answer}");
}

#[test]
fn a_base_that_a_program_wrote_to_past_the_format_is_checked_first_and_then_compacted() {
    let bench = Bench::new();
    let base = grown(&bench, "base.qcow2", 2);
    let byte = std::fs::read(&base).unwrap()[1 << 20];
    poke(&base, 1 << 20, &[byte]);
    let content = bench.content("content.raw", &base);
    bench.done(&["compact", "base.qcow2"]);
    assert_clean(&base);
    assert_same(&base, &content);
}
