//! Commands that only look.

use super::harness::{Bench, Drive, Options, Pc};

#[test]
fn plan_detect_status_render_and_check_change_nothing() {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &Options::new("show"));
    let pc = Pc::new(&bench, "pc");
    let path = drive.path.to_str().unwrap();
    let before = drive.checksums();
    for command in [&["plan", "--headless"][..], &["status"], &["render", "--headless"], &["check"]] {
        let finished = pc.call(&[command, &[path]].concat());
        finished.expect(0);
        assert!(!finished.events.is_empty(), "{command:?} said nothing");
        assert_eq!(drive.checksums(), before, "{command:?}");
        pc.assert_as_before();
    }
}

#[test]
fn every_json_line_says_its_version_and_its_time() {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &Options::new("poweroff"));
    let finished = Pc::new(&bench, "pc").session(&drive);
    for event in &finished.events {
        assert_eq!(event["v"], 1, "{event}");
        assert!(event["time"].as_str().is_some_and(|time| time.starts_with("20")), "{event}");
        assert!(event["event"].is_string(), "{event}");
    }
    assert_eq!(finished.events.last().unwrap()["event"], "done");
}
