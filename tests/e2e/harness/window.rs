//! The program as a double-click starts it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::bench::must;
use super::{Drive, Line, Pc, serial};

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(150);

/// How often the PC is looked at for the folder of a session: only the window knows when there is one.
const PAUSE: Duration = Duration::from_millis(50);

/// A program with a window.
pub struct Window {
    child: Child,
    stderr: Option<JoinHandle<String>>,
}

impl Window {
    /// Starts `program` on `pc`; `dress` adds what the environment should have.
    pub fn open(
        pc: &Pc,
        program: &Path,
        arguments: &[&str],
        folder: &Path,
        dress: impl FnOnce(&mut Command),
    ) -> Window {
        let mut command = pc.command(program, arguments);
        command.stdout(Stdio::null()).current_dir(folder).env("POCKETVM_LOG", "pocketvm=info");
        dress(&mut command);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let mut stderr = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut text = vec![];
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Window { child, stderr: Some(stderr) }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Bytes of memory that are this process's alone.
    pub fn private_memory(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.id())).unwrap();
        let kib = |line: &str| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap();
        text.lines().filter(|line| line.starts_with("Private_")).map(kib).sum::<u64>() * 1024
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        let id = Pid::from_raw(i32::try_from(self.id()).unwrap()).unwrap();
        kill_process(id, Signal::INT).unwrap();
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end; returns its exit code and what it said.
    pub fn ends(mut self) -> (Option<i32>, String) {
        let (sender, ended) = channel();
        let stderr = self.stderr.take().unwrap();
        std::thread::spawn(move || sender.send(stderr.join().unwrap_or_default()));
        // Its standard error closes with its end.
        match ended.recv_timeout(LIMIT) {
            Ok(text) => (self.child.wait().unwrap().code(), text),
            Err(_) => panic!("the window does not end within {LIMIT:?}"),
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let ended = self.child.try_wait();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking()
            && let Some(stderr) = self.stderr.take()
        {
            eprintln!("the window ({ended:?}) said:\n{}", stderr.join().unwrap_or_default());
        }
    }
}

/// Waits until the guest of the one session on `pc` has said `what`.
pub fn guest_says(pc: &Pc, what: &str) -> Line {
    let end = Instant::now() + LIMIT;
    let (stop, _following) = std::io::pipe().unwrap();
    let (sender, lines) = channel();
    let folder = session_folder(pc, end);
    std::thread::spawn(move || serial::follow(folder, "serial.log", &sender, &stop));
    next_line(&lines, what, end)
}

fn next_line(lines: &Receiver<String>, what: &str, end: Instant) -> Line {
    let mut said = vec![];
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => match Line::parse(&line) {
                Some(line) if line.what == what => return line,
                _ => said.push(line),
            },
            Err(RecvTimeoutError::Timeout) => {
                panic!("the guest does not say `{what}`, but:\n{}", said.join("\n"))
            }
            Err(RecvTimeoutError::Disconnected) => {
                panic!("the session ended before the guest said `{what}`:\n{}", said.join("\n"))
            }
        }
    }
}

fn session_folder(pc: &Pc, end: Instant) -> PathBuf {
    loop {
        let entries = std::fs::read_dir(&pc.scratch).unwrap().flatten();
        let folder = entries
            .map(|entry| entry.path())
            .find(|path| path.file_name().is_some_and(|name| name.len() == 36) && path.is_dir());
        if let Some(folder) = folder {
            return folder;
        }
        assert!(Instant::now() < end, "no session begins on {}", pc.name);
        std::thread::sleep(PAUSE);
    }
}

/// Copies the program to the drive, as people have it: without what only a debugger needs, which would fill the drive.
pub fn put_program_on(drive: &Drive) -> PathBuf {
    let program = drive.path.join("pocketvm");
    must(Command::new("strip").arg("-o").arg(&program).arg(super::program()));
    program
}
