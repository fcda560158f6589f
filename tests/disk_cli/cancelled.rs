//! Ctrl-C in the middle of a merge, and of compacting.

use std::io::{BufRead, BufReader, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::pipe::fcntl_setpipe_size;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::bench::{Bench, assert_clean, assert_same, program, text};

/// Longest wait for the program; none of the waits below is for a time.
const LIMIT: Duration = Duration::from_secs(120);

/// Room for one line of progress but not for two.
const ONE_LINE: usize = 150;

/// Runs a command into a pipe that has `room` bytes left, presses Ctrl-C once `changing` was written to, and only then
/// reads what the program says. It must end with 9.
fn interrupted(bench: &Bench, args: &[&str], room: usize, changing: &Path) -> Vec<Value> {
    let (mut lines, mut stdout) = std::io::pipe().unwrap();
    let size = fcntl_setpipe_size(&stdout, 4096).unwrap();
    stdout.write_all(&vec![b'\n'; size - room]).unwrap();
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&watch, changing, inotify::WatchFlags::MODIFY).unwrap();
    let mut command = program();
    command
        .args(args)
        .current_dir(bench.path(""))
        .env("POCKETVM_LOG", "pocketvm=info")
        .stdout(stdout)
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // The other end of the pipe is the program's alone, or its end would never be seen.
    drop(command);

    let mut waiting = [PollFd::new(&watch, PollFlags::IN)];
    let limit = Timespec { tv_sec: LIMIT.as_secs() as i64, tv_nsec: 0 };
    assert_eq!(poll(&mut waiting, Some(&limit)).unwrap(), 1, "nothing was written to {}", changing.display());
    let mut buffer = [MaybeUninit::uninit(); 512];
    inotify::Reader::new(watch.as_fd(), &mut buffer).next().unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let heard = log.find(|line| line.as_ref().is_ok_and(|line| line.contains("asked to stop")));
    assert!(heard.is_some(), "the program ended without hearing the signal");

    let mut said = String::new();
    lines.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(9), "{said}");
    said.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn ctrl_c_in_the_middle_of_a_merge_leaves_the_old_generation_and_the_overlay() {
    let bench = Bench::new();
    let base = bench.image("base.qcow2", "", "64M");
    bench.overlay("1.qcow2", &base, "", &["write -P 1 0 8M"]);
    bench.done(&["merge", "base.qcow2", "1.qcow2"]);
    let overlay = bench.overlay("2.qcow2", &base, "", &["write -P 2 0 24M"]);
    let (generation, before) = (bench.generation(&base), bench.content("before.raw", &base));
    let (changes, length) = (std::fs::read(&overlay).unwrap(), std::fs::metadata(&base).unwrap().len());

    // The pipe takes the first line of progress. The next one is due at the latest when all data is written and
    // before the flip; there the program stops until this test reads.
    let said = interrupted(&bench, &["merge", "base.qcow2", "2.qcow2", "--json"], ONE_LINE, &base);
    let error = said.last().unwrap();
    assert_eq!((&error["event"], &error["kind"]), (&"error".into(), &"merge".into()), "{error}");
    assert!(error["what"].as_str().unwrap().contains("cancelled"), "{error}");
    assert!(error["safe"].as_str().unwrap().contains("as they were"), "{error}");
    assert!(said[..said.len() - 1].iter().all(|event| event["event"] == "merge-progress"), "{said:?}");

    assert_eq!(bench.generation(&base), generation);
    assert_clean(&base);
    assert_same(&base, &before);
    assert_eq!(std::fs::metadata(&base).unwrap().len(), length, "the room is given back");
    assert_eq!(std::fs::read(&overlay).unwrap(), changes);
    let after = bench.content("after.raw", &overlay);
    bench.done(&["merge", "base.qcow2", text(&overlay), "--expect", &generation]);
    assert_same(&base, &after);
}

#[test]
fn ctrl_c_while_a_base_is_compacted_leaves_what_it_holds_and_tells_what_is_given_up() {
    let bench = Bench::new();
    let base = bench.image("base.qcow2", "", "64M");
    bench.overlay("1.qcow2", &base, "", &["write -P 1 0 16M", "discard 0 12M"]);
    bench.done(&["merge", "base.qcow2", "1.qcow2"]);
    let overlay = bench.overlay("2.qcow2", &base, "", &["write -P 2 0 16M", "discard 0 12M"]);
    bench.done(&["merge", "base.qcow2", text(&overlay), "--keep", "2"]);
    let (generation, before) = (bench.generation(&base), bench.content("before.raw", &base));
    let bytes = std::fs::read(&base).unwrap();

    // The record says that the kept merges are gone, and then the pipe has no room for the first line of progress.
    let said = interrupted(&bench, &["compact", "base.qcow2", "--json"], 0, &bench.path("pocketvm.commit"));
    let error = said.last().unwrap();
    assert_eq!((&error["event"], &error["kind"]), (&"error".into(), &"merge".into()), "{error}");
    assert_eq!(error["what"], "compacting was cancelled");
    assert_eq!(
        error["safe"],
        "the base holds what it held; 2 merges before it can't be undone or redone any more"
    );
    assert_eq!(bench.generation(&base), generation);
    assert!(std::fs::read(&base).unwrap() == bytes, "the base was changed");
    assert_clean(&base);
    let done = bench.done(&["compact", "base.qcow2", "--json"]).event("disk-compacted");
    assert_eq!(done["forgotten"], 0);
    assert!(done["after"].as_u64() < done["before"].as_u64(), "{done}");
    assert_clean(&base);
    assert_same(&base, &before);
}
