//! The one place that knows the YAML library: bytes to a checked [`Manifest`], errors to sentences with line and column.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Deserializer, de};
use serde_saphyr::{Location, Options, Spanned};

use super::check::{self, Step};
use super::{MAX_BYTES, Manifest, Mistake, SCHEMA};
use crate::{Error, Kind};

/// A mistake in a manifest and where it is.
#[derive(Debug)]
pub(super) struct Problem {
    mistake: Mistake,
    /// Line and column, both from 1.
    at: Option<(u64, u64)>,
}

impl Problem {
    fn new(mistake: Mistake, at: Option<Location>) -> Problem {
        let at = at.filter(|at| at.line() > 0).map(|at| (at.line(), at.column()));
        Problem { mistake, at }
    }

    /// The sentence that a person reads: what, where, and the file last.
    pub(super) fn into_error(self, origin: &Path) -> Error {
        let Mistake { what, hint } = self.mistake;
        let what = match self.at {
            Some((line, column)) => {
                format!("{what}, at line {line}, column {column} of {}", origin.display())
            }
            None => format!("{what}, in {}", origin.display()),
        };
        let error = Error::new(Kind::Drive, what);
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// Reads and checks a manifest.
pub(super) fn parse(bytes: &[u8]) -> Result<Manifest, Problem> {
    if bytes.len() > MAX_BYTES {
        let mistake = Mistake::new("the manifest is larger than 64 KiB", "keep notes in another file");
        return Err(Problem::new(mistake, None));
    }
    let text = text(bytes)?;
    // The version first: with another one, every other complaint would mislead.
    let version: Version = from_text(text)?;
    check_version(&version.schema)
        .map_err(|mistake| Problem::new(mistake, Some(version.schema.referenced)))?;
    let manifest: Manifest = from_text(text)?;
    match check::check(&manifest) {
        Ok(()) => Ok(manifest),
        Err((path, mistake)) => {
            let at = from_text::<Spanned<Node>>(text)?;
            Err(Problem::new(mistake, Some(locate(&at, &path))))
        }
    }
}

/// The text of a file, without the byte order mark that Windows editors put first.
fn text(bytes: &[u8]) -> Result<&str, Problem> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match str::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => {
            let good = &bytes[..error.valid_up_to()];
            let line = good.iter().filter(|b| **b == b'\n').count() as u64 + 1;
            let last = good.rsplit(|b| *b == b'\n').next().unwrap_or_default();
            let column = String::from_utf8_lossy(last).chars().count() as u64 + 1;
            let mistake =
                Mistake::new("the manifest is not UTF-8 text", "save it again with the encoding UTF-8");
            Err(Problem { mistake, at: Some((line, column)) })
        }
    }
}

/// Only the version, whatever else there is.
#[derive(Deserialize)]
struct Version {
    schema: Spanned<u32>,
}

fn check_version(schema: &Spanned<u32>) -> Result<(), Mistake> {
    let found = schema.value;
    match found {
        SCHEMA => Ok(()),
        0 => Err(Mistake::new("there is no schema 0", format!("write `schema: {SCHEMA}`"))),
        _ => Err(Mistake::new(
            format!("the drive was made by a newer PocketVM: schema {found}, this program knows {SCHEMA}"),
            "use the launcher that lies on the drive, or a newer one",
        )),
    }
}

/// Nothing that a manifest needs is refused, nothing that costs more than its size is allowed: no anchors, no
/// aliases, no merge keys, one document, little nesting.
fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: 1,
            max_aliases: 0,
            max_anchors: 0,
            max_depth: 16,
            max_nodes: 4096,
        },
        merge_keys: serde_saphyr::options::MergeKeyPolicy::Error,
        with_snippet: false,
    }
}

fn from_text<T: de::DeserializeOwned>(text: &str) -> Result<T, Problem> {
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| explain(&error))
}

/// The library's error in our words.
fn explain(error: &serde_saphyr::Error) -> Problem {
    use serde_saphyr::Error as Yaml;
    let error = error.without_snippet();
    let mistake = match error {
        // Ours, see the `Display` of `Mistake`.
        Yaml::Message { msg, .. } if msg.contains('\n') => {
            let (what, hint) = msg.split_once('\n').unwrap_or((msg, ""));
            Mistake::new(what, hint)
        }
        Yaml::SerdeUnknownField { field, expected, .. } => {
            Mistake::new(format!("unknown key `{}`", one_line(field)), suggest(field, expected, "keys"))
        }
        Yaml::SerdeUnknownVariant { variant, expected, .. } => Mistake::new(
            format!("unknown value `{}`", one_line(variant)),
            suggest(variant, expected, "values"),
        ),
        Yaml::SerdeMissingField { field, .. } => {
            Mistake::new(format!("the key `{field}` is missing"), format!("add `{field}: …`"))
        }
        Yaml::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().map_or_else(String::new, |key| format!(" `{}`", one_line(key)));
            Mistake::new(format!("the key{key} is there twice"), "remove one of the two")
        }
        Yaml::MultipleDocuments { .. } => {
            Mistake::new("there is a second document", "remove the line `---` and what follows")
        }
        Yaml::MergeKeyNotAllowed { .. } => {
            Mistake::new("merge keys (`<<`) are not allowed", "write the keys out")
        }
        Yaml::Eof { .. } => {
            Mistake::new("the manifest is empty or ends too early", "compare it with the example")
        }
        Yaml::Budget { breach, .. } => over_budget(breach),
        Yaml::UnknownAnchor { .. } => no_aliases(),
        Yaml::Unexpected { expected, .. } => wrong_shape(expected),
        Yaml::InvalidScalar { ty, .. } => match *ty {
            "boolean" => Mistake::new("yes or no is expected here", "write `true` or `false`"),
            _ => Mistake::new("a whole number is expected here", "write only digits"),
        },
        Yaml::InvalidBooleanStrict { .. } => {
            Mistake::new("yes or no is expected here", "write `true` or `false`")
        }
        other => not_yaml(&other.to_string()),
    };
    Problem::new(mistake, error.location())
}

