//! A bench: a drive with the two-kilobyte guest, a PC with VirtualBox and QEMU, and a desktop that nobody sees.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Nothing here takes longer, unless it hangs.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Runs a program that must succeed; what it said.
pub fn must(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?} failed: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// The folder with VirtualBox's programs.
pub fn programs() -> PathBuf {
    let folder = std::env::var_os("POCKETVM_TEST_VIRTUALBOX").map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/pocketvm/virtualbox/bin")
    });
    assert!(
        folder.join("VBoxManage").is_file(),
        "VirtualBox is missing in {}: run scripts/virtualbox.sh, or `make test`",
        folder.display()
    );
    folder
}

/// The guest with `mode` set: see guest.S.
pub fn guest(mode: u8) -> Vec<u8> {
    static GUEST: OnceLock<Vec<u8>> = OnceLock::new();
    let mut bytes = GUEST.get_or_init(|| assembled("virtualbox/guest.S")).clone();
    assert_eq!(bytes.len(), 2048);
    bytes[0x1b0] = mode;
    bytes
}

/// What a PC's BIOS starts, from a source in `tests`.
pub fn assembled(source: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (object, binary) = (folder.path().join("guest.o"), folder.path().join("guest.bin"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(source);
    must(Command::new("as").arg("--32").arg("-o").arg(&object).arg(source));
    let layout = ["-m", "elf_i386", "-Ttext", "0x7c00", "-e", "0x7c00", "--oformat", "binary"];
    must(Command::new("ld").args(layout).arg("-o").arg(&binary).arg(&object));
    std::fs::read(binary).unwrap()
}

/// One test's folder, desktop, PC and drive. Dropping it ends everything that was started for it.
pub struct Bench {
    folder: tempfile::TempDir,
    desktop: Child,
    display: String,
    /// The PC's internal disk.
    pub scratch: PathBuf,
    /// The drive.
    pub drive: PathBuf,
}

impl Bench {
    /// A PC, and a drive whose guest does `mode`.
    pub fn new(mode: u8) -> Bench {
        Bench::of(guest(mode))
    }

    /// A PC, and a drive whose system disk begins with `guest`.
    pub fn of(guest: Vec<u8>) -> Bench {
        // A name that every format has to escape.
        let folder = tempfile::Builder::new().prefix("pvm vb ä&'").tempdir_in("/var/tmp").unwrap();
        let mut desktop = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", "1024x768x24", "-nolisten", "tcp"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the tests need Xvfb: run `make setup`");
        let mut line = String::new();
        BufReader::new(desktop.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (scratch, drive) = (folder.path().join("internal disk"), folder.path().join("stick"));
        for path in [&scratch, &drive, &folder.path().join("vbox"), &folder.path().join("run")] {
            std::fs::create_dir_all(path).unwrap();
        }
        let bench = Bench { desktop, display: format!(":{}", line.trim()), scratch, drive, folder };
        bench.prepare(guest);
        bench
    }

    fn prepare(&self, mut content: Vec<u8>) {
        let raw = self.folder.path().join("system.raw");
        content.resize(content.len().max(8 << 20), 0);
        std::fs::write(&raw, content).unwrap();
        for (name, size) in [("system", "8M"), ("user", "64M")] {
            std::fs::create_dir_all(self.drive.join("disks").join(name)).unwrap();
            let mut create = Command::new("qemu-img");
            create.args(["create", "-q", "-f", "qcow2", "-o", "cluster_size=16k"]);
            must(create.arg(self.base(name)).arg(size));
        }
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=16k"]);
        must(convert.arg(&raw).arg(self.base("system")));
        self.write_manifest("");
    }

    /// Writes the manifest, with `more` at its end.
    pub fn write_manifest(&self, more: &str) {
        self.write_manifest_with("", more);
    }

    /// The same with more `disks`.
    pub fn write_manifest_with(&self, disks: &str, more: &str) {
        let text = format!(
            "schema: 1\nmachine: {{name: \"Tiny <&> \\\"ü\\\"\"}}\nmemory: {{min: 32 MiB, max: 32 MiB}}\n\
             cpus: {{min: 1, max: 1}}\ndisks:\n\
             - {{name: system, file: disks/system/base.qcow2, keep: true}}\n\
             - {{name: user, file: disks/user/base.qcow2, keep: true}}\n{disks}\
             paging: {{size: 16 MiB}}\nscratch: {{room: 16 MiB, plain: accepted}}\n{more}"
        );
        std::fs::write(self.drive.join("pocketvm.yaml"), text).unwrap();
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The base of a disk.
    pub fn base(&self, disk: &str) -> PathBuf {
        self.drive.join("disks").join(disk).join("base.qcow2")
    }

    /// Lets `command` see this PC: its VirtualBox with a list of its own, and its desktop.
    pub fn here<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let word = self.folder.path().file_name().unwrap().to_str().unwrap();
        let word: String = word.chars().filter(char::is_ascii_alphanumeric).collect();
        command
            .env("PATH", format!("{}:{path}", programs().display()))
            .env("VBOX_USER_HOME", self.folder.path().join("vbox"))
            // Its own server, so that tests do not see each other's machines.
            .env("VBOX_IPC_SOCKETID", word)
            .env("DISPLAY", &self.display)
            .env("XDG_RUNTIME_DIR", self.folder.path().join("run"))
            .env("POCKETVM_SCRATCH", &self.scratch)
            .env("POCKETVM_HOST_ID", "the PC of this test")
            .env_remove("WAYLAND_DISPLAY")
            .env_remove("XAUTHORITY")
    }

    /// What VBoxManage says.
    pub fn manage(&self, arguments: &[&str]) -> String {
        must(self.here(Command::new(programs().join("VBoxManage")).args(arguments)))
    }

    /// Nothing of ours is in VirtualBox's lists, and nothing lies on the PC.
    pub fn assert_as_before(&self) {
        for list in ["vms", "runningvms", "hdds"] {
            assert_eq!(self.manage(&["list", list]), "", "{list}");
        }
        let left: Vec<_> =
            std::fs::read_dir(&self.scratch).unwrap().flatten().map(|entry| entry.path()).collect();
        assert_eq!(left, [] as [PathBuf; 0]);
    }

    /// Both bases are clean for two programs that are not ours.
    pub fn assert_sound(&self) {
        for disk in ["system", "user"] {
            let base = self.base(disk);
            must(Command::new("qemu-img").args(["check", "-q"]).arg(&base));
            if self.count(disk) == 0 {
                // VirtualBox does not open an image of QEMU's that ends within a table, and nothing was merged yet.
                continue;
            }
            // VirtualBox reads them as well, to the last byte, and sees what QEMU sees.
            let raw = self.folder.path().join(format!("{disk}.seen"));
            let seen = raw.to_str().unwrap();
            let copy = self.folder.path().join(format!("{disk}.qcow2"));
            std::fs::copy(&base, &copy).unwrap();
            self.manage(&["clonemedium", "disk", copy.to_str().unwrap(), seen, "--format", "RAW"]);
            let mut compare = Command::new("qemu-img");
            must(compare.args(["compare", "-q", "-f", "qcow2", "-F", "raw"]).arg(&base).arg(&raw));
            for medium in [seen, copy.to_str().unwrap()] {
                self.manage(&["closemedium", "disk", medium, "--delete"]);
            }
        }
    }

    /// How often the guest ran, as it counted on a disk.
    pub fn count(&self, disk: &str) -> u8 {
        let raw = self.folder.path().join("count.raw");
        let mut convert = Command::new("qemu-img");
        must(convert.args(["convert", "-O", "raw"]).arg(self.base(disk)).arg(&raw));
        let bytes = std::fs::read(&raw).unwrap();
        let mark = &bytes[4096..4101];
        if mark[..4] == *b"HVMK" { mark[4] } else { 0 }
    }

    /// The program with `arguments`, as a script would start it.
    pub fn start(&self, arguments: &[&str]) -> Session {
        let program = std::env::var_os("POCKETVM_TEST_PROGRAM")
            .unwrap_or_else(|| env!("CARGO_BIN_EXE_pocketvm").into());
        let mut command = Command::new(program);
        command
            .args(arguments)
            .arg("--json")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        Session::of(self.here(&mut command).spawn().unwrap())
    }

    /// A session in VirtualBox's interpreter.
    pub fn virtualbox(&self) -> Session {
        let drive = self.drive.to_str().unwrap();
        self.start(&[
            "run",
            drive,
            "--hypervisor",
            "virtualbox",
            "--accelerator",
            "interpreter",
            "--headless",
        ])
    }

    /// A session in QEMU.
    pub fn qemu(&self) -> Session {
        let drive = self.drive.to_str().unwrap();
        self.start(&["run", drive, "--hypervisor", "qemu", "--accelerator", "tcg", "--headless"])
    }

    /// Another command for the drive.
    pub fn call(&self, command: &str, more: &[&str]) -> Session {
        let arguments = [&[command, self.drive.to_str().unwrap()], more].concat();
        self.start(&arguments)
    }

    /// The program that runs the one machine, as VirtualBox names it.
    pub fn runner(&self) -> Option<u32> {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let mut ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        ids.find(|id| {
            let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            let environment = std::fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
            let home = format!("VBOX_USER_HOME={}", self.folder.path().display());
            let contains = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
            contains(&line, b"/VirtualBoxVM\0") && contains(&environment, home.as_bytes())
        })
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(runner) = self.runner() {
            kill(runner);
        }
        let _ = self.desktop.kill();
        let _ = self.desktop.wait();
    }
}

/// Waits until something is so that nobody announces.
pub fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < end, "this did not come about: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Ends a process without mercy.
pub fn kill(id: u32) {
    let id = rustix::process::Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
    let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
}

/// A started program.
pub struct Session {
    child: Child,
    events: Receiver<Value>,
    seen: Vec<Value>,
}

/// One that has ended.
pub struct Ended {
    pub code: Option<i32>,
    pub events: Vec<Value>,
}

impl Session {
    fn of(mut child: Child) -> Session {
        let stdout = child.stdout.take().unwrap();
        let (sender, events) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Session { child, events, seen: vec![] }
    }

    /// Waits for the first event, from now on, that `matches`.
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
                Err(error) => panic!("{what} did not come ({error}):\n{}", report(&self.seen)),
            }
        }
    }

    /// Waits for something that happens to the guest.
    pub fn guest(&mut self, name: &str) {
        self.event(&format!("guest {name}"), |event| event["guest"]["event"] == name);
    }

    /// Where the guest's serial port is written to.
    pub fn log(&mut self) -> PathBuf {
        let session = self.seen.iter().find(|event| event["event"] == "session").cloned();
        let session = session.unwrap_or_else(|| self.event("session", |event| event["event"] == "session"));
        Path::new(session["scratch"].as_str().unwrap()).join("serial.log")
    }

    /// Waits until the guest has said `text`, and returns all that it said.
    pub fn says(&mut self, text: &str) -> String {
        let log = self.log();
        let end = Instant::now() + LIMIT;
        loop {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            if said.contains(text) {
                return said;
            }
            assert!(
                Instant::now() < end,
                "the guest did not say “{text}”, but: {said}\n{}",
                report(&self.seen)
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Asks it to stop, as Ctrl-C does.
    pub fn interrupt(&self) {
        let id = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    }

    /// kill -9, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Ended {
        let end = Instant::now() + LIMIT;
        while let Ok(event) = self.events.recv_timeout(end.saturating_duration_since(Instant::now())) {
            self.seen.push(event);
        }
        assert!(Instant::now() < end, "it did not end:\n{}", report(&self.seen));
        Ended { code: self.child.wait().unwrap().code(), events: std::mem::take(&mut self.seen) }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// The exit code must be `code`.
    pub fn expect(&self, code: i32) -> &Ended {
        assert_eq!(self.code, Some(code), "wrong exit code\n{}", report(&self.events));
        self
    }

    /// The first event called `name`.
    pub fn event(&self, name: &str) -> &Value {
        let found = self.events.iter().find(|event| event["event"] == name);
        found.unwrap_or_else(|| panic!("no {name}:\n{}", report(&self.events)))
    }
}

fn report(events: &[Value]) -> String {
    let told = events.iter().filter(|event| event["event"] != "figures");
    told.map(|event| format!("{event}\n")).collect()
}
