//! New images are what QEMU would have made.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::io::{Read, Seek, SeekFrom};

use common::{assert_same, io, qemu, text};
use pocketvm_disk::{CreateOptions, Error, check, create, inspect};

#[test]
fn images_of_every_size_and_cluster_size_are_clean_and_empty() {
    let dir = tempfile::tempdir().unwrap();
    for cluster_bits in [12, 14, 16, 21] {
        for virtual_size in [512, 1 << 20, 5_000_000_000 / 512 * 512, 1 << 40] {
            let image = dir.path().join(format!("{cluster_bits}-{virtual_size}"));
            let options =
                CreateOptions { cluster_size: 1 << cluster_bits, ..CreateOptions::new(virtual_size) };
            create(&image, &options).unwrap();
            common::assert_clean(&image);
            let info = inspect(&image).unwrap();
            assert_eq!((info.virtual_size, info.cluster_size), (virtual_size, 1 << cluster_bits));
            let report = qemu("qemu-img", &["map", "--output=json", text(&image)]);
            assert!(!report.contains("\"data\": true"), "{report}");
        }
    }
}

#[test]
fn initial_content_is_what_the_guest_reads() {
    let dir = tempfile::tempdir().unwrap();
    let (image, raw) = (dir.path().join("i.qcow2"), dir.path().join("raw"));
    let header = [0x5a; 5000];
    let content: [(u64, &[u8]); 3] = [(4000, &header), (3 << 30, b"far"), ((3 << 30) + 16381, b"across")];
    create(&image, &CreateOptions { content: &content, ..CreateOptions::new(4 << 30) }).unwrap();
    common::assert_clean(&image);
    qemu("qemu-img", &["convert", "-O", "raw", text(&image), text(&raw)]);
    let mut file = std::fs::File::open(&raw).unwrap();
    for (offset, data) in content {
        let mut read = vec![0; data.len()];
        file.seek(SeekFrom::Start(offset)).unwrap();
        file.read_exact(&mut read).unwrap();
        assert_eq!(read, data);
    }
    assert_eq!(check(&image).unwrap().data, 3);
    io(&image, &["write -q -P 3 100M 10M".to_owned()]);
    common::assert_clean(&image);
}

#[test]
fn an_overlay_reads_its_backing_file_whatever_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("Ordner mit Ümläut, 'quotes' and json:{\"a\": 1}");
    std::fs::create_dir(&folder).unwrap();
    let base = folder.join("base file.qcow2");
    qemu("qemu-img", &["create", "-q", "-f", "qcow2", text(&base), "8M"]);
    io(&base, &["write -q -P 3 1M 1M".to_owned()]);
    let overlay = dir.path().join("o.qcow2");
    create(
        &overlay,
        &CreateOptions { backing: Some((base.clone(), "qcow2")), ..CreateOptions::new(8 << 20) },
    )
    .unwrap();
    assert_same(&base, &overlay);
    let report = qemu("qemu-img", &["check", text(&overlay)]);
    assert!(report.contains("No errors"), "{report}");
}

#[test]
fn options_that_make_no_sense_leave_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("i");
    let content: [(u64, &[u8]); 1] = [((8 << 20) - 1, b"ab")];
    let long = std::path::PathBuf::from(format!("/{}", "x".repeat(1023)));
    let good = CreateOptions::new(8 << 20);
    for options in [
        CreateOptions { cluster_size: 3000, ..good.clone() },
        CreateOptions { cluster_size: 512, ..good.clone() },
        CreateOptions { virtual_size: 0, ..good.clone() },
        CreateOptions { virtual_size: 1000, ..good.clone() },
        CreateOptions { content: &content, ..good.clone() },
        CreateOptions { backing: Some(("relative".into(), "qcow2")), ..good.clone() },
        CreateOptions { backing: Some((long, "qcow2")), ..good.clone() },
    ] {
        assert!(matches!(create(&image, &options), Err(Error::Input(_))), "{options:?}");
        assert!(!image.exists());
    }
    create(&image, &good).unwrap();
    assert!(create(&image, &good).is_err(), "an existing image was written over");
    assert!(image.exists(), "an existing image was removed");
}
