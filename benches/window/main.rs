//! How soon the window is there, and what it takes when nothing happens: real binary, real X server, no graphics card.
//!
//! The peer is `zenity`, a GTK program with one small window, started in turns with ours on the same screen. What is
//! compared is the time from exec until the window is mapped; when our first frame is drawn only our own log can tell.
#![allow(missing_docs, clippy::print_stdout, clippy::print_stderr)]

#[cfg(target_os = "linux")]
mod measure;

#[cfg(target_os = "linux")]
fn main() -> measure::Result<()> {
    // cargo passes `--bench`.
    if std::env::args().any(|argument| argument == "--help") {
        println!("Measures the start of the window and its idle CPU time. It takes no arguments.");
        return Ok(());
    }
    measure::run()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("the window is measured on an X server: this benchmark runs on Linux only");
}
