//! Small crafted files that ask for much work: what is read stays in proportion to what is there.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pocketvm_disk::qcow2::extensions::Extensions;
use pocketvm_disk::qcow2::header::{Compression, Header, HeaderBlock};
use pocketvm_disk::record::TwoSlot;
use pocketvm_disk::root::{BasePath, Root};
use pocketvm_disk::storage::memory::{MemoryDevice, MemoryStorage};
use pocketvm_disk::storage::{Access, Storage};
use pocketvm_disk::{CommitFile, Error, GenerationId, Result, history, recover};
use serde_json::{Value, json};

/// A device that counts what is read, and fails when that is too much: a test that would spin ends.
#[derive(Clone)]
struct Counting {
    device: MemoryDevice,
    left: Arc<AtomicU64>,
}

struct CountingFile {
    file: MemoryStorage,
    left: Arc<AtomicU64>,
}

impl Root for Counting {
    type File = CountingFile;

    fn open(&self, path: &BasePath, access: Access) -> Result<CountingFile> {
        Ok(CountingFile { file: self.device.open(path, access)?, left: self.left.clone() })
    }
    fn create(&self, path: &BasePath) -> Result<CountingFile> {
        Ok(CountingFile { file: self.device.create(path)?, left: self.left.clone() })
    }
    fn remove(&self, path: &BasePath) -> Result<()> {
        self.device.remove(path)
    }
}

impl Storage for CountingFile {
    fn name(&self) -> &str {
        self.file.name()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let take = |left: u64| left.checked_sub(buf.len() as u64);
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.map_err(|_| io::Error::other("too much was read"))?;
        self.file.read_at(offset, buf)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, data)
    }
    fn flush(&self) -> io::Result<()> {
        self.file.flush()
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn forget_cache(&self) {}
    fn modified(&self) -> io::Result<Option<i64>> {
        self.file.modified()
    }
    fn set_modified(&self, seconds: i64) -> io::Result<()> {
        self.file.set_modified(seconds)
    }
}

/// Clusters of the crafted base: as large as they may be.
const CLUSTER: u64 = 2 << 20;

/// A header whose refcount table, as large as may be, is at the cluster with this number.
fn header(table: u64) -> Header {
    Header {
        version: 3,
        cluster_bits: CLUSTER.trailing_zeros(),
        size: CLUSTER,
        l1_entries: 1,
        l1_offset: CLUSTER,
        refcount_table_offset: table * CLUSTER,
        refcount_table_clusters: 4,
        refcount_order: 4,
        incompatible: 0,
        compatible: 0,
        autoclear: 1 << 54,
        compression: Compression::Zlib,
        length: 112,
        backing: None,
    }
}

fn point(header: &Header) -> Value {
    let generation = GenerationId::random();
    let extensions = Extensions { generation: Some(generation), ..Extensions::default() };
    let block = HeaderBlock(header.encode(&extensions, None).unwrap());
    json!({ "generation": generation, "header": block, "tables": "00".repeat(32) })
}

fn change(base: &str, from: &Value, to: &Value) -> Value {
    json!({ "name": "disk", "base": base, "from": from, "to": to })
}

fn record(device: &MemoryDevice, record: &Value) {
    let slots = TwoSlot::create_on(device.file("commit"), 16 << 20).unwrap();
    slots.write(&serde_json::to_vec(record).unwrap()).unwrap();
}

#[test]
fn a_refcount_table_that_names_one_block_a_million_times_is_not_digested() {
    let device = MemoryDevice::default();
    let base = device.file("base");
    // The tables of two generations, each of 8 MiB, and the one block.
    let block = (10 * CLUSTER).to_be_bytes();
    base.write_at(6 * CLUSTER, &block.repeat(1 << 20)).unwrap();
    base.set_len(11 * CLUSTER).unwrap();
    let (from, to) = (point(&header(2)), point(&header(6)));
    let flip = json!({ "kind": "merge", "pending": true, "time": 1, "note": "", "disks": [change("base", &from, &to)] });
    record(&device, &json!({ "version": 1, "steps": [], "position": 0, "flip": flip }));
    let block = HeaderBlock::try_from(from["header"].as_str().unwrap().to_owned()).unwrap();
    base.write_at(0, &block.0).unwrap();

    let root = Counting { device: device.clone(), left: Arc::new(AtomicU64::new(20 * 11 * CLUSTER)) };
    let commit = CommitFile::new(TwoSlot::open_on(device.file("commit")).unwrap(), root);
    match recover(&commit) {
        Err(Error::Damaged { what, .. }) => assert!(what.contains("lost parts of both"), "{what}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_record_that_keeps_more_generations_than_any_merge_does_is_refused() {
    let device = MemoryDevice::default();
    for (count, fits) in [(64, true), (65, false)] {
        let steps: Vec<Value> = (0..count)
            .map(|at| {
                let (from, to) = (point(&header(at)), point(&header(at + 1)));
                json!({ "time": 1, "note": "", "disks": [change("base", &from, &to)] })
            })
            .collect();
        record(&device, &json!({ "version": 1, "steps": steps, "position": count, "flip": null }));
        let commit = CommitFile::new(TwoSlot::open_on(device.file("commit")).unwrap(), device.clone());
        match history(&commit) {
            Ok(steps) => assert!(fits && steps.len() == count as usize),
            Err(Error::BadRecord { .. }) => assert!(!fits),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_record_whose_numbers_are_too_large_to_add_is_shown() {
    let device = MemoryDevice::default();
    let (from, to) = (point(&header(2)), point(&header(6)));
    let disks: Vec<Value> = ["a", "b"]
        .iter()
        .map(|base| {
            let mut change = change(base, &from, &to);
            change["changed"] = json!(u64::MAX);
            change
        })
        .collect();
    let steps = json!([{ "time": 1, "note": "", "disks": disks }]);
    record(&device, &json!({ "version": 1, "steps": steps, "position": 1, "flip": null }));
    let commit = CommitFile::new(TwoSlot::open_on(device.file("commit")).unwrap(), device.clone());
    assert_eq!(history(&commit).unwrap()[0].changed, u64::MAX);
}
