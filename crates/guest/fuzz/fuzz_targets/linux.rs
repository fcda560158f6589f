//! A small ext4 with an installed Linux, changed at any places: opened, looked at, and its initramfs extended.
//!
//! The input is a list of changes, each of five bytes and what is written: two bytes say which of the image's lines of 64 bytes that
//! aren't zero, one says where in it, one how many bytes. The file system has no checksums, which would refuse all of them.
#![no_main]

use std::io::Read;
use std::rc::Rc;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use pocketvm_guest::linux::{self, Files, Initramfs, Limits, Scope, Support, extension, initramfs, support};

const LINE: usize = 64;

/// The image, and where its lines are.
fn image() -> &'static (Vec<u8>, Vec<usize>) {
    static IMAGE: OnceLock<(Vec<u8>, Vec<usize>)> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let mut bytes = Vec::new();
        let packed = include_bytes!("../images/root.ext4.gz");
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut bytes).expect("the image is sound");
        let lines = bytes.chunks(LINE).enumerate().filter(|(_, line)| line.iter().any(|byte| *byte != 0));
        let lines = lines.map(|(index, _)| index * LINE).collect();
        (bytes, lines)
    })
}

fuzz_target!(|data: &[u8]| {
    let (bytes, lines) = image();
    let mut bytes = bytes.clone();
    let mut data = data;
    while let Some(([low, high, at, count], rest)) = data.split_first_chunk() {
        let start =
            lines[usize::from(u16::from_le_bytes([*low, *high])) % lines.len()] + usize::from(*at) % LINE;
        let (new, rest) = rest.split_at(usize::from(*count).min(rest.len()));
        let end = (start + new.len()).min(bytes.len());
        bytes[start..end].copy_from_slice(&new[..end - start]);
        data = rest;
    }
    let limits = Limits { bytes: 4 << 20, members: 5000, memory: 8 << 20, kept: 1 << 20 };
    let Ok(Some(files)) = Files::open(Some(Rc::new(bytes)), None) else { return };
    let Ok(Some(linux)) = linux::inspect_within(&files, Scope::Default, &limits) else { return };
    let Some(kernel) = linux.default_kernel() else { return };
    let Ok(added) = extension(&files, kernel, &["ahci"]) else { return };
    let Some(old) = &kernel.initramfs else { return };
    assert_eq!(added.is_empty(), support(kernel, "ahci") != Support::InTree);
    let Ok(Some(mut whole)) = files.read(&old.path, 4 << 20) else { return };
    whole.extend_from_slice(&added);
    let limits = Limits { bytes: 128 << 20, members: 10_000, memory: 8 << 20, kept: 2 << 20 };
    let contents = initramfs::read(&whole[..], &limits).expect("memory does not fail");
    assert_eq!(contents.damage, None);
    let mut again = kernel.clone();
    again.initramfs = Some(Initramfs::new(&old.path, whole.len() as u64, &kernel.version, contents));
    assert_ne!(support(&again, "ahci"), Support::InTree);
    assert!(extension(&files, &again, &["ahci"]).expect("nothing is to be added").is_empty());
});
