//! The program under test: started as a person's shell would start it, watched through its JSON lines.

use std::fs::Permissions;
use std::io::{BufRead, BufReader, PipeWriter, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::bench::find;
use super::{Bench, Drive, Line, serial};

/// Longest wait for anything: several times what a loaded machine needs for a whole session under emulation.
const LIMIT: Duration = Duration::from_secs(150);

/// The program under test: the one that cargo built, or another to be tested instead, for instance a packaged one.
pub fn program() -> PathBuf {
    std::env::var_os("POCKETVM_TEST_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_pocketvm").into()).into()
}

/// A computer: its name, its identity, its internal disk.
pub struct Pc {
    pub name: String,
    pub scratch: PathBuf,
    /// Folder that is searched for programs first.
    programs: Option<PathBuf>,
}

impl Pc {
    /// A PC called `name` with an internal disk of its own.
    pub fn new(bench: &Bench, name: &str) -> Pc {
        Pc {
            name: name.to_owned(),
            scratch: bench.folder(&format!("internal disk of {name}")),
            programs: None,
        }
    }

    /// On this PC, QEMU is a shell script: `cases` are those of a `case` on its arguments, the rest is the real one.
    #[must_use]
    pub fn with_qemu(self, bench: &Bench, cases: &str) -> Pc {
        self.with(bench, "qemu-system-x86_64", &format!("case \"$*\" in {cases} esac"))
    }

    /// On this PC, `program` is a shell script: `before` and then the real one, with the arguments as `before` leaves them.
    #[must_use]
    pub fn with(mut self, bench: &Bench, program: &str, before: &str) -> Pc {
        let folder = bench.folder(&format!("programs of {}", self.name));
        let wrapper = folder.join(program);
        let real = find(program).unwrap_or_else(|| panic!("{program} is missing: run `make setup`"));
        let script = format!("#!/bin/sh\n{before}\nexec '{}' \"$@\"\n", real.display());
        std::fs::write(&wrapper, script).unwrap();
        std::fs::set_permissions(&wrapper, Permissions::from_mode(0o755)).unwrap();
        self.programs = Some(folder);
        self
    }

    /// The program's command line on this PC, not yet started.
    pub fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("POCKETVM_SCRATCH", &self.scratch)
            .env("POCKETVM_HOST_NAME", &self.name)
            .env("POCKETVM_HOST_ID", format!("id-of-{}", self.name))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(folder) = &self.programs {
            let path = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{}:{path}", folder.display()));
        }
        command
    }

    /// Starts a session on `drive`, headless, under plain emulation.
    pub fn run(&self, drive: &Drive) -> Launcher {
        self.run_with(drive, &["--accelerator", "tcg"])
    }

    /// As [`Pc::run`], with more arguments and without a word about the accelerator.
    pub fn run_with(&self, drive: &Drive, more: &[&str]) -> Launcher {
        self.run_program(&program(), drive, more)
    }

    /// As [`Pc::run_with`], with another copy of the program.
    pub fn run_program(&self, program: &Path, drive: &Drive, more: &[&str]) -> Launcher {
        let path = drive.path.to_str().unwrap();
        let mut arguments = vec!["run", path, "--headless", "--json"];
        arguments.extend(more);
        Launcher::start(self.command(program, &arguments))
    }

    /// Runs any command of the program to its end; `--json` is added.
    pub fn call(&self, arguments: &[&str]) -> Finished {
        let mut all = arguments.to_vec();
        all.push("--json");
        Launcher::start(self.command(&program(), &all)).finish()
    }

    /// A whole session that must end well and leave sound bases.
    pub fn session(&self, drive: &Drive) -> Finished {
        let finished = self.run(drive).finish();
        finished.expect(0);
        drive.assert_sound();
        finished
    }

    /// Recovers what is left of a session on `drive` by saving it; that must end well and leave sound bases.
    pub fn recover(&self, drive: &Drive) -> Finished {
        let finished = self.call(&["recover", drive.path.to_str().unwrap(), "--merge"]);
        finished.expect(0);
        drive.assert_sound();
        finished
    }

    /// Nothing may be left on the internal disk.
    pub fn assert_as_before(&self) {
        let mut found = Vec::new();
        let mut folders = vec![self.scratch.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                if entry.path().is_dir() {
                    folders.push(entry.path());
                } else {
                    found.push(entry.path());
                }
            }
        }
        assert!(found.is_empty(), "this is left on {}: {found:?}", self.name);
    }
}

