//! Running other programs.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs a program that must succeed.
pub fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()))
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{program} is missing (make bench installs what it needs): {error}"));
    assert!(
        output.status.success(),
        "{program} {args:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs `qemu-io` commands on an image, in one process: their text goes through a pipe, as an argument list would be too
/// long.
pub fn qemu_io(image: &Path, commands: &[String]) {
    let mut child = Command::new("qemu-io")
        .args(["-f", "qcow2", "-n", "-d", "unmap"])
        .arg(image)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("qemu-io is missing: apt install qemu-utils");
    let text = commands.join("\n") + "\nquit\n";
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("qemu-io reads");
    assert!(child.wait().expect("qemu-io ends").success(), "qemu-io failed");
}

/// A path as text.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("paths of this benchmark are Unicode")
}

/// Everything is on the devices, and nothing of it in memory: what is read next comes from the stick.
pub fn cool_down() {
    run("sync", &[]);
    std::fs::write("/proc/sys/vm/drop_caches", "3").expect("the benchmark runs as root");
}
