//! Rendering a template from a drive, for every hypervisor: strict, bounded, and escaped for the format that comes out.
//!
//! The template comes from a stick that may be anybody's. So its size, its nesting and its output are bounded, and it can't
//! call itself. What comes out is checked by the door, against a list of what can do no harm.

use std::io;
use std::path::Path;

use handlebars::template::{HelperTemplate, Template, TemplateElement};
use handlebars::{Handlebars, handlebars_helper};
use serde_json::{Map, Value, json};

use super::{MAX_TEMPLATE, Machine};
use crate::{Error, Kind, Result};

/// Longest rendered text in bytes.
const LONGEST_OUTPUT: usize = 256 * 1024;

/// More blocks (`{{#…}}`) than this are not accepted, nor deeper ones.
const MOST_BLOCKS: usize = 64;
const DEEPEST_BLOCK: usize = 4;

/// Longest text between `{{` and `}}` that is not a comment.
const LONGEST_TAG: usize = 200;

handlebars_helper!(has: |map: Json, key: str| map.get(key).is_some_and(|value| !value.is_null()));

/// A target format.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    /// The hypervisor, as people write it.
    pub title: &'static str,
    /// Makes a value safe inside of a quoted text of the format.
    pub escape: fn(&str) -> String,
}

impl Format {
    /// The error for what is wrong with a template; `what` goes on after “the template for …”.
    pub fn mistake(&self, what: impl AsRef<str>) -> Error {
        Error::new(Kind::Drive, format!("the template for {} {}", self.title, what.as_ref()))
            .safe("nothing was started")
            .hint("correct the template; with none on the drive and none in the manifest, the built-in one is used")
    }

    /// The error for a setting that is not on the door's list; `why` is a clause.
    pub fn refused(&self, setting: &str, why: &str, line: Option<u64>) -> Error {
        let place = line.map(|line| format!(" (line {line} after rendering)")).unwrap_or_default();
        Error::new(
            Kind::Drive,
            format!(
                "the template for {} has a setting that is not allowed: {}: {why}{place}",
                self.title,
                shown(setting)
            ),
        )
        .safe("nothing was started")
        .hint("remove the setting from the template, or compare it with the one of this PocketVM version")
    }

    /// Renders `template` with what is in `context`.
    ///
    /// # Errors
    /// One sentence about what is wrong, with the line where it is known.
    pub fn expand(&self, template: &str, context: &Value) -> Result<String> {
        if template.len() as u64 > MAX_TEMPLATE {
            return Err(self.mistake(format!("is longer than {} KiB", MAX_TEMPLATE / 1024)));
        }
        self.check_tags(template)?;
        let wrong = |line: Option<usize>, why: String| {
            let place = line.map(|line| format!(" in line {line}")).unwrap_or_default();
            self.mistake(format!("has a mistake{place}: {}", plain(&why)))
        };
        let compiled = Template::compile(template)
            .map_err(|error| wrong(error.pos().map(|(line, _)| line), error.reason().to_string()))?;
        let mut blocks = 0;
        self.check_blocks(&compiled, 0, &mut blocks)?;

        let mut registry = Handlebars::new();
        registry.set_strict_mode(true);
        registry.register_escape_fn(self.escape);
        registry.register_helper("has", Box::new(has));
        registry.register_template("template", compiled);
        let mut output = Bounded { bytes: Vec::new() };
        registry
            .render_to_write("template", context, &mut output)
            .map_err(|error| wrong(error.line_no, error.reason().to_string()))?;
        String::from_utf8(output.bytes).map_err(|_| self.mistake("does not render to Unicode text"))
    }

