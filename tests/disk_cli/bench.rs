//! A folder of images, the program under test, and QEMU's tools.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::SystemTime;

use serde_json::Value;

/// A folder that goes with this value.
pub struct Bench(tempfile::TempDir);

/// What the program said, and how it ended.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// The program under test, not started yet, on a PC that is called `pc`.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pocketvm"));
    command.arg("disk").env("POCKETVM_HOST_NAME", "pc").env_remove("POCKETVM_LOG").stdin(Stdio::null());
    command
}

impl Bench {
    pub fn new() -> Bench {
        Bench(tempfile::Builder::new().prefix("disk cli ").tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(name)
    }

    /// Makes an image of `size` with QEMU, in folders as needed.
    pub fn image(&self, name: &str, options: &str, size: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = std::fs::remove_file(&path);
        let mut args = vec!["create", "-q", "-f", "qcow2"];
        if !options.is_empty() {
            args.extend(["-o", options]);
        }
        args.extend([text(&path), size]);
        qemu("qemu-img", &args);
        path
    }

    /// Makes an overlay of `base` with QEMU and writes to it.
    pub fn overlay(&self, name: &str, base: &Path, options: &str, commands: &[&str]) -> PathBuf {
        self.overlay_of("qcow2", name, base, options, commands)
    }

    /// As [`Bench::overlay`], of a base in `format`.
    pub fn overlay_of(
        &self,
        format: &str,
        name: &str,
        base: &Path,
        options: &str,
        commands: &[&str],
    ) -> PathBuf {
        let path = self.path(name);
        let _ = std::fs::remove_file(&path);
        let mut args = vec!["create", "-q", "-f", "qcow2", "-b", text(base), "-F", format];
        if !options.is_empty() {
            args.extend(["-o", options]);
        }
        args.push(text(&path));
        qemu("qemu-img", &args);
        io(&path, commands);
        path
    }

    /// What a guest sees in an image and everything under it, as a raw file.
    pub fn content(&self, name: &str, image: &Path) -> PathBuf {
        let path = self.path(name);
        qemu("qemu-img", &["convert", "-O", "raw", text(image), text(&path)]);
        path
    }

    /// Runs `pocketvm disk` in the folder to its end.
    pub fn disk(&self, args: &[&str]) -> Ran {
        let output = program().args(args).current_dir(self.0.path()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// As [`Bench::disk`], and it must end well.
    pub fn done(&self, args: &[&str]) -> Ran {
        let ran = self.disk(args);
        assert_eq!(ran.code, Some(0), "{args:?}: {}{}", ran.stdout, ran.stderr);
        ran
    }

    /// The generation of a base as `disk info` tells it.
    pub fn generation(&self, base: &Path) -> String {
        let info = self.done(&["info", "--json", text(base)]).event("disk-info");
        info["state"]["generation"].as_str().unwrap_or_else(|| panic!("{info}")).to_owned()
    }

    /// A text without what differs from run to run: this folder and generations, which are numbered.
    pub fn plain(&self, text: &str) -> String {
        let mut plain = text.replace(&self.path("").display().to_string(), "FOLDER/");
        for number in 1.. {
            let Some(id) = find_uuid(&plain) else { break };
            plain = plain.replace(&id, &format!("generation-{number}"));
        }
        plain
    }
}

/// The first UUID in `text`.
fn find_uuid(text: &str) -> Option<String> {
    let is_uuid = |part: &&str| {
        part.char_indices().all(|(at, c)| match at {
            8 | 13 | 18 | 23 => c == '-',
            _ => c.is_ascii_hexdigit(),
        })
    };
    (0..text.len()).filter_map(|at| text.get(at..at + 36)).find(is_uuid).map(str::to_owned)
}

impl Ran {
    /// All JSON lines.
    pub fn events(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.stdout.lines().map(parse).collect()
    }

    /// The one JSON line called `name`.
    pub fn event(&self, name: &str) -> Value {
        let mut found: Vec<Value> =
            self.events().into_iter().filter(|event| event["event"] == name).collect();
        assert_eq!(found.len(), 1, "{name}: {}{}", self.stdout, self.stderr);
        found.remove(0)
    }

    /// The JSON lines without times, one a line.
    pub fn timeless(&self) -> String {
        let mut text = String::new();
        for mut event in self.events() {
            assert!(event["time"].as_str().is_some_and(|time| time.starts_with("20")), "{event}");
            assert_eq!(event["v"], 1);
            let event = event.as_object_mut().unwrap();
            event.remove("time");
            event.remove("v");
            for disk in event.get_mut("disks").and_then(Value::as_array_mut).into_iter().flatten() {
                // Tables are counted, whose number is the engine's own matter.
                assert!(disk["written"].as_u64().is_none_or(|written| written > 0), "{disk}");
                disk.as_object_mut().unwrap().remove("written");
            }
            writeln!(text, "{}", serde_json::to_string(&event).unwrap()).unwrap();
        }
        text
    }
}

/// Runs one of QEMU's programs, which must be installed and succeed.
pub fn qemu(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("this test needs {program} (package qemu-utils): {error}"));
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {args:?}: {said}");
    said
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs `qemu-io` commands on an image.
pub fn io(image: &Path, commands: &[&str]) {
    let mut args = vec!["-d", "unmap", "-f", "qcow2"];
    for command in commands {
        args.extend(["-c", command]);
    }
    args.push(text(image));
    let said = qemu("qemu-io", &args);
    assert!(!said.contains("rror"), "{commands:?}: {said}");
}

/// `qemu-img check` finds neither errors nor leaks.
pub fn assert_clean(image: &Path) {
    let said = qemu("qemu-img", &["check", "-f", "qcow2", text(image)]);
    assert!(said.contains("No errors were found"), "{said}");
}

/// A guest sees the same in both.
pub fn assert_same(a: &Path, b: &Path) {
    let said = qemu("qemu-img", &["compare", text(a), text(b)]);
    assert_eq!(said.trim(), "Images are identical.");
}

/// Changes bytes of a file.
pub fn poke(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

/// Takes a record back by one write: spoils the slot with the higher sequence. The one before says "under way".
pub fn make_pending(record: &Path) {
    let bytes = std::fs::read(record).unwrap();
    let (one, other) = bytes.split_at(bytes.len() / 2);
    let sequence = |slot: &[u8]| u64::from_be_bytes(slot[16..24].try_into().unwrap());
    let newest = if sequence(one) > sequence(other) { 0 } else { one.len() as u64 };
    poke(record, newest, b"spoiled!");
    assert!(pocketvm_disk::CommitFile::is_interrupted(record).unwrap(), "the test does not do what it says");
}

/// Everything in the folder, with times, to tell that nothing was changed, made or removed.
pub fn all_files(folder: &Path) -> Vec<(PathBuf, SystemTime, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
                let bytes = std::fs::read(&path).unwrap();
                files.push((path, modified, bytes));
            }
        }
    }
    files.sort();
    files
}

/// What the program answered to a refused command, which changed nothing.
pub fn refused(bench: &Bench, what: &str, command: &[&str]) -> String {
    let before = all_files(&bench.path(""));
    let ran = bench.disk(command);
    assert!(ran.code.is_some_and(|code| code != 0), "{what}: {}{}", ran.stdout, ran.stderr);
    assert!(all_files(&bench.path("")) == before, "{what}: something was changed");
    assert_eq!(ran.stdout, "", "{what}");
    let mut answer = format!("{what}: {}\n", ran.code.unwrap());
    for line in bench.plain(&ran.stderr).lines() {
        writeln!(answer, "    {line}").unwrap();
    }
    answer
}

/// A `qemu-io` that has an image open for writing until it is dropped.
pub struct Writer(Child);

impl Writer {
    pub fn open(image: &Path) -> Writer {
        let mut child = Command::new("qemu-io")
            .arg(image)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test needs qemu-io (package qemu-utils)");
        // It has the image open once it answers.
        child.stdin.as_mut().unwrap().write_all(b"length\n").unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("MiB"), "{line}");
        Writer(child)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
