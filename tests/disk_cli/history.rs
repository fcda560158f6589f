//! Undo, redo and history.

use super::bench::{Bench, assert_clean, assert_same, io, refused, text};

#[test]
fn a_merge_is_undone_and_redone_for_all_of_its_bases_together() {
    let bench = Bench::new();
    let bases = ["a/base.qcow2", "b/base.qcow2"].map(|name| bench.image(name, "", "16M"));
    let mut command = vec!["merge".to_owned(), "--record".to_owned(), "pocketvm.commit".to_owned()];
    let (mut before, mut after) = (vec![], vec![]);
    for (number, base) in bases.iter().enumerate() {
        io(base, &["write -P 1 0 2M"]);
        before.push(bench.content(&format!("before {number}"), base));
        let overlay = bench.overlay(&format!("o{number}"), base, "", &["write -P 2 1M 2M"]);
        after.push(bench.content(&format!("after {number}"), &overlay));
        command.extend([text(base).to_owned(), text(&overlay).to_owned()]);
    }
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    bench.done(&command);
    let hold = |contents: &[std::path::PathBuf]| {
        for (base, content) in bases.iter().zip(contents) {
            assert_clean(base);
            assert_same(base, content);
        }
    };
    let in_effect = || {
        let told = bench.done(&["history", "--record", "pocketvm.commit", "--json"]).event("disk-history");
        told["merges"][0]["in_effect"].as_bool()
    };
    let travel = |word, base: &std::path::Path| {
        bench.done(&[word, text(base), "--record", "pocketvm.commit", "--json"])
    };
    hold(&after);
    let undone = travel("undo", &bases[1]);
    assert_eq!(undone.event("disk-moved")["disks"].as_array().unwrap().len(), 2);
    assert_eq!(undone.event("done")["outcome"], "undone");
    hold(&before);
    assert_eq!(in_effect(), Some(false));
    assert_eq!(travel("redo", &bases[0]).event("done")["outcome"], "redone");
    hold(&after);
    assert_eq!(in_effect(), Some(true));
}

