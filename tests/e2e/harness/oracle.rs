//! Independent judges of disk images: qemu-img.

use std::path::Path;
use std::process::Command;

use super::bench::must;

/// `qemu-img check` must find neither errors nor leaks.
pub fn image_check(image: &Path) {
    let output = must(Command::new("qemu-img").args(["check", "-f", "qcow2"]).arg(image));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("No errors were found"), "{}: {text}", image.display());
}

/// Both images must hold the same for the guest; whichever has one reads through its backing file.
pub fn compare(one: &Path, other: &Path) {
    must(Command::new("qemu-img").args(["compare", "-f", "qcow2", "-F", "qcow2"]).args([one, other]));
}

/// A fingerprint of a file's bytes.
pub fn checksum(file: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut std::fs::File::open(file).unwrap(), &mut hasher).unwrap();
    hasher.finalize().to_string()
}
