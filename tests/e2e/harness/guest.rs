//! The test guest's images, and the lines it says on its serial port.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::bench::must;

/// The folder with the guest's images, which nobody changes. `make test` builds it before the tests run; without
/// that the first test of this process does.
pub fn images() -> &'static Path {
    static IMAGES: OnceLock<PathBuf> = OnceLock::new();
    IMAGES.get_or_init(|| {
        if let Some(folder) = std::env::var_os("POCKETVM_TEST_GUEST") {
            return folder.into();
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guest/build.sh");
        must(Command::new(script).arg(&folder));
        folder
    })
}

/// One line of the guest: `POCKETVM-GUEST <what> key=value…`; the value of `text` reaches to the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub what: String,
    pub values: BTreeMap<String, String>,
}

impl Line {
    /// None if the line is another's, for instance the kernel's.
    pub fn parse(text: &str) -> Option<Line> {
        let rest = text.trim_end().strip_prefix("POCKETVM-GUEST ")?;
        let (what, mut rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let mut values = BTreeMap::new();
        while let Some((key, more)) = rest.split_once('=') {
            let value = if key == "text" { more } else { more.split(' ').next().unwrap_or_default() };
            rest = more[value.len()..].trim_start();
            values.insert(key.to_owned(), value.to_owned());
        }
        Some(Line { what: what.to_owned(), values })
    }

    /// The value of `key`, which must be there.
    pub fn get(&self, key: &str) -> &str {
        self.values.get(key).unwrap_or_else(|| panic!("the guest's line has no {key}: {self:?}"))
    }
}

#[test]
fn a_line_of_the_guest_has_a_subject_values_and_a_text_with_spaces() {
    let line = Line::parse("POCKETVM-GUEST marker disk=user text=one = two\r\n").unwrap();
    assert_eq!(line.what, "marker");
    assert_eq!(line.get("disk"), "user");
    assert_eq!(line.get("text"), "one = two");
    assert_eq!(Line::parse("[    3.1] reboot: Power down"), None);
}
