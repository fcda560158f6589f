//! One side of a comparison, in a process of its own, so that its memory is its own.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use pocketvm_disk::GenerationId;

use crate::images;
use crate::tools::{run, text};

/// The word that makes this program run one side and end.
const WORD: &str = "--side";

/// What a side took.
#[derive(Debug, Clone, Copy)]
pub struct Took {
    /// From its start until everything is on the stick.
    pub wall: Duration,
    /// The most memory it held, in KiB.
    pub peak: u64,
}

/// Runs one side if the command line asks for that.
pub fn ran_as_one() -> bool {
    let words: Vec<String> = std::env::args().collect();
    let Some(at) = words.iter().position(|word| word == WORD) else { return false };
    let words: Vec<&str> = words[at + 1..].iter().map(String::as_str).collect();
    let start = Instant::now();
    // When everything is on the stick, and the memory it took.
    let peak = match words[..] {
        ["commit", stick, overlay] => {
            // -d: the overlay is thrown away afterwards in both cases.
            run("qemu-img", &["commit", "-q", "-d", overlay]);
            settle(stick);
            peak_of_children()
        }
        ["merge", stick, overlay, expected, verify] => {
            let expected: GenerationId = expected.parse().expect("a generation");
            images::merge(Path::new(stick), Path::new(overlay), expected, verify == "verified");
            settle(stick);
            peak_of_this()
        }
        ["copy", stick, bytes] => {
            copy(&Path::new(stick).join("copy"), bytes.parse().expect("a number"));
            settle(stick);
            peak_of_this()
        }
        _ => panic!("no such side: {words:?}"),
    };
    println!("{} {peak}", start.elapsed().as_nanos());
    true
}

/// The most memory that the other programs held, in KiB.
fn peak_of_children() -> u64 {
    getrusage(UsageWho::RUSAGE_CHILDREN).expect("usage").max_rss() as u64
}

/// The most memory that this program held, in KiB. `getrusage` would tell that of whoever started it, if that was more.
fn peak_of_this() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

/// The limit: so many bytes in one piece.
fn copy(file: &Path, bytes: u64) {
    let mut file = std::fs::File::create(file).expect("a file on the stick");
    let piece = vec![0x5a; 4 << 20];
    let mut left = bytes as usize;
    while left > 0 {
        let part = left.min(piece.len());
        file.write_all(&piece[..part]).expect("room on the stick");
        left -= part;
    }
    file.sync_all().expect("it is on the stick");
}

/// What has to be over before anybody may unplug.
fn settle(stick: &str) {
    let folder = std::fs::File::open(stick).expect("the stick's folder");
    rustix::fs::syncfs(&folder).expect("everything is on the stick");
}

/// Runs a side and says what it took.
pub fn start(words: &[&str]) -> Took {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program).arg(WORD).args(words).output().expect("this program starts");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    let mut numbers = said.split_whitespace().map(|word| word.parse().expect("a number"));
    let (wall, peak) = (numbers.next().expect("a time"), numbers.next().expect("a size"));
    Took { wall: Duration::from_nanos(wall), peak }
}

/// `qemu-img commit`.
pub fn commit(stick: &Path, overlay: &Path) -> Took {
    start(&["commit", text(stick), text(overlay)])
}

/// The shadow merge.
pub fn merge(stick: &Path, overlay: &Path, expected: GenerationId, verify: bool) -> Took {
    let how = if verify { "verified" } else { "usual" };
    start(&["merge", text(stick), text(overlay), &expected.to_string(), how])
}
