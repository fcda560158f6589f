//! Any sectors as an NTFS volume, which may hold a Windows; and what is planned for it. The input is [`Sparse`]'s.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pocketvm_guest::partition::Table;
use pocketvm_guest::windows::{OF_INTEREST, inspect, plan};
use pocketvm_guest::{Disk, Part, volume};
use pocketvm_guest_fuzz::Sparse;

fuzz_target!(|data: &[u8]| {
    let disk = Sparse::new(data);
    let _ = Table::read(&disk);
    let _ = volume::recognise(&disk);
    let Ok(Some(windows)) = inspect(&Part::new(&disk, 0, disk.size())) else { return };
    for (driver, _) in OF_INTEREST {
        for edit in plan(&windows, &[driver]).unwrap_or_default() {
            let mut there = vec![0; edit.before.len()];
            disk.read_at(edit.offset, &mut there).expect("an edit is on the disk");
            assert_eq!((&there, there.len()), (&edit.before, edit.after.len()));
            assert!(!there.is_empty() && there != edit.after);
        }
    }
});
