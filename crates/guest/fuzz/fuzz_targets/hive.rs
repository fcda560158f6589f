//! Any bytes as a registry hive: all that can be reached from its root, four levels deep.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pocketvm_guest::Disk;
use pocketvm_guest::windows::hive::{Hive, Key};

fn visit<F: Disk>(hive: &Hive<F>, key: &Key, depth: u32, left: &mut u32) {
    for value in hive.values(key).unwrap_or_default() {
        if let Ok(Some(data)) = hive.data(&value) {
            assert_eq!(data.len(), value.size as usize);
        }
        if let Some((_, at)) = value.number() {
            assert!(at + 4 <= hive.file().size());
        }
        let _ = hive.text(key, &value.name);
    }
    if depth == 0 {
        return;
    }
    for child in hive.children(key).unwrap_or_default() {
        // Hives have no loops, but these do.
        *left = left.saturating_sub(1);
        if *left == 0 {
            return;
        }
        visit(hive, &child, depth - 1, left);
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(hive) = Hive::open(data) else { return };
    let Ok(root) = hive.root() else { return };
    visit(&hive, &root, 4, &mut 2000);
    let _ = hive.find(&root, r"Select\..\Select");
});
