//! Makes the seeds from images that QEMU made: `seeds IMAGES CORPUS`. Called by seeds.sh.
//!
//! The images are pairs `NAME.base` and `NAME.overlay`, some with a layer below, `NAME.lower`.

use std::collections::BTreeMap;
use std::path::Path;
use std::{env, fs};

use pocketvm_disk::merge::{OpenDisk, merge_images};
use pocketvm_disk::overlay::Overlay;
use pocketvm_disk::record::TwoSlot;
use pocketvm_disk::root::BasePath;
use pocketvm_disk::storage::memory::{Event, MemoryDevice, write_into};
use pocketvm_disk::{GenerationId, redo, stamp, stamp_raw, undo};
use pocketvm_disk_fuzz::hashes::{self, CLUSTER};
use pocketvm_disk_fuzz::minimal::{self, Minimal};
use pocketvm_disk_fuzz::{commit, drive, is_clean, join, merge, overlay, sparse};

type Files = BTreeMap<String, Vec<u8>>;

fn main() {
    let arguments: Vec<String> = env::args().collect();
    let [_, images, corpus] = &arguments[..] else { panic!("seeds IMAGES CORPUS") };
    let (images, corpus) = (Path::new(images), Path::new(corpus));
    let put = |target: &str, name: &str, bytes: &[u8]| {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder).expect("the corpus can be written");
        fs::write(folder.join(name), bytes).expect("the corpus can be written");
    };
    let mut names: Vec<String> = fs::read_dir(images)
        .expect("the images are there")
        .filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".base")?.to_owned()))
        .collect();
    names.sort();
    for name in &names {
        let read =
            |kind: &str| fs::read(images.join(format!("{name}.{kind}"))).expect("each image is a pair");
        let (base, upper) = (read("base"), read("overlay"));
        let lower = fs::read(images.join(format!("{name}.lower"))).unwrap_or_default();
        let device = drive(&[("base", &base), ("lower", &lower)]);
        assert!(
            is_clean(&pocketvm_disk_fuzz::base(&device, "base").expect("a base opens")),
            "{name} is not clean"
        );
        overlay(&upper).expect("an overlay opens");
        put("header", name, &base[..base.len().min(1024)]);
        put("image", name, &base);
        put("image", &format!("{name}-overlay"), &upper);
        // The largest that adds little.
        if name != "prepared" {
            put("merge", name, &[&[0][..], &join(&[&base, &lower, &upper])].concat());
        }
    }
    let read = |name: &str| fs::read(images.join(name)).expect("the images are there");
    records(&read("plain.base"), &read("plain.overlay"), &put);
    let sound = hashes::sound();
    manifests(sound, &put);
    for name in ["zlib", "zstd"] {
        compressed(name, &read(&format!("{name}.base")), &put);
    }
    let (base, upper) = (read("plain.base"), read("plain.overlay"));
    for (name, pieces, base) in [("again", 0, merged_base(&base, &upper)), ("cancelled", 3, base)] {
        put("merge", name, &[&[pieces][..], &join(&[&base, &[], &upper])].concat());
    }
    journals(&upper, &put);
    differencing(&upper, &put);
}

/// The smallest differencing disk of each format.
fn differencing(upper: &[u8], put: &impl Fn(&str, &str, &[u8])) {
    for Minimal { name, mut file, .. } in minimal::all() {
        if name == "vhdx" {
            shorten(&mut file);
        }
        let file = minimal::with_sums(file);
        overlay(&file).expect("the smallest disks are sound");
        put("overlay", name, &sparse::pack(sparse::SUMS, &file));
        put("overlay", &format!("{name}-merged"), &sparse::pack(sparse::SUMS | sparse::MERGED, &file));
        put("overlay", &format!("{name}-as-it-is"), &sparse::pack(0, &file));
    }
    put("overlay", "qcow2", &sparse::pack(0, upper));
}

/// A VHDX of three MiB with a block in parts: its blocks can't be smaller, but its disk, and what they hold.
fn shorten(file: &mut Vec<u8>) {
    const MIB: usize = 1 << 20;
    file[(2 * MIB + 0x1_0020)..][..8].copy_from_slice(&(3 * MIB as u64).to_le_bytes());
    file[MIB..MIB + 128].fill(0);
    for (entry, value) in
        [(0, 3 * MIB as u64 + 6), (1, 4 * MIB as u64 + 7), (2, 2), (4096, 5 * MIB as u64 + 6)]
    {
        file[MIB + entry * 8..][..8].copy_from_slice(&value.to_le_bytes());
    }
    file.resize(6 * MIB, 0);
    file[3 * MIB + 512..].fill(0);
    file[4 * MIB..4 * MIB + 1024].fill(5);
    // The bits of the second block.
    file[5 * MIB + 256] = 5;
}

/// A base that has been merged into.
fn merged_base(base: &[u8], upper: &[u8]) -> Vec<u8> {
    let device = drive(&[("base", base)]);
    stamp(&commit(&device), &["base"]).expect("a sound base is stamped");
    merge(&device, "base", overlay(upper).expect("a sound overlay")).expect("a sound overlay is merged");
    device.files().remove("base").unwrap_or_default()
}