fn no_aliases() -> Mistake {
    Mistake::new(
        "anchors (`&`) and aliases (`*`) are not allowed",
        "write the value out, or put it in quotes",
    )
}

/// A value of another shape than its key has, in the library's words for shapes.
fn wrong_shape(expected: &str) -> Mistake {
    if expected.starts_with("mapping") {
        Mistake::new(
            "keys with values are expected here",
            "write each as `key: value`, with a space after the colon",
        )
    } else if expected.starts_with("sequence") {
        Mistake::new("a list is expected here", "begin each item with `- `, or write `[]` for an empty list")
    } else if expected.starts_with("string") {
        Mistake::new("a text is expected here", "write one value, in quotes if it has special characters")
    } else {
        Mistake::new(format!("expected here: {}", one_line(expected)), "compare it with the example")
    }
}

/// What the parser itself says, without the place, which comes after it.
fn not_yaml(message: &str) -> Mistake {
    let what = one_line(message);
    let what = what.split(" at line ").next().unwrap_or_default();
    if what.contains("recursion limit") {
        return too_deep();
    }
    let hint = match what {
        what if what.contains("tab") => "indent with spaces",
        what if what.contains("quote") => "end the text with the same quote it begins with",
        what if what.contains("block") => "check the indentation and the brackets in the lines above",
        _ => "compare it with the example",
    };
    Mistake::new(format!("not valid YAML, {what}"), hint)
}

fn too_deep() -> Mistake {
    Mistake::new("the manifest is nested too deep or has too many values", "compare it with the example")
}

fn over_budget(breach: &serde_saphyr::budget::BudgetBreach) -> Mistake {
    use serde_saphyr::budget::BudgetBreach;
    match breach {
        BudgetBreach::Aliases { .. } | BudgetBreach::Anchors { .. } => Mistake::new(
            "anchors (`&`) and aliases (`*`) are not allowed",
            "write the value out, or put it in quotes",
        ),
        BudgetBreach::Documents { .. } => {
            Mistake::new("there is a second document", "remove the line `---` and what follows")
        }
        _ => Mistake::new(
            "the manifest is nested too deep or has too many values",
            "compare it with the example",
        ),
    }
}

/// The first line of a text that may be hostile or long.
fn one_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut short: String = line.chars().take(120).filter(|c| !c.is_control()).collect();
    if line.chars().nth(120).is_some() {
        short.push('…');
    }
    short
}

/// The known word that was probably meant, else all of them.
fn suggest(found: &str, known: &[&'static str], what: &str) -> String {
    let nearest = known.iter().map(|word| (distance(found, word), word)).min();
    match nearest {
        Some((0..=2, word)) => format!("did you mean `{word}`?"),
        _ => format!("known {what} here: {}", known.join(", ")),
    }
}

/// Levenshtein's distance, with a swap of two neighbours as one step ("optimal string alignment").
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let differs = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + differs);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

/// A manifest as a tree that knows where each value stands; for mistakes that only show between values.
enum Node {
    Scalar,
    List(Vec<Spanned<Node>>),
    Map(Vec<(String, Spanned<Node>)>),
}

/// Where the value at `path` stands, or the innermost one around it that is written down.
fn locate(root: &Spanned<Node>, path: &[Step]) -> Location {
    let mut at = root;
    for step in path {
        let next = match (&at.value, step) {
            (Node::List(items), Step::Item(index)) => items.get(*index),
            (Node::Map(entries), Step::Key(key)) => entries.iter().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        };
        match next {
            Some(next) => at = next,
            None => break,
        }
    }
    at.referenced
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_str<E>(self, _: &str) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Node::List(items))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Node::Map(entries))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_that_was_meant_is_found() {
        assert_eq!(distance("memroy", "memory"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(suggest("memroy", &["machine", "memory"], "keys"), "did you mean `memory`?");
        assert_eq!(suggest("colour", &["min", "max"], "keys"), "known keys here: min, max");
    }
}
