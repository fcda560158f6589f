//! Any bytes as an initramfs: archives of cpio in every compression, read as the kernel would unpack them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pocketvm_guest::linux::{Initramfs, Limits, initramfs};

fuzz_target!(|data: &[u8]| {
    let limits = Limits { bytes: 4 << 20, members: 5000, memory: 8 << 20, kept: 1 << 20 };
    let contents = initramfs::read(data, &limits).expect("memory does not fail");
    assert!(contents.segments.iter().all(|segment| segment.at < data.len() as u64));
    assert!(contents.segments.is_sorted_by_key(|segment| segment.at));
    assert_eq!(contents, initramfs::read(data, &limits).expect("memory does not fail"));
    if contents.damage.is_none() && !data.is_empty() {
        // What lies behind is found, whatever was before.
        let mut longer = data.to_vec();
        longer.resize(data.len().next_multiple_of(4) + 4, 0);
        let at = longer.len() as u64;
        longer.extend_from_slice(include_bytes!("../images/extension.cpio"));
        let limits = Limits { bytes: 8 << 20, members: 6000, kept: 2 << 20, ..limits };
        let longer = initramfs::read(&longer[..], &limits).expect("memory does not fail");
        assert_eq!(longer.damage, None);
        assert_eq!(longer.segments.last().map(|segment| segment.at), Some(at));
        assert!(!Initramfs::new("", at, "fuzz", longer).modules.is_empty());
    }
});