/// A raw base that was merged into, and the record with a journal of that.
fn journals(upper: &[u8], put: &impl Fn(&str, &str, &[u8])) {
    let device = drive(&[("user", &[5; 8000])]);
    let generation = stamp_raw(&commit(&device), &["user"]).expect("any file may be a raw base")[0];
    let disk = OpenDisk {
        name: "user".to_owned(),
        base: BasePath::new("user").expect("a plain name"),
        overlay: overlay(upper).expect("a sound overlay"),
        expected: generation,
        next: GenerationId::random(),
    };
    let before = device.files();
    merge_images(&commit(&device), vec![disk], &()).expect("it is merged");
    let mut files = device.files();
    let name =
        files.keys().find(|name| name.ends_with(".journal")).cloned().expect("a merge leaves its journal");
    let journal = files.remove(&name).unwrap_or_default();
    for (kind, base) in [(0, &files["user"]), (4, &files["user"]), (1, &before["user"])] {
        put("journal", &format!("kind-{kind}"), &[&[kind][..], &join(&[base, &journal])].concat());
    }
    put("journal", "back", &[&[3][..], &join(&[&files["user"], &journal])].concat());
    let record = commit_payload(&files);
    let record = String::from_utf8(record).expect("a record is text").replace(&name, "user.journal");
    let parts = join(&[record.as_bytes(), &[], &files["user"], &journal]);
    put("record", "raw", &[&[0][..], &parts].concat());
}

/// What the newest slot of a record holds.
fn commit_payload(files: &Files) -> Vec<u8> {
    let slots = TwoSlot::open_on(MemoryDevice::new(files.clone()).file("commit")).expect("its size is right");
    slots.read().expect("the record holds")
}

/// Records of every kind of flip, over and half-way.
fn records(base: &[u8], upper: &[u8], put: &impl Fn(&str, &str, &[u8])) {
    let save = |name: &str, files: &Files| {
        let parts = join(&[&commit_payload(files), &files["system"], &files["user"], &[]]);
        put("record", name, &[&[0][..], &parts].concat());
    };
    let device = drive(&[("system", base), ("user", base)]);
    save("empty", &device.files());
    type Step<'a> = (&'a str, &'a dyn Fn());
    let steps: [Step<'_>; 5] = [
        ("stamp", &|| drop(stamp(&commit(&device), &["system", "user"]).expect("sound bases are stamped"))),
        ("merge", &|| merge(&device, "system", overlay(upper).expect("sound")).expect("it is merged")),
        ("undo", &|| drop(undo(&commit(&device)).expect("the merge is undone"))),
        ("redo", &|| drop(redo(&commit(&device)).expect("the merge is redone"))),
        ("again", &|| merge(&device, "system", overlay(upper).expect("sound")).expect("it is merged")),
    ];
    for (name, step) in steps {
        let before = device.files();
        device.record();
        step();
        save(name, &device.files());
        // The record says that a flip is under way; the headers are the old ones.
        let mut files = before;
        for event in device.log() {
            match event {
                Event::Write { file, offset, data } => {
                    write_into(files.get_mut(&file).expect("it is one of the files"), offset, &data);
                }
                Event::Flush { file } if file == "commit" => break,
                _ => {}
            }
        }
        save(&format!("{name}-pending"), &files);
        if name == "merge" {
            files.get_mut("system").expect("it is one of the files")[..512].fill(0x5a);
            save("merge-torn", &files);
        }
    }
    let files = device.files();
    let slots = join(&[&files["commit"][..8192], &files["system"], &[], &[]]);
    put("record", "slots", &[&[1][..], &slots].concat());
}

/// The manifest as it is, with each overlay, and with digests that are made to hold.
fn manifests(sound: &hashes::Sound, put: &impl Fn(&str, &str, &[u8])) {
    let mut root = Vec::new();
    root.extend(sound.root.offset.to_be_bytes());
    root.extend(sound.root.chunks.to_be_bytes());
    root.extend([0; 4]);
    root.extend(sound.root.digest);
    // The hashes are in the first bytes of the first chunk and in the last ones of the last.
    let chunks: Vec<u8> = (0..sound.chunks.len()).flat_map(|index| sound.bytes_of_chunk(index)).collect();
    assert_eq!(chunks.len() as u64, sound.chunks.len() as u64 * CLUSTER);
    for kind in [0, 4, 8, 12, 3, 7] {
        put(
            "hashes",
            &format!("kind-{kind}"),
            &[&[kind][..], &join(&[&root, sound.table(), &chunks])].concat(),
        );
    }
    put("hashes", "short", &[&[0][..], &join(&[&root, sound.table(), &[]])].concat());
}

/// The compressed clusters of an image.
fn compressed(name: &str, base: &[u8], put: &impl Fn(&str, &str, &[u8])) {
    use pocketvm_disk::qcow2::entry::Entry;
    use pocketvm_disk::qcow2::image::TableCache;
    let Ok(Overlay::Qcow2(image)) = overlay(base) else { panic!("QEMU's image opens") };
    let mut cache = TableCache::default();
    let clusters = image.header().size >> image.header().cluster_bits;
    let kind = u8::from(name == "zstd") | ((image.header().cluster_bits - 9) as u8) << 1;
    let mut count = 0;
    for cluster in 0..clusters {
        if let Ok(Entry::Compressed { host, length }) = image.entry(&mut cache, cluster) {
            let end = (host + length).min(base.len() as u64);
            let packed = &base[host as usize..end as usize];
            put("compressed", &format!("{name}-{count}"), &[&[kind][..], packed].concat());
            count += 1;
        }
        if count == 6 {
            break;
        }
    }
    assert!(count > 0, "QEMU compressed nothing");
}
