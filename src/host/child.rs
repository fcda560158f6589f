//! Child processes: started so that they do not share our fate, and known by more than a number.
//!
//! A process id is used again after its process ended. So a process is told by its id *and* its start, and is
//! killed through a handle that was checked against both.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use process_wrap::std::{ChildWrapper, CommandWrap};
use serde::{Deserialize, Serialize};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

use super::env;

/// Which process, for good: stays true or becomes false, but never means another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The process id.
    pub pid: u32,
    /// When it started, in the finest words of the platform.
    pub started: String,
}

impl Identity {
    /// The process that has this id now.
    pub fn of(pid: u32) -> Option<Self> {
        platform::started(pid).map(|started| Identity { pid, started })
    }

    /// It has not ended.
    pub fn is_alive(&self) -> bool {
        Identity::of(self.pid).as_ref() == Some(self)
    }
}

/// A hold on one process that can't slip to another one.
pub struct Handle(platform::Handle);

impl Handle {
    /// A handle on `process`; `None` if it ended.
    pub fn open(process: &Identity) -> Option<Self> {
        platform::Handle::open(process).map(Handle)
    }

    /// Ends the process at once.
    ///
    /// # Errors
    /// No permission. A process that ended already is no error.
    pub fn kill(&self) -> io::Result<()> {
        self.0.kill()
    }

    /// Returns when the process has ended, whoever started it.
    pub fn wait(&self) {
        self.0.wait();
    }
}

/// Starts `command` so that Ctrl-C and the end of the launcher do not reach it on Unix, and so that it ends with the
/// launcher on Windows, where nobody could take it over.
///
/// # Errors
/// The program can't be started.
pub fn start(command: Command) -> io::Result<Box<dyn ChildWrapper>> {
    platform::start(command)
}

/// Variables of the environment that a program with a window needs; all others stay with us.
const ENVIRONMENT: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "LC_MESSAGES",
    "TZ",
    // Windows on screens and sound.
    "DISPLAY",
    "XAUTHORITY",
    "WAYLAND_DISPLAY",
    "XDG_RUNTIME_DIR",
    "XDG_SESSION_TYPE",
    "XDG_CURRENT_DESKTOP",
    "XDG_DATA_DIRS",
    "GDK_BACKEND",
    "GDK_SCALE",
    "GDK_DPI_SCALE",
    "SDL_VIDEODRIVER",
    "PULSE_SERVER",
    "PIPEWIRE_REMOTE",
    // Windows does not load its own libraries without these.
    "SystemRoot",
    "windir",
    "SystemDrive",
    "ComSpec",
    "USERPROFILE",
    "APPDATA",
    "LOCALAPPDATA",
    "ProgramData",
    "NUMBER_OF_PROCESSORS",
    "PROCESSOR_ARCHITECTURE",
];

/// Gives `command` a clean environment; its temporary files go to `temporary`.
pub fn clean_environment(command: &mut Command, temporary: &Path) {
    command.env_clear();
    for name in ENVIRONMENT {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    for name in ["TMPDIR", "TEMP", "TMP"] {
        command.env(name, temporary);
    }
    let bus = bus(env::value(BUS), env::path("XDG_RUNTIME_DIR"));
    command.env(BUS, bus.unwrap_or_else(|| NO_BUS.into()));
}

/// Gives `command` these variables of our environment as well, as far as they are there. To be called after
/// [`clean_environment`].
pub fn keep_variables(command: &mut Command, names: &[&str]) {
    for name in names {
        match std::env::var_os(name) {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
}

/// Where a desktop session's programs talk to each other.
const BUS: &str = "DBUS_SESSION_BUS_ADDRESS";

/// Nobody talks here, and nobody is started to: a window's library that finds no bus would start one, which a program
/// that may not start others does not survive.
const NO_BUS: &str = "disabled:";

/// The bus that is `named`, or the one of the user's session where systemd has it.
fn bus(named: Option<OsString>, runtime: Option<PathBuf>) -> Option<OsString> {
    named.or_else(|| {
        let socket = runtime?.join("bus");
        socket.exists().then(|| [OsString::from("unix:path="), socket.into()].into_iter().collect())
    })
}

/// Where programs keep caches, settings and data of their user.
const HOME: &[&str] = &["HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"];

/// Lets `command` take `home` for the user's folder, so that what a window writes there does not stay on the PC. To be
/// called after [`clean_environment`].
pub fn private_home(command: &mut Command, home: &Path) {
    for name in HOME {
        command.env(name, home);
    }
    if let Some(key) = display_key(std::env::var_os("XAUTHORITY"), std::env::var_os("HOME")) {
        command.env("XAUTHORITY", key);
    }
}

/// The file that lets a program show windows on X11: `named`, or where X11 looks for it in the `home` of the user.
fn display_key(named: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    named
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&home?).join(".Xauthority")).filter(|key| key.is_file()))
}

