//! The block nodes and disk devices of a template: every disk exactly once, through its overlay, with the base read-only
//! and the guest paused on an error.
//!
//! The names of the nodes are fixed, because events carry them and because [`super::reopen`] exchanges them.
//!
//! What lies below a base is none of the template's business: it says `backing: null`, so that QEMU follows no name that an
//! image has, and once that is checked [`add_layers`] puts in the layers that the machine names.

use std::path::Path;

use serde_json::{Map, Value};

use super::allowed::{lacking, refused};
use super::template::{self, Setting};
use crate::Result;
use crate::hypervisor::rendering::{shown, text};
use crate::hypervisor::{Base, Layer, Machine, MachineDisk};

/// The node a disk device is attached to: the overlay's qcow2 layer.
pub fn overlay_node(disk: &str) -> String {
    format!("overlay-{disk}")
}

/// The firmware's code, of this PC.
pub const FIRMWARE_CODE: &str = "firmware-code";

/// The firmware's variables.
pub const FIRMWARE_VARIABLES: &str = "firmware-variables";

/// The overlay's file.
fn overlay_file_node(disk: &str) -> String {
    format!("file-overlay-{disk}")
}

/// The base's format layer.
pub fn base_node(disk: &str) -> String {
    format!("base-{disk}")
}

/// The base's file.
pub fn base_file_node(disk: &str) -> String {
    format!("file-base-{disk}")
}

/// Keys that a node may have besides those with one fixed value.
enum Tuning {
    /// For the protocol layer.
    File,
    /// For the format layer.
    Format,
}

impl Tuning {
    fn allows(&self, key: &str, value: &Value) -> bool {
        match (self, key) {
            (Tuning::File, "aio") => matches!(value.as_str(), Some("threads" | "native" | "io_uring")),
            (Tuning::File, "locking") => matches!(value.as_str(), Some("on" | "off" | "auto")),
            // `no-flush` is not here: it would lie to the guest about what is on the disk.
            (_, "cache") => {
                template::map(value).iter().all(|(key, value)| key == "direct" && value.is_boolean())
            }
            (
                Tuning::Format,
                "cache-size" | "l2-cache-size" | "refcount-cache-size" | "cache-clean-interval",
            ) => value.as_u64().is_some_and(|size| size <= 1 << 30),
            (Tuning::Format, "lazy-refcounts") => value.is_boolean(),
            _ => false,
        }
    }
}

/// One node as it has to be.
struct Node {
    name: String,
    what: String,
    fixed: Map<String, Value>,
    tuning: Tuning,
}

fn node(disk: &str, what: &str, fixed: Value, tuning: Tuning) -> Node {
    let fixed = template::map(&fixed).clone();
    let name = fixed["node-name"].as_str().unwrap_or_default().to_owned();
    Node { name, what: format!("{what} of the disk {disk}"), fixed, tuning }
}

/// The nodes that `disk` must have. `discard` and `detect-zeroes` let the guest's discards shrink the overlay, which is
/// what makes a merge small.
fn nodes_of(disk: &MachineDisk) -> Result<Vec<Node>> {
    let name = disk.name.as_str();
    let mut nodes = Vec::new();
    let mut backing = Value::Null;
    if let Some(base) = &disk.base {
        backing = base_node(name).into();
        let file = serde_json::json!({
            "driver": "file", "node-name": base_file_node(name), "filename": text(&base.path)?, "read-only": true,
        });
        nodes.push(node(name, "the base's file", file, Tuning::File));
        nodes.push(node(name, "the base", base_options(name, &base.format), Tuning::Format));
    }
    let file = serde_json::json!({
        "driver": "file", "node-name": overlay_file_node(name), "filename": text(&disk.overlay)?, "discard": "unmap",
    });
    nodes.push(node(name, "the overlay's file", file, Tuning::File));
    let overlay = serde_json::json!({
        "driver": "qcow2", "node-name": overlay_node(name), "file": overlay_file_node(name), "backing": backing,
        "discard": "unmap", "detect-zeroes": "unmap",
    });
    nodes.push(node(name, "the overlay", overlay, Tuning::Format));
    Ok(nodes)
}

/// The nodes of a part of the firmware: its code, which is only read, or its variables.
fn nodes_of_firmware(part: &str, path: &Path) -> Result<[Node; 2]> {
    let file_node = format!("file-{part}");
    let mut file = serde_json::json!({ "driver": "file", "node-name": file_node, "filename": text(path)? });
    let mut format = serde_json::json!({ "driver": "raw", "node-name": part, "file": file_node });
    if part == FIRMWARE_CODE {
        for node in [&mut file, &mut format] {
            node["read-only"] = true.into();
        }
    }
    let node = |what: String, fixed, tuning| Node { what, ..node("", "", fixed, tuning) };
    Ok([
        node(format!("the file of {part}"), file, Tuning::File),
        node(part.to_owned(), format, Tuning::Format),
    ])
}

/// The options of a base's format layer as a template has to give them: it stands alone.
fn base_options(disk: &str, format: &str) -> Value {
    let mut options = serde_json::json!({
        "driver": format, "node-name": base_node(disk), "file": base_file_node(disk), "read-only": true,
    });
    if format == "qcow2" {
        options["backing"] = Value::Null;
    }
    options
}

/// The options of a base's format layer with everything below it.
///
/// # Errors
/// A path is not Unicode text.
pub fn whole_base_options(disk: &str, base: &Base) -> Result<Value> {
    let mut options = base_options(disk, &base.format);
    if base.format == "qcow2" {
        options["backing"] = nested(&base.below)?;
    }
    Ok(options)
}

