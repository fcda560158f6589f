//! The whole life of a session by mouse: a double-click on the stick, the real window, the real guest; and what a screen
//! reader hears of it.

use std::process::Command;
use std::time::{Duration, Instant};

use super::harness::{
    Bench, Drive, Options, Pc, Screen, Stick, Window, guest_says, program, put_program_on, running,
    wait_until_gone,
};

/// Most private memory of the window.
const MEMORY: u64 = 150 << 20;

/// Opens the window on a drive, with the program of this PC.
fn open(screen: &Screen, pc: &Pc, drive: &Drive) -> Window {
    let path = drive.path.to_str().unwrap();
    Window::open(pc, &program(), &["window", path], &pc.scratch, |command| {
        screen.here(command);
    })
}

#[test]
fn a_session_from_the_double_click_to_unplugging() {
    let bench = Bench::new();
    let screen = Screen::new(&bench);
    let mut stick = Stick::exfat(&bench, 512);
    let mount = bench.path().join("a stick");
    stick.attach(&mount);
    let drive = Drive::create(&mount.join("Mein Gerät"), &Options::new("marker first;write 8;wait"));
    let pc = Pc::new(&bench, "pc");
    let program = put_program_on(&drive);
    let home = bench.folder("home");
    let window = Window::open(&pc, &program, &[], &drive.path, |command| {
        screen.here(command).env("HOME", &home);
    });

    screen.shows("Test guest");
    screen.shows("This drive was not used yet.");
    screen.reader().control("Start");
    screen.picture("1-ready");
    screen.click("Start");
    screen.shows("Test guest is running");
    guest_says(&pc, "wait");
    screen.shows("user: 8");
    screen.reader().keeps_quiet("You can unplug now");
    screen.picture("2-running");
    screen.click("Shut down");
    screen.shows("You can unplug now");
    screen.picture("3-done");
    // It is true: nothing of ours holds the stick, although the window is still there.
    drive.assert_sound();
    stick.eject();
    assert!(!running(&pc.scratch, "qemu-system"));
    screen.click("Close");
    let (code, said) = window.ends();
    assert_eq!(code, Some(0), "{said}");
    pc.assert_as_before();
    let left: Vec<_> = std::fs::read_dir(&home).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "not even a cache of the graphics driver: {left:?}");

    stick.attach(&mount);
    drive.set(&Options::new("show"));
    assert_eq!(pc.session(&drive).markers("user"), ["first"]);
}

#[test]
fn a_session_whose_window_was_killed_is_recovered_through_the_window() {
    let bench = Bench::new();
    let screen = Screen::new(&bench);
    let drive = Drive::create(&bench.folder("drive"), &Options::new("marker kept;write 8;wait"));
    let pc = Pc::new(&bench, "pc");
    let window = open(&screen, &pc, &drive);
    screen.click("Start");
    guest_says(&pc, "wait");
    window.kill();

    let window = open(&screen, &pc, &drive);
    screen.shows("The machine still runs");
    screen.shows("The drive is intact, and these changes are kept.");
    screen.picture("4-recovery");
    screen.click("Shut down and save");
    screen.shows("You can unplug now");
    screen.picture("5-recovered");
    drive.assert_sound();
    screen.click("Close");
    assert_eq!(window.ends().0, Some(0));
    wait_until_gone(&pc.scratch, "qemu-system");
    pc.assert_as_before();

    drive.set(&Options::new("show"));
    assert_eq!(pc.session(&drive).markers("user"), ["kept"]);
}