/// What a short-lived program said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// How it ended; none if it had to be killed for taking too long.
    pub status: Option<ExitStatus>,
    /// Its stdout, cut at the limit, invalid UTF-8 replaced.
    pub stdout: String,
    /// Its stderr, likewise.
    pub stderr: String,
}

/// Runs a short-lived program without input: at most `limit` bytes are kept of what it says on each of stdout and stderr,
/// and it is killed after `patience`.
///
/// # Errors
/// The program can't be started.
pub fn ask(program: &Path, arguments: &[&str], limit: u64, patience: Duration) -> io::Result<Said> {
    ask_with(program, arguments, &[], limit, patience)
}

/// As [`ask`], for a program that also gets these variables of our environment.
///
/// # Errors
/// As [`ask`].
pub fn ask_with(
    program: &Path,
    arguments: &[&str],
    variables: &[&str],
    limit: u64,
    patience: Duration,
) -> io::Result<Said> {
    let deadline = Instant::now() + patience;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    clean_environment(&mut command, &std::env::temp_dir());
    keep_variables(&mut command, variables);
    let mut child = start(command)?;
    let stdout = read_in_background(child.stdout().take(), limit);
    let stderr = read_in_background(child.stderr().take(), limit);
    // Both streams end when the program does.
    let mut texts =
        [stdout, stderr].map(|text| text.recv_timeout(deadline.saturating_duration_since(Instant::now())));
    let in_time = texts.iter().all(Result::is_ok);
    if !in_time {
        let _ = child.start_kill();
    }
    let status = child.wait()?;
    let [stdout, stderr] = &mut texts;
    Ok(Said {
        status: in_time.then_some(status),
        stdout: std::mem::replace(stdout, Ok(String::new())).unwrap_or_default(),
        stderr: std::mem::replace(stderr, Ok(String::new())).unwrap_or_default(),
    })
}

/// The text of a stream when it ends; what is over `limit` is read and dropped, so that the writer does not block.
fn read_in_background(stream: Option<impl Read + Send + 'static>, limit: u64) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What came before an error is all there is.
            let _ = stream.by_ref().take(limit).read_to_end(&mut bytes);
            let _ = io::copy(&mut stream, &mut io::sink());
        }
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

/// Bytes of memory that the process `pid` holds; none if it ended.
pub fn memory(pid: u32) -> Option<u64> {
    let system = look_at(pid, ProcessRefreshKind::nothing().with_memory())?;
    system.process(Pid::from_u32(pid)).map(sysinfo::Process::memory)
}

/// The process of the program called `name` that has the file at `path` among its arguments, whoever started it. Arguments
/// that this user may not see are not found.
pub fn find_by_argument(name: &str, path: &Path) -> Option<Identity> {
    let mut system = System::new().ok()?;
    let what = ProcessRefreshKind::nothing().with_cmd(UpdateKind::Always).without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
    // The same file may be written otherwise: through a link, or with a short name.
    let real = path.canonicalize().ok();
    let means = |argument: &OsString| {
        let argument = Path::new(argument);
        argument == path
            || (argument.file_name() == path.file_name()
                && real.is_some()
                && argument.canonicalize().ok() == real)
    };
    let mut found = system.processes().values().filter(|process| is_called(process, name));
    let process = found.find(|process| process.cmd().iter().skip(1).any(means))?;
    Identity::of(process.pid().as_u32())
}

/// The process of the program called `name` that works in `folder`. Those of other users are not found.
pub fn find_by_folder(name: &str, folder: &Path) -> Option<Identity> {
    let folder = folder.canonicalize().ok()?;
    let mut system = System::new().ok()?;
    let what = ProcessRefreshKind::nothing().with_cwd(UpdateKind::Always).without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
    let mut found = system.processes().values().filter(|process| is_called(process, name));
    let process = found.find(|process| process.cwd().is_some_and(|cwd| cwd == folder))?;
    Identity::of(process.pid().as_u32())
}

/// The process `pid`, if its program is called `name`.
pub fn find_by_id(pid: u32, name: &str) -> Option<Identity> {
    let system = look_at(pid, ProcessRefreshKind::nothing())?;
    system.process(Pid::from_u32(pid)).filter(|process| is_called(process, name))?;
    Identity::of(pid)
}

