//! The measurements.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use x11rb::connection::Connection;
use x11rb::protocol::Event;
use x11rb::protocol::xproto::{ChangeWindowAttributesAux, ConnectionExt, EventMask};

pub type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// Starts of each program.
const ROUNDS: usize = 10;

/// How long an idle window is looked at.
const IDLE: Duration = Duration::from_secs(20);

/// Ticks of the scheduler's clock in a second, as Linux tells them to programs.
const TICKS: f64 = 100.0;

/// Everything, printed as it comes.
pub fn run() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("pocketvm-bench-").tempdir_in("/var/tmp")?;
    let drive = folder.path().join("drive");
    let scratch = folder.path().join("scratch");
    std::fs::create_dir(&scratch)?;
    make_drive(&drive)?;
    let screen = Screen::start()?;
    let ours = |renderer: &str| {
        let mut command = screen.command(env!("CARGO_BIN_EXE_pocketvm"));
        command.arg("window").arg(&drive).env("POCKETVM_SCRATCH", &scratch);
        command
            .env("POCKETVM_RENDERER", renderer)
            .env("POCKETVM_LOG", "pocketvm=info")
            .stderr(Stdio::piped());
        command
    };
    println!("From exec, in milliseconds, the median of {ROUNDS} with the least and the greatest:");
    let (mut mapped, mut peer) = ([vec![], vec![]], vec![]);
    let mut drawn = [vec![], vec![]];
    let renderers = ["wgpu", "glow"];
    for _ in 0..ROUNDS {
        for (renderer, (mapped, drawn)) in renderers.iter().zip(mapped.iter_mut().zip(&mut drawn)) {
            let (window, frame) = screen.time_ours(ours(renderer))?;
            mapped.push(window);
            drawn.push(frame);
        }
        peer.push(screen.time_peer()?);
    }
    let peer = tell("zenity, window mapped", &mut peer);
    for (renderer, (mapped, drawn)) in renderers.iter().zip(mapped.iter_mut().zip(&mut drawn)) {
        let mapped = tell(&format!("{renderer}, window mapped"), mapped);
        tell(&format!("{renderer}, first frame drawn"), drawn);
        println!("  {renderer}, window mapped: {:.2} times as long as zenity", mapped / peer);
    }
    println!("Idle, with everything shown, over {} s:", IDLE.as_secs());
    for renderer in renderers {
        let (cpu, private) = screen.idle(ours(renderer))?;
        println!("  {renderer}: {:.2} % of one CPU, {} MiB of private memory", cpu * 100.0, private >> 20);
    }
    Ok(())
}

/// A drive whose machine is never started.
fn make_drive(drive: &Path) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::create_dir_all(drive.join("templates"))?;
    std::fs::copy(root.join("templates/qemu.yaml.hbs"), drive.join("templates/qemu.yaml.hbs"))?;
    let disk = drive.join("user.qcow2");
    let made =
        Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(&disk).arg("1G").status()?;
    if !made.success() {
        return Err("qemu-img can't make a disk".into());
    }
    let manifest = "schema: 1\nmachine: {name: Bench}\nmemory: {min: 256 MiB, max: 1 GiB}\ncpus: {min: 1, max: 2}\n\
                    disks:\n  - {name: user, file: user.qcow2, keep: true}\nscratch: {room: 64 MiB, plain: accepted}\n\
                    hypervisors:\n  qemu: {template: templates/qemu.yaml.hbs}\n";
    std::fs::write(drive.join("pocketvm.yaml"), manifest)?;
    Ok(())
}

/// Prints a row and returns its median.
fn tell(what: &str, times: &mut [Duration]) -> f64 {
    times.sort();
    let milliseconds = |time: &Duration| time.as_secs_f64() * 1000.0;
    let (Some(least), Some(greatest)) = (times.first(), times.last()) else { return f64::NAN };
    let median = milliseconds(&times[times.len() / 2]);
    println!("  {what:26} {median:6.0}  ({:.0} to {:.0})", milliseconds(least), milliseconds(greatest));
    median
}

