//! Commands that only look: info, check and map.

use std::path::Path;

use insta::assert_snapshot;
use serde_json::Value;

use super::bench::{Bench, io, poke, qemu, text};

/// A part of a disk: start, length, kind, and for data where it is in the file.
type Extent = (u64, u64, String, Option<u64>);

fn push(extents: &mut Vec<Extent>, (start, length, kind, host): Extent) {
    if let Some(last) = extents.last_mut()
        && (last.0 + last.1, &last.2, last.3.map(|at| at + last.1)) == (start, &kind, host)
    {
        last.1 += length;
        return;
    }
    extents.push((start, length, kind, host));
}

/// What `qemu-img map` says of the image alone, in our words and neighbours joined.
fn map_of_qemu(image: &Path) -> Vec<Extent> {
    let said = qemu("qemu-img", &["map", "--output=json", "-f", "qcow2", text(image)]);
    let mut extents = Vec::new();
    for part in serde_json::from_str::<Vec<Value>>(&said).unwrap() {
        let number = |key: &str| part[key].as_u64();
        let is = |key: &str| part[key].as_bool().unwrap();
        let kind = match number("offset") {
            _ if number("depth") != Some(0) || !is("present") => "absent",
            _ if !is("data") && is("zero") => "zero",
            Some(_) => "data",
            None => "compressed",
        };
        let host = number("offset").filter(|_| kind == "data");
        push(&mut extents, (number("start").unwrap(), number("length").unwrap(), kind.to_owned(), host));
    }
    extents
}

/// What `disk map` says, which must end with a line that counts.
fn map_of_ours(bench: &Bench, image: &Path) -> Vec<Extent> {
    let ran = bench.done(&["map", "--json", text(image)]);
    let mut events = ran.events();
    let end = events.pop().unwrap();
    assert_eq!((&end["event"], &end["extents"]), (&"disk-map".into(), &events.len().into()));
    let mut extents = Vec::new();
    for event in &events {
        assert_eq!(event["event"], "disk-extent");
        let kind = event["kind"].as_str().unwrap().to_owned();
        push(
            &mut extents,
            (
                event["start"].as_u64().unwrap(),
                event["length"].as_u64().unwrap(),
                kind,
                event["host"].as_u64(),
            ),
        );
    }
    assert_eq!(extents.len(), events.len(), "neighbours that belong together are one extent");
    assert_eq!(end["size"], extents.iter().map(|extent| extent.1).sum::<u64>());
    extents
}

#[test]
fn the_map_is_that_of_qemu_img_for_every_kind_of_cluster() {
    let bench = Bench::new();
    let writes = [
        "write -P 1 64k 300k",
        "write -P 2 8M 1M",
        "write -z 3M 1M",
        "write -z -u 5M 64k",
        "write -P 3 1M 4k",
        "discard 8M 128k",
        "write -P 7 20M 512",
    ];
    let mut kinds = std::collections::BTreeSet::new();
    for options in
        ["", "cluster_size=4k", "extended_l2=on,cluster_size=128k", "compat=0.10", "preallocation=metadata"]
    {
        // Not a whole number of clusters, and beyond one L2 table where clusters are small.
        let base = bench.image("base.qcow2", options, "67109376");
        let writes: Vec<&str> = writes
            .into_iter()
            // Without zero flags QEMU can only write zeroes out; those are data.
            .filter(|write| options != "compat=0.10" || !write.contains("-z"))
            .collect();
        io(&base, &writes);
        let packed = bench.path("packed.qcow2");
        qemu("qemu-img", &["convert", "-c", "-O", "qcow2", text(&base), text(&packed)]);
        io(&packed, &["write -P 9 8M 64k"]);
        let overlay = bench.overlay("overlay.qcow2", &base, "cluster_size=16k", &writes);
        for image in [&base, &packed, &overlay] {
            let ours = map_of_ours(&bench, image);
            assert_eq!(ours, map_of_qemu(image), "{options}: {}", image.display());
            kinds.extend(ours.into_iter().map(|extent| extent.2));
        }
    }
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["absent", "compressed", "data", "zero"]);
}

#[test]
fn the_map_for_people_is_a_table_and_its_reader_may_leave() {
    let bench = Bench::new();
    let base = bench.image("base.qcow2", "", "16M");
    io(&base, &["write -P 1 1M 64k", "write -z 2M 64k"]);
    assert_snapshot!(bench.done(&["map", "base.qcow2"]).stdout);

    // More than a pipe takes, so that the program notices.
    let scattered: Vec<String> = (0..4000).map(|at| format!("write -P 1 {} 4k", at * 3 * 4096)).collect();
    let base = bench.image("scattered.qcow2", "cluster_size=4k", "64M");
    io(&base, &scattered.iter().map(String::as_str).collect::<Vec<_>>());
    let mut child = super::bench::program()
        .args(["map", text(&base)])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), vec![]));
}

