//! A desktop of its own for one test: X server, window manager, bus, screen reader, a hand on the mouse.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use super::bench::{find, must};
use super::{Bench, Node, Reader};

/// Programs that a desktop is made of, and the package that has each.
const PROGRAMS: [(&str, &str); 5] = [
    ("Xvfb", "xvfb"),
    ("openbox", "openbox"),
    ("dbus-daemon", "dbus-daemon"),
    ("xdotool", "xdotool"),
    ("import", "imagemagick"),
];

/// A desktop. Everything on it ends with it.
pub struct Screen {
    display: String,
    bus: String,
    runtime: PathBuf,
    reader: Option<Reader>,
    children: Vec<Child>,
}

impl Screen {
    /// An empty desktop with a screen reader at work.
    pub fn new(bench: &Bench) -> Screen {
        Screen::with(bench, &[])
    }

    /// As [`Screen::new`], with more arguments for the X server.
    pub fn with(bench: &Bench, arguments: &[&str]) -> Screen {
        for (program, package) in PROGRAMS {
            assert!(find(program).is_some(), "{program} is missing (package {package}): run `make setup`");
        }
        let runtime = bench.folder("runtime");
        std::fs::set_permissions(&runtime, std::fs::Permissions::from_mode(0o700)).unwrap();
        let mut screen =
            Screen { display: String::new(), bus: String::new(), runtime, reader: None, children: vec![] };
        // Each says on its standard output when it can be talked to.
        let server = ["-displayfd", "1", "-screen", "0", "1280x960x24", "-nolisten", "tcp"];
        let number = screen.start(Command::new("Xvfb").args(server).args(arguments));
        screen.display = format!(":{number}");
        screen.bus =
            screen.start(Command::new("dbus-daemon").args(["--session", "--nofork", "--print-address"]));
        screen.start(Command::new("openbox").args(["--sm-disable", "--startup", "echo ready"]));
        screen.reader = Some(Reader::start(&screen.bus));
        screen
    }

    /// Starts a server and returns its first line.
    fn start(&mut self, command: &mut Command) -> String {
        self.here(command).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let mut stdout: BufReader<ChildStdout> = BufReader::new(child.stdout.take().unwrap());
        self.children.push(child);
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert!(!line.trim().is_empty(), "{command:?} ended at once");
        line.trim().to_owned()
    }

    /// Lets a program find this desktop, and no other.
    pub fn here<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("DISPLAY", &self.display)
            .env("DBUS_SESSION_BUS_ADDRESS", &self.bus)
            .env("XDG_RUNTIME_DIR", &self.runtime)
            .env("LANG", "C.UTF-8")
            .env_remove("LC_ALL")
            .env_remove("LANGUAGE")
            .env_remove("XAUTHORITY")
            .env_remove("WAYLAND_DISPLAY")
    }

    /// As [`Screen::here`], where no bus is.
    pub fn here_without_a_bus<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        self.here(command).env_remove("DBUS_SESSION_BUS_ADDRESS").env_remove("XDG_RUNTIME_DIR")
    }

    pub fn reader(&self) -> &Reader {
        self.reader.as_ref().unwrap()
    }

    /// Waits until `text` is shown, and returns what says it.
    pub fn shows(&self, text: &str) -> Node {
        self.reader().waits_for(text)
    }

    /// Clicks a control of our window with the mouse, as soon as it is there.
    pub fn click(&self, name: &str) {
        self.click_in(&self.reader().control(name), &self.window());
    }

    /// Clicks a control of a window that is not ours.
    pub fn click_in_other(&self, name: &str, window_name: &str) {
        let control = self.reader().control(name);
        let window = self.xdotool(&["search", "--sync", "--onlyvisible", "--name", window_name]);
        self.click_in(&control, &window);
    }

    fn click_in(&self, control: &Node, window: &str) {
        self.xdotool(&["windowactivate", "--sync", window]);
        let (x, y) = self.reader().place(control);
        self.xdotool(&["mousemove", "--window", window, &x.to_string(), &y.to_string(), "click", "1"]);
    }

    /// The one window of ours.
    pub fn window(&self) -> String {
        let windows = self.windows();
        assert_eq!(windows.len(), 1, "one window of ours was expected");
        windows[0].clone()
    }

    /// All windows of ours.
    pub fn windows(&self) -> Vec<String> {
        let mut command = Command::new("xdotool");
        let output = self.here(&mut command).args(["search", "--class", "^pocketvm$"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }

    /// Has a hand on mouse and keyboard.
    pub fn xdotool(&self, arguments: &[&str]) -> String {
        let output = must(self.here(Command::new("xdotool").args(arguments)));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Keeps a picture of the whole screen, see [`pictures`].
    pub fn picture(&self, name: &str) -> PathBuf {
        let folder = pictures();
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{name}.png"));
        must(self.here(Command::new("import").args(["-window", "root"]).arg(&path)));
        path
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.display.is_empty() {
            let path = pictures().join("failed.png");
            let _ = std::fs::create_dir_all(pictures());
            let _ = self.here(Command::new("import").args(["-window", "root"]).arg(&path)).status();
            eprintln!("the screen as it was: {}", path.display());
        }
        self.reader = None;
        for mut child in std::mem::take(&mut self.children).into_iter().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Where pictures of screens are kept.
fn pictures() -> PathBuf {
    std::env::var_os("POCKETVM_TEST_PICTURES")
        .map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("pictures"), PathBuf::from)
}
