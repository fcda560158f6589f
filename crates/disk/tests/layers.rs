//! The layers below a base, for a caller who opens them by itself.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::{Drive, qemu, text};
use pocketvm_disk::{Error, Refusal, layers, stamp};

fn create(drive: &Drive, name: &str, backing: Option<(&str, &str)>) {
    let path = drive.base(name);
    let mut args = vec!["create", "-q", "-f", "qcow2"];
    if let Some((name, format)) = backing {
        args.extend(["-u", "-b", name, "-F", format]);
    }
    args.extend([text(&path), "1M"]);
    qemu("qemu-img", &args);
}

#[test]
fn the_layers_of_a_base_are_named_from_the_next_one_down() {
    let drive = Drive::new();
    std::fs::create_dir(drive.path("drive/golden")).unwrap();
    std::fs::write(drive.path("drive/golden/g.img"), vec![1; 1 << 20]).unwrap();
    create(&drive, "middle.qcow2", Some(("../golden/g.img", "raw")));
    create(&drive, "b.qcow2", Some(("middle.qcow2", "qcow2")));
    let found = layers(&drive.path("drive"), "bases/b.qcow2").unwrap();
    let found: Vec<(&str, &str)> = found.iter().map(|layer| (layer.path.as_str(), layer.format)).collect();
    assert_eq!(found, [("bases/middle.qcow2", "qcow2"), ("golden/g.img", "raw")]);
    create(&drive, "alone.qcow2", None);
    assert_eq!(layers(&drive.path("drive"), "bases/alone.qcow2").unwrap(), []);
}

#[test]
fn a_layer_that_is_missing_or_leads_out_of_the_drive_is_an_error() {
    let drive = Drive::new();
    create(&drive, "b.qcow2", Some(("nothing.qcow2", "qcow2")));
    let missing = layers(&drive.path("drive"), "bases/b.qcow2").unwrap_err();
    assert!(missing.to_string().contains("nothing.qcow2"), "{missing}");
    std::fs::remove_file(drive.base("b.qcow2")).unwrap();
    create(&drive, "b.qcow2", Some(("/etc/passwd", "raw")));
    let outside = layers(&drive.path("drive"), "bases/b.qcow2").unwrap_err();
    assert!(matches!(outside, Error::Refused { why: Refusal::BackingOutside, .. }), "{outside}");
}

#[test]
fn a_name_that_leaves_no_room_for_a_merge_is_refused_although_it_could_be_stamped() {
    let drive = Drive::new();
    let name = format!("{}g.qcow2", "./".repeat(165));
    create(&drive, "g.qcow2", None);
    create(&drive, "b.qcow2", Some((&name, "qcow2")));
    stamp(&drive.commit(), &["bases/b.qcow2"]).unwrap();
    let error = layers(&drive.path("drive"), "bases/b.qcow2").unwrap_err();
    assert!(matches!(error, Error::Refused { why: Refusal::HeaderTooLong(_), .. }), "{error}");
}