/// A started program.
pub struct Launcher {
    child: Child,
    events: Receiver<Value>,
    guest: Receiver<String>,
    stderr: Option<JoinHandle<String>>,
    /// Closing it ends the thread that follows the guest.
    following: Option<PipeWriter>,
    /// Everything so far, for the report of a failure.
    seen: Vec<Value>,
    serial: Vec<String>,
}

/// A program that has ended.
pub struct Finished {
    pub code: Option<i32>,
    pub events: Vec<Value>,
    pub serial: Vec<String>,
    pub stderr: String,
}

impl Launcher {
    fn start(mut command: Command) -> Launcher {
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let (stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (event_sender, events) = channel();
        let (line_sender, guest) = channel();
        let (stop, following) = std::io::pipe().unwrap();
        let mut stop = Some(stop);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let event: Value = serde_json::from_str(&line)
                    .unwrap_or_else(|error| panic!("stdout has a line that is not JSON ({error}): {line}"));
                // The guest can be followed as soon as the session's folder is known.
                if event["event"] == "session"
                    && let Some(scratch) = event["scratch"].as_str()
                    && let Some(stop) = stop.take()
                {
                    let (folder, lines) = (PathBuf::from(scratch), line_sender.clone());
                    std::thread::spawn(move || serial::follow(folder, "serial.log", &lines, &stop));
                }
                if event_sender.send(event).is_err() {
                    return;
                }
            }
        });
        let stderr = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Launcher {
            child,
            events,
            guest,
            stderr: Some(stderr),
            following: Some(following),
            seen: Vec::new(),
            serial: Vec::new(),
        }
    }

    /// Waits for the first event, from now on, that `matches`; `what` is what a failure says was missing.
    pub fn event(&mut self, what: &str, matches: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + LIMIT;
        loop {
            match self.events.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(event) => {
                    self.seen.push(event.clone());
                    if matches(&event) {
                        return event;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.fail(&format!("{what} did not come in {LIMIT:?}")),
                Err(RecvTimeoutError::Disconnected) => self.fail(&format!("the program ended before {what}")),
            }
        }
    }

    /// Waits for the start or the end of a phase.
    pub fn phase(&mut self, phase: &str, state: &str) {
        self.event(&format!("phase {phase} {state}"), |event| {
            event["event"] == "phase" && event["phase"] == phase && event["state"] == state
        });
    }

    /// Waits for a notice and returns its text.
    pub fn notice(&mut self, code: &str) -> String {
        let event = self
            .event(&format!("notice {code}"), |event| event["event"] == "notice" && event["code"] == code);
        event["text"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits for the next line of the guest about `what`.
    pub fn guest(&mut self, what: &str) -> Line {
        let end = Instant::now() + LIMIT;
        loop {
            // In slices, to notice that the program has ended and nothing more will come.
            match self.guest.recv_timeout(Duration::from_secs(1)) {
                Ok(line) => {
                    self.serial.push(line.clone());
                    if let Some(line) = Line::parse(&line).filter(|line| line.what == what) {
                        return line;
                    }
                }
                Err(_) if matches!(self.child.try_wait(), Ok(Some(_))) => {
                    self.fail(&format!("the program ended before the guest's line `{what}`"))
                }
                Err(_) if Instant::now() >= end => {
                    self.fail(&format!("the guest's line `{what}` did not come in {LIMIT:?}"))
                }
                Err(_) => {}
            }
        }
    }

    /// Sends a signal to the program.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// Sends a signal, unless the program has ended meanwhile.
    pub fn try_signal(&mut self, signal: Signal) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(signal);
        }
    }

    /// kill -9, and waits until it is gone.
    pub fn kill(mut self) -> Finished {
        self.child.kill().unwrap();
        self.finish()
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Finished {
        let end = Instant::now() + LIMIT;
        loop {
            match self.events.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(event) => self.seen.push(event),
                // Its stdout is closed: by its end, or it would go on without a view, which is a fault too.
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => self.fail(&format!("the program did not end in {LIMIT:?}")),
            }
        }
        let code = self.child.wait().unwrap().code();
        self.following = None;
        self.serial.extend(self.guest.iter());
        Finished {
            code,
            events: std::mem::take(&mut self.seen),
            serial: std::mem::take(&mut self.serial),
            stderr: self.stderr.take().map(|thread| thread.join().unwrap_or_default()).unwrap_or_default(),
        }
    }

    /// Ends the program and fails the test with everything that is known.
    fn fail(&mut self, why: &str) -> ! {
        let _ = self.child.kill();
        self.seen.extend(self.events.try_iter());
        self.serial.extend(self.guest.try_iter());
        let stderr = self.stderr.take().map(|thread| thread.join().unwrap_or_default()).unwrap_or_default();
        panic!("{why}\n{}", report(&self.seen, &self.serial, &stderr))
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // A test that failed in between must not leave it running; its end is a no-op otherwise.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    /// The exit code must be `code`.
    pub fn expect(&self, code: i32) -> &Finished {
        assert_eq!(self.code, Some(code), "wrong exit code\n{}", self.report());
        self
    }

    /// All events called `name`.
    pub fn all(&self, name: &str) -> Vec<&Value> {
        self.events.iter().filter(|event| event["event"] == name).collect()
    }

    /// The error event's message, safe part and hint in one text.
    pub fn error(&self) -> String {
        let errors = self.all("error");
        assert_eq!(errors.len(), 1, "exactly one error was expected\n{}", self.report());
        ["what", "safe", "hint"]
            .iter()
            .filter_map(|key| errors[0][key].as_str())
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// The phases that ended well, in order.
    pub fn phases(&self) -> Vec<&str> {
        let done = self.all("phase").into_iter().filter(|event| event["state"] == "done");
        done.filter_map(|event| event["phase"].as_str()).collect()
    }

    /// All lines of the guest about `what`.
    pub fn guest(&self, what: &str) -> Vec<Line> {
        self.serial.iter().filter_map(|line| Line::parse(line)).filter(|line| line.what == what).collect()
    }

    /// The markers that the guest found on `disk`.
    pub fn markers(&self, disk: &str) -> Vec<String> {
        assert!(!self.guest("shown").is_empty(), "the guest showed nothing\n{}", self.report());
        let lines = self.guest("marker-line").into_iter().filter(|line| line.get("disk") == disk);
        lines.map(|line| line.get("text").to_owned()).collect()
    }

    /// The checksum of a file that the guest showed, if it has it.
    pub fn file(&self, disk: &str, name: &str) -> Option<String> {
        let lines = self.guest("file");
        let found = lines.iter().find(|line| line.get("disk") == disk && line.get("name") == name)?;
        Some(found.get("md5").to_owned())
    }

    /// Everything that is known, for the message of a failed assertion.
    pub fn report(&self) -> String {
        report(&self.events, &self.serial, &self.stderr)
    }
}

fn report(events: &[Value], serial: &[String], stderr: &str) -> String {
    let mut text = String::from("--- events\n");
    for event in events.iter().filter(|event| event["event"] != "figures") {
        text.push_str(&format!("{event}\n"));
    }
    text.push_str(&format!("--- guest\n{}\n--- stderr\n{stderr}", serial.join("\n")));
    text
}
