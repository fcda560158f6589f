//! From a template on the drive to a checked list of options.
//!
//! The template comes from a stick that may be anybody's. So its size, its nesting and its output are bounded, it can't
//! call itself, and what comes out is checked option by option in [`super::allowed`].

use std::collections::BTreeMap;
use std::io;

use handlebars::template::{HelperTemplate, Template, TemplateElement};
use handlebars::{Handlebars, handlebars_helper};
use serde_json::{Map, Value, json};
use serde_saphyr::{Spanned, budget, options};

use super::accelerator;
use crate::hypervisor::{MAX_TEMPLATE, Machine};
use crate::{Error, Kind, Result};

/// Longest rendered text in bytes.
const LONGEST_OUTPUT: usize = 256 * 1024;

/// More blocks (`{{#…}}`) than this are not accepted, nor deeper ones.
const MOST_BLOCKS: usize = 64;
const DEEPEST_BLOCK: usize = 4;

/// Longest text between `{{` and `}}` that is not a comment.
const LONGEST_TAG: usize = 200;

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

handlebars_helper!(has: |map: Json, key: str| map.get(key).is_some_and(|value| !value.is_null()));

/// Renders `template` for `machine`. `display` is the kind of window, or `none`.
///
/// # Errors
/// One sentence about what is wrong, with the line where it is known.
pub fn render(machine: &Machine, template: &str, display: &str) -> Result<Vec<Setting>> {
    let text = expand(template, &context(machine, display)?)?;
    parse(&text)
}

fn mistake(what: impl Into<String>) -> Error {
    Error::new(Kind::Drive, what).safe("nothing was started").hint(
        "correct the template; with none on the drive and none in the manifest, the built-in one is used",
    )
}

fn expand(template: &str, context: &Value) -> Result<String> {
    if template.len() as u64 > MAX_TEMPLATE {
        return Err(mistake(format!("the template for QEMU is longer than {} KiB", MAX_TEMPLATE / 1024)));
    }
    check_tags(template)?;
    let wrong = |line: Option<usize>, why: String| {
        let place = line.map(|line| format!(" in line {line}")).unwrap_or_default();
        mistake(format!("the template for QEMU has a mistake{place}: {}", accelerator::plain(&why)))
    };
    let compiled = Template::compile(template)
        .map_err(|error| wrong(error.pos().map(|(line, _)| line), error.reason().to_string()))?;
    let mut blocks = 0;
    check_blocks(&compiled, 0, &mut blocks)?;

    let mut registry = Handlebars::new();
    registry.set_strict_mode(true);
    registry.register_escape_fn(escape);
    registry.register_helper("has", Box::new(has));
    registry.register_template("qemu", compiled);
    let mut output = Bounded { bytes: Vec::new() };
    registry
        .render_to_write("qemu", context, &mut output)
        .map_err(|error| wrong(error.line_no, error.reason().to_string()))?;
    String::from_utf8(output.bytes)
        .map_err(|_| mistake("the template for QEMU does not render to Unicode text"))
}

/// A tag with many brackets would be parsed by a deep recursion, so the text is looked at before the parser does.
fn check_tags(template: &str) -> Result<()> {
    let mut rest = template;
    let mut line = 1;
    let mut blocks = 0;
    while let Some(start) = rest.find("{{") {
        line += rest[..start].matches('\n').count();
        let tag = &rest[start + 2..];
        let (end, comment) = match tag.strip_prefix("!--") {
            Some(comment) => (comment.find("--}}").map(|end| end + 3 + 2), true),
            None => (tag.find("}}"), tag.starts_with('!')),
        };
        let end =
            end.ok_or_else(|| mistake(format!("the template for QEMU has an unclosed {{{{ in line {line}")))?;
        let inside = &tag[..end];
        if !comment && (inside.len() > LONGEST_TAG || inside.matches(['(', '[']).count() > 4) {
            return Err(mistake(format!(
                "the template for QEMU has an expression in line {line} that is too long"
            )));
        }
        blocks += usize::from(inside.trim_start_matches(['~', '{']).starts_with(['#', '^']));
        if blocks > MOST_BLOCKS {
            return Err(mistake(format!("the template for QEMU has more than {MOST_BLOCKS} blocks")));
        }
        line += inside.matches('\n').count();
        rest = &tag[end..];
    }
    Ok(())
}