#[test]
fn a_machine_that_is_forced_off_leaves_the_decision_to_the_window() {
    let bench = Bench::new();
    let screen = Screen::new(&bench);
    let drive = Drive::create(&bench.folder("drive"), &Options::new("marker written;hang"));
    let pc = Pc::new(&bench, "pc");
    let window = open(&screen, &pc, &drive);
    screen.click("Start");
    guest_says(&pc, "hang");
    screen.click("Force off…");
    screen.shows("It is like pulling the power plug");
    screen.click("Force off");
    screen.shows("The machine was forced off");
    drive.assert_untouched();
    screen.click("Save to the drive");
    screen.shows("You can unplug now");
    screen.click("Undo this session");
    screen.shows("The drive is as before that save.");
    screen.click("Take that back");
    screen.shows("The drive is as after that save again.");
    screen.click("Close");
    assert_eq!(window.ends().0, Some(0));
    pc.assert_as_before();
    drive.set(&Options::new("show"));
    assert_eq!(pc.session(&drive).markers("user"), ["written"]);
}

#[test]
fn the_window_is_there_before_anything_is_known_about_the_pc() {
    let bench = Bench::new();
    let screen = Screen::new(&bench);
    let drive = Drive::create(&bench.folder("drive"), &Options::new("poweroff"));
    // A hypervisor that takes as long as the test likes to answer.
    let gate = bench.path().join("gate");
    std::fs::write(&gate, "").unwrap();
    let wait = format!("*) while [ -e '{}' ]; do sleep 0.1; done;;", gate.display());
    let pc = Pc::new(&bench, "pc").with_qemu(&bench, &wait);
    let window = open(&screen, &pc, &drive);
    screen.shows("Finding out what this PC offers");
    screen.reader().keeps_quiet("Runs on");
    // It answers meanwhile.
    screen.click("About");
    screen.shows("The drive is always at one whole state");
    screen.click("Back");
    std::fs::remove_file(&gate).unwrap();
    screen.shows("QEMU");
    window.kill();
}

#[test]
fn a_pulled_stick_is_told_calmly_and_the_machine_goes_on_when_it_is_back() {
    let bench = Bench::new();
    let screen = Screen::new(&bench);
    let mut stick = Stick::exfat(&bench, 512);
    let mount = bench.path().join("stick");
    stick.attach(&mount);
    let drive = Drive::create(&mount.join("drive"), &Options::new("marker before;wait"));
    let pc = Pc::new(&bench, "pc");
    let program = put_program_on(&drive);
    let window = Window::open(&pc, &program, &[], &pc.scratch, |command| {
        screen.here(command);
    });
    screen.click("Start");
    guest_says(&pc, "wait");
    stick.pull();
    screen.shows("The drive can't be reached");
    screen.shows("The machine is paused and nothing is lost.");
    screen.picture("6-drive-gone");
    stick.attach(&mount);
    screen.shows("Work in its window.");
    screen.click("Shut down");
    screen.shows("You can unplug now");
    screen.click("Close");
    assert_eq!(window.ends().0, Some(0));
    drive.assert_sound();
    pc.assert_as_before();
}

#[test]
fn a_second_start_brings_the_first_window_to_the_front() {
    let bench = Bench::new();
    let screen = Screen::new(&bench);
    let drive = Drive::create(&bench.folder("drive"), &Options::new("poweroff"));
    let pc = Pc::new(&bench, "pc");
    let first = open(&screen, &pc, &drive);
    screen.reader().control("Start");
    let window = screen.window();
    screen.xdotool(&["windowminimize", "--sync", &window]);
    until("the window goes to the back", || active(&screen).as_ref() != Some(&window));

    let (code, said) = open(&screen, &pc, &drive).ends();
    assert_eq!(code, Some(0), "{said}");
    until("the window comes to the front", || active(&screen).as_ref() == Some(&window));
    assert_eq!(screen.windows(), [window], "there is still only one");
    screen.click("About");
    screen.shows("The drive is always at one whole state");
    first.kill();
}

/// The window manager takes its moment for everything.
fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn active(screen: &Screen) -> Option<String> {
    let mut command = Command::new("xdotool");
    let output = screen.here(&mut command).arg("getactivewindow").output().unwrap();
    let id = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (!id.is_empty()).then_some(id)
}

