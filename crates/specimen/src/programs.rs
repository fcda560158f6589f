//! Programs of others, which make what is tested and judge it.

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};

/// Where each program is from, on Debian.
const PACKAGES: &[(&str, &str)] = &[
    ("blkid", "util-linux"),
    ("cmp", "diffutils"),
    ("hivexget", "libhivex-bin"),
    ("hivexregedit", "libwin-hivex-perl"),
    ("mke2fs", "e2fsprogs"),
    ("mkfs.exfat", "exfatprogs"),
    ("mkfs.vfat", "dosfstools"),
    ("mkntfs", "ntfs-3g"),
    ("mkswap", "util-linux"),
    ("ntfs-3g", "ntfs-3g"),
    ("ntfs-3g.probe", "ntfs-3g"),
    ("ntfscat", "ntfs-3g"),
    ("ntfsfix", "ntfs-3g"),
    ("ntfsinfo", "ntfs-3g"),
    ("reglookup", "reglookup"),
    ("sfdisk", "fdisk"),
    ("sgdisk", "gdisk"),
    ("umount", "mount"),
];

/// A program, found where only root looks too.
pub fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// Says which package is to be installed.
pub fn missing(program: &str, error: &std::io::Error) -> ! {
    let package = PACKAGES.iter().find(|(name, _)| *name == program).map_or("?", |(_, package)| package);
    panic!("this test needs {program}, package {package}: {error}")
}

/// What `program` says, whatever it makes of it.
pub fn ask<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) -> Output {
    match command(program).args(arguments).output() {
        Ok(output) => output,
        Err(error) => missing(program, &error),
    }
}

/// What `program` prints. It must end well.
pub fn run<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) -> Vec<u8> {
    let output = ask(program, arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program}: {}\n{out}{err}", output.status);
    output.stdout
}
