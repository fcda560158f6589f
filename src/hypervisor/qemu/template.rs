//! From a template on the drive to a checked list of options.
//!
//! What comes out is checked option by option in [`super::allowed`].

use std::collections::BTreeMap;

use std::path::Path;

use serde_json::{Map, Value, json};
use serde_saphyr::{Spanned, budget, options};

use super::{accelerator, board, tpm};
use crate::hypervisor::Machine;
use crate::hypervisor::rendering::{self, Format, plain, text};
use crate::{Error, Result};

/// Options of one machine.
const MOST_OPTIONS: usize = 200;

/// One option as the template wrote it.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The name without its dash.
    pub option: String,
    /// A scalar, or a map.
    pub value: Value,
    /// Line of the rendered text.
    pub line: u64,
}

/// What of this PC a template may use.
pub struct Host<'a> {
    /// The kind of window, or `none`.
    pub display: &'a str,
    /// The way to its sound; none if the machine is to have none.
    pub sound: Option<&'a str>,
    /// The clipboard is shared.
    pub clipboard: bool,
    /// A folder can be shared.
    pub share: bool,
    /// The code of the machine's UEFI; none if it has a BIOS.
    pub uefi: Option<&'a Path>,
}

/// Renders `template` for `machine` on `host`.
///
/// # Errors
/// One sentence about what is wrong, with the line where it is known.
pub fn render(machine: &Machine, template: &str, host: &Host<'_>) -> Result<Vec<Setting>> {
    let text = FORMAT.expand(template, &context(machine, host)?)?;
    parse(&text)
}

/// What comes of a template.
pub const FORMAT: Format = Format { title: "QEMU", escape };

fn mistake(what: impl AsRef<str>) -> Error {
    FORMAT.mistake(what)
}

/// Escapes a value for the inside of a double-quoted YAML scalar (YAML 1.2.2, 5.7).
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => escaped.extend(['\\', c]),
            // Control characters, and what a reader of YAML would take for a line break or refuse.
            c if c.is_control()
                || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') =>
            {
                escaped.push_str(&format!("\\u{:04x}", c as u32));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// What a template may use.
fn context(machine: &Machine, host: &Host<'_>) -> Result<Value> {
    let board = board::of(machine);
    let mut places = board::Places::new(board);
    let disks = machine.disks.iter().map(|disk| {
        let base = match &disk.base {
            Some(base) => json!({ "path": text(&base.path)?, "format": base.format }),
            None => Value::Null,
        };
        let overlay = text(&disk.overlay)?;
        let place = places.next(&disk.controller);
        Ok(json!({
            "name": disk.name,
            "overlay": overlay,
            "base": base,
            "controller": disk.controller,
            "bus": place.bus,
            "unit": place.unit,
        }))
    });
    let disks = disks.collect::<Result<Vec<_>>>()?;
    let mut context = rendering::context(machine)?;
    context.insert("board".into(), board.name().into());
    context.insert("controllers".into(), places.extra().into());
    context.insert("card_place".into(), board::card_place(machine));
    let boot = match &machine.boot {
        Some(boot) => json!({
            "kernel": text(&boot.kernel)?,
            "initramfs": text(&boot.initramfs)?,
            "command_line": boot.command_line,
        }),
        None => Value::Null,
    };
    context.insert("boot".into(), boot);
    context.insert("cpu".into(), accelerator::cpu_model(&machine.accelerator).into());
    context.insert("display".into(), host.display.into());
    context.insert("sound".into(), host.sound.into());
    context.insert("clipboard".into(), host.clipboard.into());
    context.insert("firmware_code".into(), host.uefi.map(text).transpose()?.into());
    let variables = machine.chips.variables.as_deref();
    context.insert("firmware_variables".into(), variables.map(text).transpose()?.into());
    context.insert("tpm".into(), machine.chips.tpm.as_ref().map(|_| tpm::SOCKET).into());
    if !host.share {
        context.insert("share".into(), Value::Null);
    }
    context.insert("disks".into(), disks.into());
    Ok(context.into())
}

/// Reads the rendered text: a list of maps with one key each.
fn parse(text: &str) -> Result<Vec<Setting>> {
    let options = options! {
        strict_booleans: true,
        merge_keys: serde_saphyr::options::MergeKeyPolicy::Error,
        budget: budget! {
            max_depth: 8,
            max_aliases: 0,
            max_anchors: 0,
            max_documents: 1,
            max_nodes: 20_000,
            max_events: 50_000,
        },
    };
    let list: Vec<Spanned<BTreeMap<String, Value>>> = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| {
            let place = error.location().map(|at| format!(" in line {} after rendering", at.line()));
            let why = error.without_snippet().to_string();
            mistake(format!("is not a list of options{}: {}", place.unwrap_or_default(), plain(&why)))
        })?;
    if list.len() > MOST_OPTIONS {
        return Err(mistake(format!("has more than {MOST_OPTIONS} options")));
    }
    let settings = list.into_iter().map(|item| {
        let line = item.referenced.line();
        let mut entries = item.value.into_iter();
        match (entries.next(), entries.next()) {
            (Some((option, value)), None) => Ok(Setting { option, value, line }),
            _ => Err(mistake(format!(
                "has an entry that is not one “option: value” in line {line} after rendering"
            ))),
        }
    });
    settings.collect()
}

/// The map of a setting, or an empty one.
pub fn map(value: &Value) -> &Map<String, Value> {
    static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    value.as_object().unwrap_or(&EMPTY)
}