/// An X server without a screen. It ends with this value.
struct Screen {
    server: Child,
    display: String,
}

impl Screen {
    fn start() -> Result<Screen> {
        let arguments = ["-displayfd", "1", "-screen", "0", "1280x960x24", "-nolisten", "tcp", "-noreset"];
        let mut server = Command::new("Xvfb")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start Xvfb (package xvfb): {error}"))?;
        let mut number = String::new();
        BufReader::new(server.stdout.take().ok_or("no output")?).read_line(&mut number)?;
        Ok(Screen { server, display: format!(":{}", number.trim()) })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("DISPLAY", &self.display)
            .env_remove("WAYLAND_DISPLAY")
            .env_remove("DBUS_SESSION_BUS_ADDRESS");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Waits in the background for the next window to be mapped.
    fn watch(&self) -> Result<JoinHandle<Result<Instant, String>>> {
        let (connection, number) = x11rb::connect(Some(&self.display))?;
        let root = connection.setup().roots[number].root;
        let children = ChangeWindowAttributesAux::new().event_mask(EventMask::SUBSTRUCTURE_NOTIFY);
        connection.change_window_attributes(root, &children)?.check()?;
        Ok(std::thread::spawn(move || {
            loop {
                let event = connection.wait_for_event().map_err(|error| error.to_string())?;
                if matches!(event, Event::MapNotify(_)) {
                    return Ok(Instant::now());
                }
            }
        }))
    }

    /// When the window is mapped, and when its first frame is drawn.
    fn time_ours(&self, mut command: Command) -> Result<(Duration, Duration)> {
        let watch = self.watch()?;
        let start = Instant::now();
        let mut window = Closing(command.spawn()?);
        let stderr = BufReader::new(window.0.stderr.take().ok_or("no stderr")?);
        let reader = std::thread::spawn(move || {
            let mut lines = stderr.lines().map_while(std::result::Result::ok);
            let drawn = lines.any(|line| line.contains("the first frame is shown")).then(|| start.elapsed());
            // Who says more must not wait for a reader.
            std::thread::spawn(move || lines.for_each(drop));
            drawn
        });
        let mapped = watch.join().map_err(|_| "the watcher failed")?? - start;
        let drawn = reader.join().map_err(|_| "the reader failed")?.ok_or("no first frame")?;
        Ok((mapped, drawn))
    }

    fn time_peer(&self) -> Result<Duration> {
        let watch = self.watch()?;
        let start = Instant::now();
        let mut command = self.command("zenity");
        let _window = Closing(command.args(["--info", "--text", "x"]).stderr(Stdio::null()).spawn()?);
        Ok(watch.join().map_err(|_| "the watcher failed")?? - start)
    }

    /// The part of a CPU that a window takes that has shown everything, and its private memory in bytes.
    fn idle(&self, mut command: Command) -> Result<(f64, u64)> {
        let window = Closing(command.stderr(Stdio::null()).spawn()?);
        let id = window.0.id();
        // Two equal readings in a row: it has come to rest.
        let (mut last, mut ticks) = (u64::MAX, ticks(id)?);
        while last != ticks {
            std::thread::sleep(Duration::from_secs(1));
            (last, ticks) = (ticks, self::ticks(id)?);
        }
        std::thread::sleep(IDLE);
        let used = self::ticks(id)? - ticks;
        let text = std::fs::read_to_string(format!("/proc/{id}/smaps_rollup"))?;
        let kib = |line: &str| line.split_whitespace().nth(1)?.parse::<u64>().ok();
        let private: u64 = text.lines().filter(|line| line.starts_with("Private_")).filter_map(kib).sum();
        Ok((used as f64 / TICKS / IDLE.as_secs_f64(), private * 1024))
    }
}

/// Ticks of CPU time that a process has had.
fn ticks(id: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The name, which may hold anything, is in brackets.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A program that ends with this value.
struct Closing(Child);

impl Drop for Closing {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