/// Refuses what could call itself or skip the escaping, and bounds the nesting.
fn check_blocks(template: &Template, depth: usize, blocks: &mut usize) -> Result<()> {
    for element in &template.elements {
        match element {
            TemplateElement::RawString(_) | TemplateElement::Comment(_) | TemplateElement::Expression(_) => {}
            TemplateElement::HelperBlock(block) => {
                *blocks += 1;
                if depth == DEEPEST_BLOCK || *blocks > MOST_BLOCKS {
                    return Err(mistake(format!(
                        "the template for QEMU nests blocks deeper than {DEEPEST_BLOCK} or has more than {MOST_BLOCKS}"
                    )));
                }
                let HelperTemplate { template, inverse, .. } = block.as_ref();
                for inner in [template, inverse].into_iter().flatten() {
                    // `else if` is a chain, not a nesting, but the parser nests it.
                    let depth = if block.chain { depth } else { depth + 1 };
                    check_blocks(inner, depth, blocks)?;
                }
            }
            TemplateElement::HtmlExpression(_) => {
                return Err(mistake(
                    "the template for QEMU uses {{{…}}}, which would not be escaped: use {{…}}",
                ));
            }
            TemplateElement::DecoratorExpression(_)
            | TemplateElement::DecoratorBlock(_)
            | TemplateElement::PartialExpression(_)
            | TemplateElement::PartialBlock(_) => {
                return Err(mistake(
                    "the template for QEMU uses partials ({{>…}} or {{*…}}), which are not supported",
                ));
            }
            _ => return Err(mistake("the template for QEMU uses something that is not supported")),
        }
    }
    Ok(())
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

/// Output that ends with an error when it becomes too long.
struct Bounded {
    bytes: Vec<u8>,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > LONGEST_OUTPUT {
            return Err(io::Error::other(format!("the result is longer than {} KiB", LONGEST_OUTPUT / 1024)));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a template may use.
fn context(machine: &Machine, display: &str) -> Result<Value> {
    let controller = machine.disks.first().map_or("ahci", |disk| disk.controller.as_str());
    // The old PC has two IDE buses with two disks each, the new one a bus for each disk.
    let places = if controller == "ide" { 2 } else { 1 };
    let mut ide_disks = 0;
    let disks = machine.disks.iter().map(|disk| {
        let base = match &disk.base {
            Some(base) => json!({ "path": text(&base.path)?, "format": base.format }),
            None => Value::Null,
        };
        let overlay = text(&disk.overlay)?;
        let (bus, unit) = (ide_disks / places, ide_disks % places);
        ide_disks += usize::from(disk.controller != "virtio");
        Ok(json!({
            "name": disk.name,
            "overlay": overlay,
            "base": base,
            "controller": disk.controller,
            "bus": format!("ide.{bus}"),
            "unit": unit,
        }))
    });
    Ok(json!({
        "name": machine.name,
        "uuid": machine.uuid,
        "mac": machine.mac,
        "memory_mib": machine.memory_mib,
        "cpus": machine.cpus,
        "accelerator": machine.accelerator,
        "cpu": accelerator::cpu_model(&machine.accelerator),
        "firmware": machine.firmware,
        "headless": machine.headless,
        "display": display,
        "controller": controller,
        "disks": disks.collect::<Result<Vec<_>>>()?,
        "serial_log": text(&machine.serial_log)?,
        "variables": machine.variables,
    }))
}

/// A path as text: QEMU's JSON knows only Unicode.
pub fn text(path: &std::path::Path) -> Result<&str> {
    path.to_str().ok_or_else(|| {
        Error::new(
            Kind::Refused,
            format!("QEMU can't use a path that is not Unicode text: {}", path.display()),
        )
        .hint("rename the folder")
    })
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
            mistake(format!(
                "the template for QEMU is not a list of options{}: {}",
                place.unwrap_or_default(),
                accelerator::plain(&why)
            ))
        })?;
    if list.len() > MOST_OPTIONS {
        return Err(mistake(format!("the template for QEMU has more than {MOST_OPTIONS} options")));
    }
    let settings = list.into_iter().map(|item| {
        let line = item.referenced.line();
        let mut entries = item.value.into_iter();
        match (entries.next(), entries.next()) {
            (Some((option, value)), None) => Ok(Setting { option, value, line }),
            _ => Err(mistake(format!(
                "the template for QEMU has an entry that is not one “option: value” in line {line} after rendering"
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