/// Whether nothing can be read of what the process `pid` was told; also if it ended.
pub fn tells_nothing(pid: u32) -> bool {
    let what = ProcessRefreshKind::nothing().with_cmd(UpdateKind::Always);
    let system = look_at(pid, what);
    system
        .as_ref()
        .and_then(|system| system.process(Pid::from_u32(pid)))
        .is_none_or(|process| process.cmd().len() < 2)
}

fn is_called(process: &sysinfo::Process, name: &str) -> bool {
    let called = process.name().to_string_lossy();
    called.strip_suffix(std::env::consts::EXE_SUFFIX).unwrap_or(&called).eq_ignore_ascii_case(name)
}

/// A view of the system that holds only the process `pid`.
fn look_at(pid: u32, what: ProcessRefreshKind) -> Option<System> {
    let mut system = System::new().ok()?;
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[Pid::from_u32(pid)]), true, what);
    Some(system)
}

/// How a process ended, in words.
#[cfg(not(unix))]
pub fn describe(status: ExitStatus) -> String {
    format!("it ended with {status}")
}

/// How a process ended, in words.
#[cfg(unix)]
pub fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with code {code}"),
        (None, Some(9)) => "it was killed (signal 9)".into(),
        (None, Some(signal)) => format!("it crashed with signal {signal}"),
        (None, None) => "it ended".into(),
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use std::os::fd::OwnedFd;

    use process_wrap::std::ProcessGroup;
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

    use super::*;

    pub fn start(command: Command) -> io::Result<Box<dyn ChildWrapper>> {
        CommandWrap::from(command).wrap(ProcessGroup::leader()).spawn()
    }

    /// Clock ticks since the system's start (proc_pid_stat(5), field 22) and which start of the system that was. A
    /// process that waits to be reaped has ended.
    pub fn started(pid: u32) -> Option<String> {
        let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the program's name in brackets and may hold anything.
        let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
        let state = fields.next()?;
        if matches!(state, "Z" | "X") {
            return None;
        }
        let ticks = fields.nth(18)?;
        let boot = fs_err::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(format!("{ticks} {}", boot.trim()))
    }

    pub struct Handle(OwnedFd);

    impl Handle {
        pub fn open(process: &Identity) -> Option<Self> {
            let pid = rustix::process::Pid::from_raw(i32::try_from(process.pid).ok()?)?;
            let handle = pidfd_open(pid, PidfdFlags::empty()).ok()?;
            // Checked after the opening: now the number can't move to another process under us.
            process.is_alive().then_some(Handle(handle))
        }

        pub fn kill(&self) -> io::Result<()> {
            match pidfd_send_signal(&self.0, Signal::KILL) {
                Err(error) if error != rustix::io::Errno::SRCH => Err(error.into()),
                _ => Ok(()),
            }
        }

        pub fn wait(&self) {
            let mut ended = [PollFd::new(&self.0, PollFlags::IN)];
            while let Err(rustix::io::Errno::INTR) = poll(&mut ended, None) {}
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use super::*;

    #[cfg(unix)]
    pub fn start(command: Command) -> io::Result<Box<dyn ChildWrapper>> {
        CommandWrap::from(command).wrap(process_wrap::std::ProcessGroup::leader()).spawn()
    }

    #[cfg(windows)]
    pub fn start(mut command: Command) -> io::Result<Box<dyn ChildWrapper>> {
        use std::os::windows::process::CommandExt as _;
        /// CREATE_NEW_PROCESS_GROUP and CREATE_NO_WINDOW of `winbase.h`: no Ctrl-C of ours, no black window.
        const APART: u32 = 0x0800_0200;
        command.creation_flags(APART);
        let mut child = CommandWrap::from(command).spawn()?;
        let tied = match child.process_handle() {
            Some(handle) => crate::host::windows::end_with_us(handle),
            None => Err(io::ErrorKind::Unsupported.into()),
        };
        if let Err(error) = tied {
            child.kill()?;
            return Err(error);
        }
        Ok(child)
    }

    pub fn started(pid: u32) -> Option<String> {
        let system = look_at(pid, ProcessRefreshKind::nothing())?;
        let process = system.process(Pid::from_u32(pid))?;
        (process.status() != sysinfo::ProcessStatus::Zombie).then(|| process.start_time().to_string())
    }

    pub struct Handle(Identity);

    impl Handle {
        pub fn open(process: &Identity) -> Option<Self> {
            process.is_alive().then(|| Handle(process.clone()))
        }

        pub fn kill(&self) -> io::Result<()> {
            let system = look_at(self.0.pid, ProcessRefreshKind::nothing());
            match system.as_ref().and_then(|system| system.process(Pid::from_u32(self.0.pid))) {
                Some(process) if process.start_time().to_string() == self.0.started && !process.kill() => {
                    Err(io::ErrorKind::PermissionDenied.into())
                }
                _ => Ok(()),
            }
        }

        /// These systems have no safe call that waits for a process of somebody else, so this looks twice a second. It
        /// is only reached after the process closed its channel, which it does when it ends.
        pub fn wait(&self) {
            while self.0.is_alive() {
                thread::sleep(Duration::from_millis(500));
            }
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn sleeper() -> Box<dyn ChildWrapper> {
        let mut command = Command::new("sleep");
        command.arg("60").stdin(Stdio::null());
        start(command).unwrap()
    }

    #[test]
    fn a_process_is_killed_through_its_handle_and_known_to_have_ended() {
        let mut child = sleeper();
        let identity = Identity::of(child.id()).unwrap();
        let handle = Handle::open(&identity).unwrap();
        handle.kill().unwrap();
        handle.wait();
        assert!(!identity.is_alive(), "a process that waits to be reaped has ended");
        assert_eq!(describe(child.wait().unwrap()), "it was killed (signal 9)");
        handle.kill().unwrap();
    }

    #[test]
    fn a_process_is_found_by_the_file_that_it_was_given() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("some file");
        std::fs::write(&file, "").unwrap();
        let mut command = Command::new("tail");
        command.arg("-f").arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = start(command).unwrap();
        let identity = Identity::of(child.id());
        let deadline = Instant::now() + Duration::from_secs(10);
        while find_by_argument("tail", &file).is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(find_by_argument("tail", &file), identity);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        assert_eq!(find_by_argument("tail", &link.join("some file")), identity);
        assert_eq!(find_by_argument("head", &file), None);
        assert_eq!(find_by_argument("tail", &folder.path().join("other")), None);
        assert_eq!(find_by_id(child.id(), "tail"), identity);
        assert_eq!(find_by_id(child.id(), "head"), None);
        child.kill().unwrap();
        assert_eq!(find_by_argument("tail", &file), None);
    }

    #[test]
    fn another_process_with_the_same_number_is_not_taken_for_it() {
        let mut child = sleeper();
        let mut identity = Identity::of(child.id()).unwrap();
        identity.started.insert(0, '1');
        assert!(!identity.is_alive());
        assert!(Handle::open(&identity).is_none());
        child.kill().unwrap();
    }

    #[test]
    fn a_program_that_says_too_much_is_cut_and_one_that_takes_too_long_is_killed() {
        let shell = Path::new("/bin/sh");
        let said =
            ask(shell, &["-c", "yes | head -c 100000; echo no >&2"], 10, Duration::from_secs(10)).unwrap();
        assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("y\ny\ny\ny\ny\n", "no\n"));
        let start = Instant::now();
        let said = ask(shell, &["-c", "exec sleep 60"], 10, Duration::from_millis(100)).unwrap();
        assert_eq!(said.status, None);
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_program_with_a_private_home_finds_no_other_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("env");
        clean_environment(&mut command, folder.path());
        private_home(&mut command, folder.path());
        let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let homes: Vec<&str> = said
            .lines()
            .filter_map(|line| line.split_once('='))
            .filter(|(name, _)| name.ends_with("HOME"))
            .map(|(_, value)| value)
            .collect();
        assert_eq!(homes, [folder.path().to_str().unwrap(); HOME.len()], "{said}");
    }

    #[test]
    fn no_bus_is_started_where_there_is_none() {
        assert_eq!(bus(None, None), None);
        assert_eq!(bus(Some("unix:abstract=x".into()), None), Some("unix:abstract=x".into()));
        let runtime = tempfile::tempdir().unwrap();
        assert_eq!(bus(None, Some(runtime.path().to_owned())), None);
        std::fs::write(runtime.path().join("bus"), "").unwrap();
        let found = bus(None, Some(runtime.path().to_owned())).unwrap();
        assert_eq!(found.to_str().unwrap(), format!("unix:path={}/bus", runtime.path().display()));
    }

    #[test]
    fn the_key_to_the_screen_is_found_although_the_home_is_another() {
        let home = tempfile::tempdir().unwrap();
        let in_home = || Some(home.path().as_os_str().to_owned());
        assert_eq!(display_key(None, None), None);
        assert_eq!(display_key(None, in_home()), None);
        let key = home.path().join(".Xauthority");
        std::fs::write(&key, "").unwrap();
        assert_eq!(display_key(None, in_home()), Some(key));
        assert_eq!(display_key(Some("/run/key".into()), in_home()), Some("/run/key".into()));
    }

    #[test]
    fn the_memory_of_a_process_is_known_while_it_lives() {
        assert!(memory(std::process::id()).unwrap() > 100_000);
    }
}