#[test]
fn info_tells_of_the_format_the_sizes_and_the_generation() {
    let bench = Bench::new();
    let base = bench.image("base.qcow2", "cluster_size=16k", "16M");
    let info = bench.done(&["info", "--json", "base.qcow2"]).event("disk-info");
    let known = qemu("qemu-img", &["info", "--output=json", text(&base)]);
    let known: Value = serde_json::from_str(&known).unwrap();
    for (ours, theirs) in [("virtual_size", "virtual-size"), ("cluster_size", "cluster-size")] {
        assert_eq!(info[ours], known[theirs], "{ours}");
    }
    assert_eq!(info["file_size"], std::fs::metadata(&base).unwrap().len());
    assert_eq!(info["state"]["state"], "fresh");
    let overlay = bench.overlay("overlay.qcow2", &base, "", &["write -P 1 0 1M"]);
    let said = bench.done(&["info", text(&overlay)]).stdout;
    assert!(said.contains(text(&base)) && said.contains("not looked at"), "{said}");
    bench.done(&["merge", "base.qcow2", "overlay.qcow2"]);
    let generation = bench.generation(&base);
    let said = bench.done(&["info", "base.qcow2"]).stdout;
    assert!(said.contains(&generation), "{said}");
    io(&base, &["write -P 1 0 512"]);
    let said = bench.done(&["info", "base.qcow2"]).stdout;
    assert!(said.contains("another program") && said.contains(&generation), "{said}");
}

#[test]
fn the_name_of_a_backing_file_is_shown_without_what_a_terminal_obeys() {
    let bench = Bench::new();
    let base = bench.image("base.qcow2", "", "16M");
    let overlay = bench.overlay("overlay.qcow2", &base, "", &[]);
    let name = text(&base).as_bytes();
    let file = std::fs::read(&overlay).unwrap();
    let at = file.windows(name.len()).position(|part| part == name).unwrap();
    poke(&overlay, at as u64, b"\x1b]0;x\x07");
    let said = bench.done(&["info", "overlay.qcow2"]).stdout;
    assert!(said.contains("\\u{1b}]0;x\\u{7}"), "{said:?}");
    assert!(!said.contains(|c: char| c.is_control() && c != '\n'), "{said:?}");
}

#[test]
fn check_agrees_with_qemu_and_ends_with_10_on_errors_but_not_on_lost_room() {
    let bench = Bench::new();
    let base = bench.image("base.qcow2", "", "16M");
    io(&base, &["write -P 1 0 1M"]);
    let overlay = bench.overlay("overlay.qcow2", &base, "", &["write -P 1 0 1M"]);
    for image in [&base, &overlay] {
        let report = bench.done(&["check", "--json", text(image)]).event("disk-check");
        assert_eq!((&report["error_count"], &report["leaks"]), (&0.into(), &0.into()));
        assert_eq!(report["data"], 16);
    }
    // The first refcount block is the third cluster; its entry 100 counts a cluster that nothing uses, 5 one of data.
    io(&base, &["write -P 1 8M 8M"]);
    let end = std::fs::metadata(&base).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&base).unwrap().set_len(end + (1 << 20)).unwrap();
    poke(&base, 0x20000 + (end / 65536) * 2, &[0, 1]);
    let leaky = bench.done(&["check", "base.qcow2"]);
    assert!(leaky.stdout.contains("1 clusters of room"), "{}", leaky.stdout);
    poke(&base, 0x20000 + 5 * 2, &[0, 0]);
    let ran = bench.disk(&["check", "--json", "base.qcow2"]);
    assert_eq!(ran.code, Some(10), "{}", ran.stderr);
    let report = ran.event("disk-check");
    assert_eq!((&report["error_count"], &report["leaks"]), (&1.into(), &1.into()), "{report}");
    let ran = bench.disk(&["check", "base.qcow2"]);
    assert_eq!(ran.code, Some(10));
    assert!(ran.stdout.contains("error:  cluster 5 is referenced"), "{}", ran.stdout);
    let theirs = std::process::Command::new("qemu-img").args(["check", text(&base)]).output().unwrap();
    assert_eq!(theirs.status.code(), Some(2), "{theirs:?}");
}
