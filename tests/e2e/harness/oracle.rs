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
    let formats = ["-f", format_of(one), "-F", format_of(other)];
    must(Command::new("qemu-img").arg("compare").args(formats).args([one, other]));
}

/// What the tests' images are, by their names.
pub fn format_of(image: &Path) -> &'static str {
    if image.extension().is_some_and(|extension| extension == "img") { "raw" } else { "qcow2" }
}

/// A fingerprint of a file's bytes.
pub fn checksum(file: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut std::fs::File::open(file).unwrap(), &mut hasher).unwrap();
    hasher.finalize().to_string()
}
