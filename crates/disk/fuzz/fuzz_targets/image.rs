//! Any bytes as an image in both roles: opened, checked and read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pocketvm_disk::qcow2::check::check_image;
use pocketvm_disk::qcow2::entry::Run;
use pocketvm_disk::qcow2::image::{Image, Role, TableCache};
use pocketvm_disk::storage::memory::{MemoryDevice, MemoryStorage};

/// Virtual bytes that are read from each end of the disk.
const PART: u64 = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let device = MemoryDevice::new([("image".to_owned(), data.to_vec())].into());
    let opened = [Role::Overlay, Role::Base].map(|role| Image::open(device.file("image"), role));
    let [Ok(image), as_base] = opened else { return };
    let _ = image.state();
    if let Ok(base) = as_base {
        assert_eq!(base.header(), image.header());
    }
    let _ = check_image(&image);
    let size = image.header().size;
    let start = size.saturating_sub(PART) / 512 * 512;
    read(&image, 0, size.min(PART));
    read(&image, start, size);
    skip(&image);
});

/// Reads `from..to` in one piece, in two, and run by run: all must agree.
fn read(image: &Image<MemoryStorage>, from: u64, to: u64) {
    let mut cache = TableCache::default();
    let mut runs = Vec::new();
    let walked = image.runs(&mut cache, from, to, |from, to, run| runs.push((from, to, run)));
    let mut whole = vec![0; (to - from) as usize];
    let read = image.read(&mut cache, from, &mut whole);
    if walked.is_err() {
        assert!(read.is_err());
        return;
    }
    let mut at = from;
    let mut broken = false;
    // A compressed cluster is unpacked for every run: a crafted image would make this slow, and nothing else.
    let mut unpacked = 0;
    for (start, end, run) in runs {
        assert!(start == at && end > start);
        at = end;
        unpacked += u32::from(matches!(run, Run::Compressed { .. }));
        let mut bytes = vec![0; (end - start) as usize];
        if unpacked > 64 {
            return;
        }
        match image.read_run(start, run, &mut bytes) {
            Ok(()) => {
                let there = &whole[(start - from) as usize..(end - from) as usize];
                assert!(read.is_err() || bytes == there);
            }
            Err(_) => broken = true,
        }
    }
    assert!(at >= to || to == from);
    assert_eq!(broken, read.is_err());
    if !broken {
        let mut halves = vec![0; whole.len()];
        let middle = whole.len() / 3;
        let (first, second) = halves.split_at_mut(middle);
        image.read(&mut cache, from + middle as u64, second).expect("it was read before");
        image.read(&mut cache, from, first).expect("it was read before");
        assert_eq!(halves, whole);
    }
}

/// Whatever is skipped on the way to the next present cluster is absent.
fn skip(image: &Image<MemoryStorage>) {
    let (mut cache, mut other) = (TableCache::default(), TableCache::default());
    let mut at = 0;
    for _ in 0..64 {
        let Ok(next) = image.next_present(&mut cache, at) else { return };
        let end = next.unwrap_or(image.header().size);
        assert!(end >= at);
        let stop = end.min(at + PART);
        let absent = image.runs(&mut other, at, stop, |_, _, run| assert_eq!(run, Run::Absent));
        assert!(absent.is_ok(), "a table that was passed over is damaged");
        match next {
            Some(next) if next < image.header().size => at = next + image.header().cluster_size(),
            _ => return,
        }
        if at >= image.header().size {
            return;
        }
    }
}