#[test]
fn where_wgpu_fails_glow_draws_with_little_memory() {
    let bench = Bench::new();
    let screen = Screen::new(&bench);
    let drive = Drive::create(&bench.folder("drive"), &Options::new("wait"));
    let pc = Pc::new(&bench, "pc");
    // From a folder on the drive, by a relative path: what starts again must find it again.
    let window = Window::open(&pc, &program(), &["window", "."], &drive.path, |command| {
        // Only Windows has it.
        screen.here(command).env("WGPU_BACKEND", "dx12");
    });
    screen.reader().control("Start");
    let environment = std::fs::read(format!("/proc/{}/environ", window.id())).unwrap();
    assert!(String::from_utf8_lossy(&environment).contains("POCKETVM_RENDERER=glow"));
    let idle = window.private_memory();
    screen.click("Start");
    guest_says(&pc, "wait");
    screen.shows("Running for");
    let busy = window.private_memory();
    assert!(idle.max(busy) <= MEMORY, "idle {} MiB, busy {} MiB", idle >> 20, busy >> 20);
    println!("private memory: idle {} MiB, with a guest {} MiB", idle >> 20, busy >> 20);
    screen.click("Shut down");
    screen.shows("You can unplug now");
    screen.click("Close");
    assert_eq!(window.ends().0, Some(0));
    pc.assert_as_before();
}

#[test]
fn where_nothing_can_be_drawn_a_box_of_the_system_names_the_command_line() {
    let bench = Bench::new();
    let screen = Screen::with(&bench, &["-extension", "GLX"]);
    let drive = Drive::create(&bench.folder("drive"), &Options::new("poweroff"));
    let pc = Pc::new(&bench, "pc");
    let path = drive.path.to_str().unwrap().to_owned();
    let window = Window::open(&pc, &program(), &["window", &path], &pc.scratch, |command| {
        screen
            .here(command)
            .env("WGPU_BACKEND", "dx12")
            .env("__EGL_VENDOR_LIBRARY_FILENAMES", "/nonexistent")
            .env("LIBGL_DRIVERS_PATH", "/nonexistent");
    });
    screen.shows("pocketvm run");
    screen.picture("7-no-graphics");
    screen.click_in_other("OK", "^PocketVM$");
    let (code, said) = window.ends();
    assert_eq!(code, Some(13), "{said}");
    assert!(said.contains("pocketvm run"), "{said}");
    pc.assert_as_before();
}

#[test]
fn without_a_display_the_program_says_so_and_names_the_command() {
    let bench = Bench::new();
    let pc = Pc::new(&bench, "pc");
    let window = Window::open(&pc, &program(), &[], &pc.scratch, |command| {
        command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY").env_remove("WAYLAND_SOCKET");
    });
    let (code, said) = window.ends();
    assert_eq!(code, Some(13), "{said}");
    assert!(said.contains("there is no display") && said.contains("pocketvm run"), "{said}");
}

#[test]
fn a_machine_with_a_window_runs_where_no_bus_is() {
    let bench = Bench::new();
    let screen = Screen::new(&bench);
    let drive = Drive::create(&bench.folder("drive"), &Options::new("marker shown;wait"));
    let pc = Pc::new(&bench, "pc");
    let path = drive.path.to_str().unwrap().to_owned();
    let arguments = ["run", &path, "--accelerator", "tcg", "--json"];
    let run = Window::open(&pc, &program(), &arguments, &pc.scratch, |command| {
        screen.here_without_a_bus(command);
    });
    guest_says(&pc, "wait");
    screen.xdotool(&["search", "--sync", "--onlyvisible", "--name", "QEMU"]);
    run.interrupt();
    assert_eq!(run.ends().0, Some(0));
    drive.set(&Options::new("show"));
    assert_eq!(pc.session(&drive).markers("user"), ["shown"]);
}