#[test]
fn as_many_merges_are_kept_as_were_asked_for() {
    let bench = Bench::new();
    let base = bench.image("base.qcow2", "", "16M");
    let mut contents = vec![bench.content("0.raw", &base)];
    for number in 1..=3 {
        let overlay = bench.overlay("overlay", &base, "", &[&format!("write -P {number} {number}M 1M")]);
        contents.push(bench.content(&format!("{number}.raw"), &overlay));
        let note = format!("number {number}");
        bench.done(&["merge", "base.qcow2", "overlay", "--keep", "2", "--note", &note]);
    }
    let told = bench.done(&["history", "base.qcow2"]).stdout;
    assert!(!told.contains("number 1") && told.contains("number 2") && told.contains("number 3"), "{told}");
    for content in [&contents[2], &contents[1]] {
        bench.done(&["undo", "base.qcow2"]);
        assert_same(&base, content);
    }
    let refused = bench.disk(&["undo", "base.qcow2"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("no merge that can be undone"), "{}", refused.stderr);
    for content in [&contents[2], &contents[3]] {
        bench.done(&["redo", "base.qcow2"]);
        assert_same(&base, content);
    }
    let refused = bench.disk(&["redo", "base.qcow2"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("no undone merge"), "{}", refused.stderr);
}

#[test]
fn undo_and_redo_go_to_any_kept_state_by_the_number_that_history_tells() {
    let bench = Bench::new();
    let base = bench.image("base.qcow2", "", "16M");
    let mut contents = vec![bench.content("0.raw", &base)];
    for number in 1..=3 {
        let overlay =
            bench.overlay("overlay", &base, "", &[&format!("write -P {number} {number}M {number}M")]);
        contents.push(bench.content(&format!("{number}.raw"), &overlay));
        bench.done(&["merge", "base.qcow2", "overlay", "--keep", "9"]);
    }
    let history = || bench.done(&["history", "base.qcow2", "--json"]).event("disk-history");
    let told = history();
    for at in 0..3 {
        let merge = &told["merges"][at];
        assert_eq!((&merge["number"], &merge["in_effect"]), (&(at + 1).into(), &true.into()), "{told}");
        assert_eq!(merge["changed"], (at + 1) << 20, "{told}");
        assert_eq!(merge["disks"][0]["changed"], (at + 1) << 20, "{told}");
    }
    for (word, from, to) in
        [("undo", 3, 1), ("redo", 1, 2), ("undo", 2, 0), ("redo", 0, 3), ("undo", 3, 3), ("redo", 3, 3)]
    {
        assert_eq!(history()["state"], from);
        let ran = bench.done(&[word, "base.qcow2", "--to", &to.to_string(), "--json"]);
        let moved = ran.event("disk-moved");
        assert_eq!((&moved["from"], &moved["to"]), (&from.into(), &to.into()), "{moved}");
        assert_eq!(moved["disks"].as_array().unwrap().is_empty(), from == to, "{moved}");
        assert_clean(&base);
        assert_same(&base, &contents[to as usize]);
    }
    bench.done(&["undo", "base.qcow2"]);
    let page = bench.done(&["history", "base.qcow2"]).stdout;
    for line in
        ["  1  20", "  3  20", "1.00 MiB  in effect", "3.00 MiB  undone", "The bases are as after merge 2."]
    {
        assert!(page.contains(line), "{line}: {page}");
    }
    for (word, to, why) in [
        ("undo", "3", "the bases are in state 2; forward to 3 leads redo"),
        ("redo", "1", "the bases are in state 2; back to 1 leads undo"),
        ("redo", "4", "there is no state 4, only those from 0 to 3"),
    ] {
        let answer = refused(&bench, word, &[word, "base.qcow2", "--to", to]);
        assert!(answer.starts_with(&format!("{word}: 2\n    error: {why}: ")), "{answer}");
    }
    assert_same(&base, &contents[2]);
}

#[test]
fn a_way_on_which_no_merge_changed_the_named_base_is_refused_and_another_takes_all_along() {
    let bench = Bench::new();
    let (a, b) = (bench.image("a.qcow2", "", "16M"), bench.image("b.qcow2", "", "16M"));
    let before = [&a, &b].map(|base| bench.content(&format!("{}.raw", text(base)), base));
    for name in ["a.qcow2", "b.qcow2", "b.qcow2"] {
        bench.overlay("overlay", &bench.path(name), "", &["write -P 1 0 1M"]);
        bench.done(&["merge", name, "overlay", "--keep", "9"]);
    }
    let answer = refused(&bench, "undo", &["undo", "a.qcow2", "--to", "1"]);
    assert!(
        answer.contains("the 2 merges that are to be taken did not change a.qcow2, but b.qcow2"),
        "{answer}"
    );
    bench.done(&["undo", "a.qcow2", "--to", "0"]);
    for (base, content) in [&a, &b].into_iter().zip(&before) {
        assert_clean(base);
        assert_same(base, content);
    }
}

#[test]
fn undo_of_a_base_that_the_last_merge_did_not_change_is_refused() {
    let bench = Bench::new();
    for name in ["a.qcow2", "b.qcow2"] {
        let base = bench.image(name, "", "16M");
        bench.overlay("overlay", &base, "", &["write -P 1 0 1M"]);
        bench.done(&["merge", name, "overlay", "--keep", "9"]);
    }
    let refused = bench.disk(&["undo", "a.qcow2"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("b.qcow2"), "{}", refused.stderr);
    bench.done(&["undo", "b.qcow2"]);
    bench.done(&["undo", "a.qcow2"]);
}

#[test]
fn a_second_record_for_a_base_is_refused_because_it_would_not_spare_what_the_first_keeps() {
    let bench = Bench::new();
    let base = bench.image("sub/base.qcow2", "", "16M");
    bench.overlay("overlay", &base, "", &["write -P 1 0 1M"]);
    bench.done(&["merge", text(&base), "overlay"]);
    assert!(bench.path("sub/pocketvm.commit").exists());
    let before = std::fs::read(&base).unwrap();
    for command in [&["merge", text(&base), "overlay"][..], &["undo", text(&base)]] {
        let refused = bench.disk(&[command, &["--record", "pocketvm.commit"]].concat());
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        assert!(refused.stderr.contains("sub/pocketvm.commit"), "{}", refused.stderr);
    }
    assert_eq!(std::fs::read(&base).unwrap(), before);
}
