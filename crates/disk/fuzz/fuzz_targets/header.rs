//! Header fields, header extensions and table entries from any bytes; what is written reads back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pocketvm_disk::qcow2::entry::{Entry, table_offset};
use pocketvm_disk::qcow2::extensions::Extensions;
use pocketvm_disk::qcow2::header::{BLOCK, Header, HeaderBlock};

fuzz_target!(|data: &[u8]| {
    let _ = Extensions::parse(data);
    let mut block = [0; BLOCK];
    let (head, rest) = data.split_at(data.len().min(BLOCK));
    block[..head.len()].copy_from_slice(head);
    let stored = HeaderBlock(block);
    assert_eq!(HeaderBlock::try_from(String::from(stored)), Ok(stored));
    let Ok(mut header) = Header::parse(&block) else { return };

    // Whatever the fields are, what is computed from them must not overflow.
    let area = Extensions::area(&header);
    assert!(area.start <= area.end && area.end <= header.cluster_size().max(area.start));
    assert!(header.l1_clusters() << header.cluster_bits <= (32 << 20) + header.cluster_size());
    assert!(header.refcount_table_entries() <= 1 << 20);
    assert!(header.l1_entries_for(header.size).is_none_or(|entries| entries <= header.l1_entries));
    for entry in rest.chunks_exact(header.l2_entry_size()) {
        if let Ok(entry) = Entry::parse(entry, 0, &header) {
            if let Some((first, count)) = entry.clusters(&header) {
                // A compressed cluster needs at most twice its size.
                assert!(count > 0 && count <= 3 && first.checked_add(count).is_some());
            }
            let mut at = 0;
            entry.runs(0, header.cluster_size(), &header, |from, to, _| {
                assert!(from == at && to > from);
                at = to;
            });
            assert_eq!(at, header.cluster_size());
        }
        let word = u64::from_be_bytes(*entry.first_chunk().expect("an entry has 8 bytes"));
        if let Ok(Some(offset)) = table_offset(word, &header, 0) {
            assert!(offset.is_multiple_of(header.cluster_size()));
        }
    }

    let Some(area) = block.get(header.length as usize..) else { return };
    let Ok(extensions) = Extensions::parse(area) else { return };
    let extensions = Extensions { bitmaps: false, ..extensions };
    header.upgrade();
    for backing in [None, Some("../golden/base.qcow2")] {
        header.backing = None;
        if let Ok(block) = header.encode(&extensions, backing) {
            let read = Header::parse(&block).expect("what is written can be read");
            let name = read.backing.map(|(offset, length)| &block[offset as usize..][..length as usize]);
            assert_eq!(name, backing.map(str::as_bytes));
            header.backing = read.backing;
            assert_eq!(read, header);
            let area = Extensions::area(&read);
            let area = &block[area.start as usize..(area.end as usize).min(BLOCK)];
            assert_eq!(Extensions::parse(area), Ok(extensions.clone()));
        }
    }
});