    /// A tag with many brackets would be parsed by a deep recursion, so the text is looked at before the parser does.
    fn check_tags(&self, template: &str) -> Result<()> {
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
            let end = end.ok_or_else(|| self.mistake(format!("has an unclosed {{{{ in line {line}")))?;
            let inside = &tag[..end];
            if !comment && (inside.len() > LONGEST_TAG || inside.matches(['(', '[']).count() > 4) {
                return Err(self.mistake(format!("has an expression in line {line} that is too long")));
            }
            blocks += usize::from(inside.trim_start_matches(['~', '{']).starts_with(['#', '^']));
            if blocks > MOST_BLOCKS {
                return Err(self.mistake(format!("has more than {MOST_BLOCKS} blocks")));
            }
            line += inside.matches('\n').count();
            rest = &tag[end..];
        }
        Ok(())
    }

    /// Refuses what could call itself or skip the escaping, and bounds the nesting.
    fn check_blocks(&self, template: &Template, depth: usize, blocks: &mut usize) -> Result<()> {
        for element in &template.elements {
            match element {
                TemplateElement::RawString(_)
                | TemplateElement::Comment(_)
                | TemplateElement::Expression(_) => {}
                TemplateElement::HelperBlock(block) => {
                    *blocks += 1;
                    if depth == DEEPEST_BLOCK || *blocks > MOST_BLOCKS {
                        return Err(self.mistake(format!(
                            "nests blocks deeper than {DEEPEST_BLOCK} or has more than {MOST_BLOCKS}"
                        )));
                    }
                    let HelperTemplate { template, inverse, .. } = block.as_ref();
                    for inner in [template, inverse].into_iter().flatten() {
                        // `else if` is a chain, not a nesting, but the parser nests it.
                        let depth = if block.chain { depth } else { depth + 1 };
                        self.check_blocks(inner, depth, blocks)?;
                    }
                }
                TemplateElement::HtmlExpression(_) => {
                    return Err(self.mistake("uses {{{…}}}, which would not be escaped: use {{…}}"));
                }
                TemplateElement::DecoratorExpression(_)
                | TemplateElement::DecoratorBlock(_)
                | TemplateElement::PartialExpression(_)
                | TemplateElement::PartialBlock(_) => {
                    return Err(self.mistake("uses partials ({{>…}} or {{*…}}), which are not supported"));
                }
                _ => return Err(self.mistake("uses something that is not supported")),
            }
        }
        Ok(())
    }
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

/// What every template may use. A door adds its own.
///
/// # Errors
/// A path is not Unicode text.
pub fn context(machine: &Machine) -> Result<Map<String, Value>> {
    let mut context = Map::new();
    let mut put = |name: &str, value: Value| context.insert(name.to_owned(), value);
    put("name", machine.name.as_str().into());
    put("uuid", machine.uuid.to_string().into());
    put("mac", machine.mac.as_str().into());
    put("memory_mib", machine.memory_mib.into());
    put("cpus", machine.cpus.into());
    put("accelerator", machine.accelerator.as_str().into());
    put("firmware", machine.firmware.as_str().into());
    put("headless", machine.headless.into());
    let controller = machine.disks.first().map_or("ahci", |disk| disk.controller.as_str());
    put("controller", controller.into());
    put("card", machine.card.into());
    put("graphics", machine.graphics.into());
    put("local_time", machine.local_time.into());
    put("serial_log", text(&machine.serial_log)?.into());
    put("variables", json!(machine.variables));
    put("devices", json!(machine.devices));
    let screen = machine.display.map(|(width, height)| json!({ "width": width, "height": height }));
    put("screen", screen.unwrap_or_default());
    put("share", machine.share.as_deref().map(text).transpose()?.map(Value::from).unwrap_or_default());
    Ok(context)
}

/// A path as text: what comes of a template is Unicode.
///
/// # Errors
/// It is not.
pub fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| {
        Error::new(
            Kind::Refused,
            format!("a hypervisor can't be told a path that is not Unicode text: {}", path.display()),
        )
        .hint("rename the folder")
    })
}

/// Words of a template in a message: short, and without control characters.
pub fn shown(words: &str) -> String {
    let short: String = words.chars().filter(|c| !c.is_control()).take(60).collect();
    format!("“{short}”")
}

/// What a program said, as one short line without control characters.
pub fn plain(words: &str) -> String {
    words.chars().filter(|c| !c.is_control()).take(160).collect()
}
