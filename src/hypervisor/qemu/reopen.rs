//! Exchanging the base under a paused guest, with all layers below it: the same generation, at another path.

use std::time::Duration;

use serde_json::{Value, json};

use super::disks;
use super::qmp::Client;
use super::record::Record;
use crate::hypervisor::Base;
use crate::hypervisor::rendering::text;
use crate::{Error, Kind, Result};

/// A stick that was just plugged in is slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// Opens the base of `disk` again where `now` says that it is: new nodes, the overlay moved onto them, the old nodes removed,
/// those of the layers with the base's own.
///
/// # Errors
/// The disk has no base, or QEMU can't open a file; then the overlay is still on its old base.
pub fn reopen_base(client: &Client, record: &mut Record, disk: &str, now: &Base) -> Result<()> {
    let cannot = |why: String| {
        Error::new(
            Kind::Gone,
            format!("the base of the disk {disk} can't be opened again: {}", now.path.display()),
        )
        .safe("the guest stays paused and its changes are on this PC")
        .because(why)
    };
    let tell = |command: &str, arguments: Value| {
        client.execute(command, arguments, PATIENCE).map_err(|error| cannot(error.to_string()))
    };
    let known = record.disks.get_mut(disk).ok_or_else(|| cannot("the guest has no such disk".into()))?;
    let base = known.base.as_mut().ok_or_else(|| cannot("it has no base".into()))?;
    if base.format != now.format {
        return Err(cannot(format!("its format was {}, and is {} now", base.format, now.format)));
    }

    let times = free_number(&tell("query-named-block-nodes", json!({ "flat": true }))?, disk, base.reopened);
    let node = format!("{}.{times}", disks::base_node(disk));
    let file_node = format!("{}.{times}", disks::base_file_node(disk));
    let mut file = json!({ "driver": "file", "filename": text(&now.path)?, "read-only": true });
    let mut format = disks::whole_base_options(disk, now)?;
    file["node-name"] = file_node.clone().into();
    format["node-name"] = node.clone().into();
    format["file"] = file_node.clone().into();
    let mut overlay = known.overlay.clone();
    overlay["backing"] = node.clone().into();

    tell("blockdev-add", file)?;
    let moved = tell("blockdev-add", format)
        .and_then(|_| tell("blockdev-reopen", json!({ "options": [overlay.clone()] })));
    let remove = |names: [&str; 2]| {
        for name in names {
            // A node that is still in use stays; it costs one open file.
            if let Err(error) = client.execute("blockdev-del", json!({ "node-name": name }), PATIENCE) {
                tracing::debug!("{error}");
            }
        }
    };
    if let Err(error) = moved {
        remove([&node, &file_node]);
        return Err(error);
    }
    remove([&base.node, &base.file_node]);
    base.node = node;
    base.file_node = file_node;
    base.reopened = times;
    known.overlay = overlay;
    Ok(())
}

/// The number for the next nodes of `disk`'s base. The record may be outdated: then QEMU has nodes with later numbers.
fn free_number(nodes: &Value, disk: &str, recorded: u32) -> u32 {
    let prefixes = [disks::base_node(disk), disks::base_file_node(disk)].map(|node| format!("{node}."));
    let names = nodes.as_array().into_iter().flatten().filter_map(|node| node["node-name"].as_str());
    let numbers = names
        .flat_map(|name| prefixes.iter().filter_map(|prefix| name.strip_prefix(prefix.as_str())))
        .filter_map(|number| number.parse::<u32>().ok());
    numbers.chain([recorded]).max().unwrap_or(recorded).saturating_add(1)
}
