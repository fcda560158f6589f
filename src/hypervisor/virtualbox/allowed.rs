//! What a template may tell VirtualBox. The template comes from a stick that may be anybody's, and a settings file can name
//! any file, open ports and load libraries. So [`super::rules`] is a list of what is known to be harmless, and what is not on
//! it is refused; and every disk must be there, over its copy, exactly once.
//!
//! What was read is written anew: two readers of XML may read one text differently (an encoding that it declares, a comment), and
//! VirtualBox's sees only what ours has understood.

use roxmltree::{Document, Node, ParsingOptions};

use super::rules::{EXTRA_KEYS, Is, REQUIRED_EXTRA, RULES};
use super::template::{self, FORMAT, Place};
use crate::Result;
use crate::hypervisor::Machine;
use crate::hypervisor::rendering::shown;

/// The settings' name space.
const SPACE: &str = "http://www.virtualbox.org/";

/// More elements are no honest file's.
const MOST_NODES: u32 = 5000;

/// Checks the rendered `settings` for `machine`, and writes what they say anew.
///
/// # Errors
/// The first thing that is not on the list, or what the machine lacks, in one sentence.
pub fn checked(settings: &str, machine: &Machine) -> Result<String> {
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MOST_NODES, ..ParsingOptions::default() };
    let document = Document::parse_with_options(settings, options)
        .map_err(|error| FORMAT.mistake(format!("does not render to XML: {error}")))?;
    let root = document.root_element();
    for node in root.descendants().filter(Node::is_element) {
        check_element(&document, node, machine)?;
    }
    for name in [
        "Machine",
        "Machine/Hardware",
        "Machine/Hardware/Memory",
        "Machine/Hardware/CPU",
        "Machine/StorageControllers",
    ] {
        once(root, name)?;
    }
    for (key, words) in REQUIRED_EXTRA {
        let items = elements(root, "Machine/ExtraData/ExtraDataItem");
        let values: Vec<&str> = items
            .into_iter()
            .filter(|item| item.attribute("name") == Some(key))
            .filter_map(|item| item.attribute("value"))
            .collect();
        let complete = matches!(values[..], [value] if words.iter().all(|word| value.split(',').any(|part| part == *word)));
        if !complete {
            return Err(
                FORMAT.mistake(format!("lacks the extra data {key} with at least {}", words.join(",")))
            );
        }
    }
    once(root, "Machine/Hardware/Firmware")?;
    if machine.chips.variables.is_some() {
        once(root, "Machine/Hardware/BIOS/NVRAM")?;
    }
    if machine.chips.tpm.is_some() {
        once(root, "Machine/Hardware/TrustedPlatformModule")?;
    }
    check_disks(root, machine)?;
    let mut text = "<?xml version=\"1.0\"?>\n".to_owned();
    write(root, 0, &mut text);
    Ok(text)
}

/// Writes an element with its attributes and the elements in it, and nothing else.
fn write(node: Node<'_, '_>, depth: usize, text: &mut String) {
    let name = node.tag_name().name();
    text.push_str(&"  ".repeat(depth));
    text.push('<');
    text.push_str(name);
    if depth == 0 {
        text.push_str(&format!(" xmlns=\"{SPACE}\""));
    }
    for attribute in node.attributes() {
        text.push_str(&format!(" {}=\"{}\"", attribute.name(), template::escape(attribute.value())));
    }
    let mut inner = node.children().filter(Node::is_element).peekable();
    if inner.peek().is_none() {
        text.push_str("/>\n");
        return;
    }
    text.push_str(">\n");
    inner.for_each(|node| write(node, depth + 1, text));
    text.push_str(&format!("{}</{name}>\n", "  ".repeat(depth)));
}

/// The names from the root down.
fn path(node: Node<'_, '_>) -> String {
    let mut names: Vec<&str> =
        node.ancestors().filter(Node::is_element).map(|node| node.tag_name().name()).collect();
    names.reverse();
    names.join("/")
}

fn line(document: &Document<'_>, node: Node<'_, '_>) -> Option<u64> {
    Some(u64::from(document.text_pos_at(node.range().start).row))
}

fn check_element(document: &Document<'_>, node: Node<'_, '_>, machine: &Machine) -> Result<()> {
    let path = path(node);
    let refused = |why: &str| FORMAT.refused(&path, why, line(document, node));
    if node.tag_name().namespace() != Some(SPACE) {
        return Err(refused("it is not in VirtualBox's name space"));
    }
    let (_, attributes) = RULES
        .iter()
        .find(|(known, _)| *known == path)
        .ok_or_else(|| refused("this element is not on the list"))?;
    for attribute in node.attributes() {
        let (name, value) = (attribute.name(), attribute.value());
        let known = attributes.iter().find(|(known, _)| attribute.namespace().is_none() && *known == name);
        let Some((_, is)) = known else {
            return Err(refused(&format!("{} is not on the list", shown(name))));
        };
        if !fits(*is, value, machine) {
            return Err(refused(&format!("{} can't be {}", shown(name), shown(value))));
        }
    }
    // Text between elements means nothing.
    let says =
        node.children().filter(Node::is_text).any(|text| !text.text().unwrap_or_default().trim().is_empty());
    if says {
        return Err(refused("it holds text"));
    }
    Ok(())
}

