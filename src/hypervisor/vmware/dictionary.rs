//! The form of VMware's configuration files: a line for each `key = "value"`.
//!
//! What a template renders to is read strictly and then written anew from what was read, so that VMware sees nothing else
//! than what was checked.

/// More lines are no honest file's.
const MOST_ENTRIES: usize = 500;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key, as it is written.
    pub key: String,
    /// The value, unescaped.
    pub value: String,
    /// Where it is, from 1.
    pub line: u64,
}

/// What is wrong with a text, and in which line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// A clause.
    pub why: String,
    /// From 1.
    pub line: u64,
}

/// Reads `text`: empty lines, comments, and entries with keys that differ.
///
/// # Errors
/// The first line that is anything else.
pub fn parse(text: &str) -> Result<Vec<Entry>, Mistake> {
    let mut entries: Vec<Entry> = Vec::new();
    for (line, words) in (1..).zip(text.split('\n')) {
        let words = words.trim_matches([' ', '\t', '\r']);
        if words.is_empty() || words.starts_with('#') {
            continue;
        }
        let mistake = |why: &str| Mistake { why: why.to_owned(), line };
        let (key, value) = words.split_once('=').ok_or_else(|| mistake("it is not key = \"value\""))?;
        let key = key.trim_end_matches([' ', '\t']);
        let is_key = !key.is_empty()
            && key.chars().all(|c| c.is_ascii_alphanumeric() || ".:_-".contains(c))
            && key.len() <= 100;
        if !is_key {
            return Err(mistake("its key is not one"));
        }
        let quoted = value.trim_start_matches([' ', '\t']).strip_prefix('"');
        let value = quoted.and_then(|rest| rest.strip_suffix('"'));
        let value = value.ok_or_else(|| mistake("its value is not between quotation marks"))?;
        let value = unescape(value).ok_or_else(|| mistake("its value is not escaped as it must be"))?;
        // VMware does not tell capital letters from small ones here.
        if entries.iter().any(|entry| entry.key.eq_ignore_ascii_case(key)) {
            return Err(mistake("its key is there already"));
        }
        if entries.len() == MOST_ENTRIES {
            return Err(mistake("there are too many"));
        }
        entries.push(Entry { key: key.to_owned(), value, line });
    }
    Ok(entries)
}

/// The text of `entries`.
pub fn print(entries: &[Entry]) -> String {
    entries.iter().map(|entry| format!("{} = \"{}\"\n", entry.key, escape(&entry.value))).collect()
}

/// The values of the keys that `is_meant`, in a file that VMware may have written; what is no entry is passed over.
pub fn values<'a>(text: &'a str, is_meant: impl Fn(&str) -> bool + 'a) -> impl Iterator<Item = String> + 'a {
    text.lines().filter_map(move |line| {
        let (key, value) = line.split_once('=')?;
        let value = value.trim().strip_prefix('"')?.strip_suffix('"')?;
        if is_meant(&key.trim().to_ascii_lowercase()) { unescape(value) } else { None }
    })
}

/// Escapes a value for the inside of quotation marks. VMware writes what would end a value or a line as `|` and two
/// hexadecimal digits.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || matches!(c, '"' | '|' | '#' | '\u{2028}' | '\u{2029}' | '\u{feff}') {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                escaped.push_str(&format!("|{byte:02X}"));
            }
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// The value that `text` stands for; none if it holds what must be escaped, or escapes something that is not UTF-8.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '|' => {
                let digits: String = rest.by_ref().take(2).collect();
                let is_hex = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                bytes.push(u8::from_str_radix(&digits, 16).ok().filter(|_| is_hex)?);
            }
            '"' => return None,
            c if c.is_control() => return None,
            c => bytes.extend(c.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Result<Vec<(String, String)>, String> {
        let entries = parse(text).map_err(|mistake| format!("{}: {}", mistake.line, mistake.why))?;
        Ok(entries.into_iter().map(|entry| (entry.key, entry.value)).collect())
    }

    #[test]
    fn what_is_escaped_comes_back_as_it_was() {
        for text in ["", "a \"b\" |22 # ä", "x\r\ny\u{0}\u{85}\u{2028}🖥", "C:\\Users\\ß\\m.vmdk", "|"] {
            let escaped = escape(text);
            assert!(!escaped.contains(['"', '\n', '\r', '#', '\u{0}']), "{escaped}");
            assert_eq!(unescape(&escaped).as_deref(), Some(text));
        }
        assert_eq!(escape("a\"b|"), "a|22b|7C");
    }

    #[test]
    fn lines_are_read_in_vmwares_form_and_no_other() {
        let text = "# a comment\r\n\n .encoding = \"UTF-8\"\nsata0:1.fileName=\"/x |22y|22\"\r\n";
        let meant = [(".encoding", "UTF-8"), ("sata0:1.fileName", "/x \"y\"")];
        assert_eq!(keys(text).unwrap(), meant.map(|(key, value)| (key.to_owned(), value.to_owned())));
        for (text, why) in [
            ("a = b", "quotation marks"),
            ("a = \"b", "quotation marks"),
            ("a = \"b\" c = \"d\"", "escaped"),
            ("a = \"|2\"", "escaped"),
            ("a = \"|+1\"", "escaped"),
            ("a = \"|FF\"", "escaped"),
            ("a = \"b\u{1}\"", "escaped"),
            ("a b = \"c\"", "key"),
            ("= \"c\"", "key"),
            ("include", "not key"),
            ("a = \"1\"\nA = \"2\"", "there already"),
        ] {
            let mistake = keys(text).unwrap_err();
            assert!(mistake.contains(why), "{text}: {mistake}");
        }
        assert!(keys(&(0..501).map(|n| format!("a{n} = \"\"\n")).collect::<String>()).is_err());
    }

    #[test]
    fn what_is_printed_is_read_as_the_same() {
        let entries = parse("b.c = \"|0Ax\"\n#\na = \"ä\"").unwrap();
        let printed = print(&entries);
        assert_eq!(printed, "b.c = \"|0Ax\"\na = \"ä\"\n");
        assert_eq!(keys(&printed), keys("b.c = \"|0Ax\"\na = \"ä\""));
    }

    #[test]
    fn the_values_of_a_file_of_vmwares_are_found_whatever_else_is_in_it() {
        let text = "#!/usr/bin/vmware\nSATA0:0.FileName = \"a.vmdk\"\nx\nide0:0.fileName = \"b\"\n";
        let found: Vec<String> = values(text, |key| key.ends_with(".filename")).collect();
        assert_eq!(found, ["a.vmdk", "b"]);
    }
}