/// Layers as nodes without names, each inside the one above it. An image without a layer below gets `null`: a name in its
/// header is not followed.
fn nested(layers: &[Layer]) -> Result<Value> {
    let mut below = Value::Null;
    for layer in layers.iter().rev() {
        let file = serde_json::json!({ "driver": "file", "filename": text(&layer.path)?, "read-only": true });
        let mut node = serde_json::json!({ "driver": layer.format, "read-only": true, "file": file });
        if layer.format == "qcow2" {
            node["backing"] = below;
        }
        below = node;
    }
    Ok(below)
}

/// Puts the layers below the bases of `machine` into `settings`, which have been checked.
///
/// # Errors
/// A path is not Unicode text.
pub fn add_layers(settings: &mut [Setting], machine: &Machine) -> Result<()> {
    for disk in &machine.disks {
        let Some(base) = disk.base.as_ref().filter(|base| !base.below.is_empty()) else { continue };
        let node = base_node(&disk.name);
        let is_base = |setting: &&mut Setting| {
            setting.option == "blockdev" && setting.value["node-name"].as_str() == Some(&node)
        };
        if let Some(setting) = settings.iter_mut().find(is_base) {
            setting.value["backing"] = nested(&base.below)?;
        }
    }
    Ok(())
}

/// Checks the block nodes and disk devices among `settings`.
///
/// # Errors
/// A node that no disk of the machine has, or one that is not as it has to be, or lacks; a disk that is not attached, or
/// twice, or without its `stop` policies.
pub fn check(settings: &[Setting], machine: &Machine, uefi: Option<&Path>) -> Result<()> {
    let mut expected = Vec::new();
    if let (Some(code), Some(variables)) = (uefi, &machine.chips.variables) {
        expected.extend(nodes_of_firmware(FIRMWARE_CODE, code)?);
        expected.extend(nodes_of_firmware(FIRMWARE_VARIABLES, variables)?);
        check_flash(settings)?;
    }
    for disk in &machine.disks {
        expected.extend(nodes_of(disk)?);
    }
    let mut found = vec![false; expected.len()];
    for setting in settings.iter().filter(|setting| setting.option == "blockdev") {
        let options = template::map(&setting.value);
        let name = options.get("node-name").and_then(Value::as_str).unwrap_or_default();
        let Some(at) = expected.iter().position(|node| node.name == name) else {
            return Err(refused(
                setting,
                &format!("no disk of the machine has a node named {}", shown(name)),
            ));
        };
        if std::mem::replace(&mut found[at], true) {
            return Err(refused(setting, &format!("{} is there twice", shown(name))));
        }
        check_node(&expected[at], options).map_err(|why| refused(setting, &why))?;
    }
    if let Some(at) = found.iter().position(|found| !found) {
        return Err(lacking(format!("the template for QEMU lacks {}", expected[at].what)));
    }
    machine.disks.iter().try_for_each(|disk| check_device(disk, settings))
}

fn check_node(node: &Node, options: &Map<String, Value>) -> Result<(), String> {
    for (key, wanted) in &node.fixed {
        if options.get(key) != Some(wanted) {
            return Err(format!("{}: {} must be {wanted}", node.what, shown(key)));
        }
    }
    let other =
        options.iter().find(|(key, value)| !node.fixed.contains_key(*key) && !node.tuning.allows(key, value));
    match other {
        Some((key, value)) => {
            Err(format!("{}: {} can't be {}", node.what, shown(key), shown(&value.to_string())))
        }
        None => Ok(()),
    }
}

fn check_device(disk: &MachineDisk, settings: &[Setting]) -> Result<()> {
    let node = overlay_node(&disk.name);
    let is_ours = |setting: &&Setting| {
        setting.option == "device"
            && template::map(&setting.value).get("drive").and_then(Value::as_str) == Some(&node)
    };
    let mut devices = settings.iter().filter(is_ours);
    let (Some(device), None) = (devices.next(), devices.next()) else {
        return Err(lacking(format!(
            "the template for QEMU must attach the disk {} to exactly one device",
            disk.name
        )));
    };
    let properties = template::map(&device.value);
    if !matches!(
        properties.get("driver").and_then(Value::as_str),
        Some("ide-hd" | "virtio-blk-pci" | "scsi-hd")
    ) {
        return Err(refused(
            device,
            &format!("the disk {} is attached to something that is no disk", disk.name),
        ));
    }
    for policy in ["rerror", "werror"] {
        if properties.get(policy).and_then(Value::as_str) != Some("stop") {
            return Err(refused(device, &format!("the disk {} needs {policy}: stop", disk.name)));
        }
    }
    Ok(())
}

/// Code and variables are where the firmware looks for them.
fn check_flash(settings: &[Setting]) -> Result<()> {
    let machine = settings.iter().find(|setting| setting.option == "machine");
    let flash = |key: &str| machine.and_then(|machine| template::map(&machine.value).get(key)?.as_str());
    if flash("pflash0") == Some(FIRMWARE_CODE) && flash("pflash1") == Some(FIRMWARE_VARIABLES) {
        return Ok(());
    }
    Err(lacking(format!(
        "the template for QEMU must give the machine {FIRMWARE_CODE} as pflash0 and {FIRMWARE_VARIABLES} as pflash1"
    )))
}