fn fits(is: Is, value: &str, machine: &Machine) -> bool {
    let braced = |id: uuid::Uuid| value == format!("{{{id}}}");
    match is {
        Is::Token => {
            let known = |c: char| c.is_ascii_alphanumeric() || "._-+,:".contains(c);
            value.len() <= 128 && value.chars().all(known) && !value.contains("..")
        }
        Is::Number => value.parse::<u32>().is_ok(),
        Is::Switch => matches!(value, "true" | "false"),
        Is::Only(word) => value == word,
        Is::Of(words) => words.contains(&value),
        Is::Session => braced(machine.session()),
        Is::Uuid => braced(machine.uuid),
        Is::Image => machine.disks.iter().any(|disk| {
            braced(template::overlay_id(machine, &disk.name))
                || braced(template::base_id(machine, &disk.name))
        }),
        Is::ImagePath => machine.disks.iter().any(|disk| {
            disk.overlay.to_str() == Some(value)
                || disk.base.as_ref().is_some_and(|base| base.path.to_str() == Some(value))
        }),
        Is::Title => value == template::title(machine),
        Is::Memory => value == machine.memory_mib.to_string(),
        Is::Cpus => value == machine.cpus.to_string(),
        Is::Mac => value == template::mac(machine),
        Is::Firmware => value == template::firmware(machine),
        Is::Tpm => value == template::tpm(machine),
        Is::SerialLog => machine.serial_log.to_str() == Some(value),
        Is::Share => machine.share.as_deref().and_then(|share| share.to_str()) == Some(value),
        Is::Clipboard => value == "Disabled" || (value == "Bidirectional" && machine.devices.clipboard),
        Is::ExtraKey => EXTRA_KEYS.contains(&value),
    }
}

/// All elements below the root whose names from there are `names`.
fn elements<'a, 'i>(root: Node<'a, 'i>, names: &str) -> Vec<Node<'a, 'i>> {
    let mut found = vec![root];
    for name in names.split('/') {
        found = found
            .iter()
            .flat_map(|node| node.children().filter(|child| child.has_tag_name((SPACE, name))))
            .collect();
    }
    found
}

fn once(root: Node<'_, '_>, name: &str) -> Result<()> {
    match elements(root, name).len() {
        1 => Ok(()),
        0 => Err(FORMAT.mistake(format!("has no element {name}"))),
        _ => Err(FORMAT.mistake(format!("has the element {name} more than once"))),
    }
}

/// Every disk is registered over its copy and attached at its place; nothing else is.
fn check_disks(root: Node<'_, '_>, machine: &Machine) -> Result<()> {
    let known = elements(root, "Machine/MediaRegistry/HardDisks/HardDisk");
    let attached = elements(root, "Machine/StorageControllers/StorageController/AttachedDevice");
    let lacking = |disk: &str, what: &str| {
        Err(FORMAT.mistake(format!("must have the disk {disk} exactly once {what}")))
    };
    let places = template::places(machine)?;
    for (disk, place) in machine.disks.iter().zip(&places) {
        let overlay = format!("{{{}}}", template::overlay_id(machine, &disk.name));
        let is_overlay = |node: &Node<'_, '_>| {
            node.attribute("uuid") == Some(overlay.as_str())
                && node.attribute("location") == disk.overlay.to_str()
        };
        let entries: Vec<_> = known
            .iter()
            .filter(|entry| match &disk.base {
                None => is_overlay(entry) && !entry.children().any(|child| child.is_element()),
                Some(base) => {
                    let id = format!("{{{}}}", template::base_id(machine, &disk.name));
                    let children: Vec<_> = entry.children().filter(Node::is_element).collect();
                    entry.attribute("uuid") == Some(id.as_str())
                        && entry.attribute("location") == base.path.to_str()
                        && matches!(&children[..], [child] if is_overlay(child) && !child.has_children())
                }
            })
            .collect();
        if entries.len() != 1 {
            return lacking(&disk.name, "in the media registry, over its copy");
        }
        if attached.iter().filter(|device| is_attached(**device, place, &overlay)).count() != 1 {
            return lacking(&disk.name, &format!("at {}", place.key()));
        }
    }
    if known.len() != machine.disks.len() || attached.len() != machine.disks.len() {
        return Err(FORMAT.mistake("has more disks than the machine"));
    }
    Ok(())
}

fn is_attached(device: Node<'_, '_>, place: &Place, overlay: &str) -> bool {
    let controller = device.parent_element();
    let images: Vec<_> = device.children().filter(Node::is_element).collect();
    controller.and_then(|controller| controller.attribute("name")) == Some(place.controller)
        && device.attribute("port") == Some(place.port.to_string().as_str())
        && device.attribute("device") == Some(place.device.to_string().as_str())
        && matches!(images[..], [image] if image.attribute("uuid") == Some(overlay))
}
