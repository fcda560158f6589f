//! The commands that describe a machine: a small part of PowerShell's language, so small that it can be read for certain.
//!
//! A line is a command with parameters; a value is a text between `'…'`, a whole number, or one of four variables. Nothing of
//! it calls, joins, expands or repeats anything. What a template renders to is read strictly and then written anew from what
//! was read, so that PowerShell sees nothing else than what was checked.

/// More commands are no honest file's.
const MOST_COMMANDS: usize = 100;

/// Longer texts are no honest file's.
const LONGEST_TEXT: usize = 4096;

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// `New-VM`, …, as it is written.
    pub name: String,
    /// Its result is `$vm` from then on.
    pub makes_machine: bool,
    /// Names without their dash, with values.
    pub parameters: Vec<(String, Value)>,
    /// Where it is, from 1.
    pub line: u64,
}

impl Command {
    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A parameter that has none.
    Switch,
    /// Between quotation marks.
    Text(String),
    /// A whole number.
    Number(u64),
    /// `$true` or `$false`.
    Bool(bool),
    /// `$vm`.
    Machine,
    /// `$lan`.
    Network,
}

/// What is wrong with a text, and in which line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// A clause.
    pub why: &'static str,
    /// From 1.
    pub line: u64,
}

/// Reads `text`: empty lines, comments, and commands.
///
/// # Errors
/// The first line that is anything else.
pub fn parse(text: &str) -> Result<Vec<Command>, Mistake> {
    let mut commands = Vec::new();
    for (line, words) in (1..).zip(text.split('\n')) {
        let words = words.trim_matches([' ', '\t', '\r']);
        if words.is_empty() || (words.starts_with('#') && !words.contains('\r')) {
            continue;
        }
        if commands.len() == MOST_COMMANDS {
            return Err(Mistake { why: "there are too many commands", line });
        }
        commands.push(parse_line(words, line).map_err(|why| Mistake { why, line })?);
    }
    Ok(commands)
}

fn parse_line(words: &str, line: u64) -> Result<Command, &'static str> {
    let (makes_machine, words) = match words.strip_prefix("$vm = ") {
        Some(rest) => (true, rest),
        None => (false, words),
    };
    let (name, mut rest) = words.split_at(words.find([' ', '\t']).unwrap_or(words.len()));
    let is_name = name.split_once('-').is_some_and(|(verb, noun)| is_word(verb) && is_word(noun));
    if !is_name {
        return Err("it is not a command");
    }
    let mut parameters: Vec<(String, Value)> = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        if rest.is_empty() {
            return Ok(Command { name: name.to_owned(), makes_machine, parameters, line });
        }
        let after = rest.strip_prefix('-').ok_or("something stands where a -Parameter should")?;
        let (parameter, after) = after.split_at(after.find([' ', '\t']).unwrap_or(after.len()));
        if !is_word(parameter) {
            return Err("something stands where a -Parameter should");
        }
        if parameters.iter().any(|(known, _)| known.eq_ignore_ascii_case(parameter)) {
            return Err("a parameter is there twice");
        }
        let (value, after) = parse_value(after.trim_start_matches([' ', '\t']))?;
        if value != Value::Switch && !(after.is_empty() || after.starts_with([' ', '\t'])) {
            return Err("a value is not one text, number or variable");
        }
        parameters.push((parameter.to_owned(), value));
        rest = after;
    }
}

/// The value at the beginning of `text`, and what comes behind it.
fn parse_value(text: &str) -> Result<(Value, &str), &'static str> {
    if text.is_empty() || text.starts_with('-') {
        return Ok((Value::Switch, text));
    }
    if text.starts_with('\'') {
        return parse_text(text);
    }
    let (word, rest) = text.split_at(text.find([' ', '\t']).unwrap_or(text.len()));
    let value = match word {
        "$true" => Value::Bool(true),
        "$false" => Value::Bool(false),
        "$vm" => Value::Machine,
        "$lan" => Value::Network,
        number if number.bytes().all(|b| b.is_ascii_digit()) => {
            Value::Number(number.parse().map_err(|_| "a number is too large")?)
        }
        _ => return Err("a value is not one text, number or variable"),
    };
    Ok((value, rest))
}

/// A text between quotation marks. PowerShell takes five characters for the single one (language specification 2.3.5.2): two
/// of them stand for the first, and one of them ends the text, whichever it is.
fn parse_text(text: &str) -> Result<(Value, &str), &'static str> {
    let mut value = String::new();
    let mut signs = text.char_indices().skip(1).peekable();
    while let Some((place, c)) = signs.next() {
        if c.is_control() {
            return Err("a text holds a control character");
        }
        if !is_quote(c) {
            value.push(c);
            continue;
        }
        match signs.peek() {
            Some((_, next)) if is_quote(*next) => {
                // What another reader might take for something else is not written at all.
                if *next != c {
                    return Err("a text holds two different quotation marks side by side");
                }
                value.push(c);
                signs.next();
            }
            _ if c == '\'' && value.len() <= LONGEST_TEXT => {
                return Ok((Value::Text(value), &text[place + 1..]));
            }
            _ => return Err("a text does not end as it began"),
        }
    }
    Err("a text has no end")
}

/// What PowerShell takes for a single quotation mark.
fn is_quote(c: char) -> bool {
    matches!(c, '\'' | '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{201b}')
}

fn is_word(word: &str) -> bool {
    (1..=40).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_alphabetic())
}

/// The text of `commands`.
pub fn print(commands: &[Command]) -> String {
    let mut text = String::new();
    for command in commands {
        if command.makes_machine {
            text.push_str("$vm = ");
        }
        text.push_str(&command.name);
        for (name, value) in &command.parameters {
            text.push_str(&format!(" -{name}"));
            match value {
                Value::Switch => {}
                Value::Text(value) => text.push_str(&format!(" '{}'", escape(value))),
                Value::Number(value) => text.push_str(&format!(" {value}")),
                Value::Bool(value) => text.push_str(if *value { " $true" } else { " $false" }),
                Value::Machine => text.push_str(" $vm"),
                Value::Network => text.push_str(" $lan"),
            }
        }
        text.push('\n');
    }
    text
}

/// Escapes a value for the inside of single quotation marks, where PowerShell expands nothing: only the marks themselves are
/// doubled. What would end the line becomes a sign that shows that something was there.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if is_quote(c) => escaped.extend([c, c]),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<Value, &'static str> {
        let commands = parse(&format!("Set-VM -Name {text}")).map_err(|mistake| mistake.why)?;
        Ok(commands[0].get("Name").unwrap().clone())
    }

    #[test]
    fn what_is_escaped_comes_back_as_it_was() {
        for text in [
            "",
            "it's",
            "''",
            "'",
            "a ‘b’ ‚c‛ d",
            "‘‘",
            "$(calc) `n ; | & \" {0} #",
            "C:\\Users\\ß\\x.vhd",
            "🖥 \u{2028}",
        ] {
            assert_eq!(value(&format!("'{}'", escape(text))), Ok(Value::Text(text.to_owned())), "{text}");
        }
        assert_eq!(value(&format!("'{}'", escape("a\r\nb"))), Ok(Value::Text("a\u{fffd}\u{fffd}b".into())));
    }

    #[test]
    fn different_marks_side_by_side_do_not_become_another_text() {
        let text = "x'’y";
        // Each is doubled by itself: no reader can take the second of one and the first of the other for a pair.
        assert_eq!(escape(text), "x''’’y");
        assert_eq!(value(&format!("'{}'", escape(text))), Ok(Value::Text(text.to_owned())));
    }

    #[test]
    fn nothing_but_commands_with_plain_values_is_read() {
        for line in [
            "Set-VM -Name 'a'; calc",
            "Set-VM -Name 'a' | Remove-VM",
            "Set-VM -Name 'a' & calc",
            "Set-VM -Name $(calc)",
            "Set-VM -Name \"a\"",
            "Set-VM -Name a",
            "Set-VM -Name @('a')",
            "Set-VM -Name (calc)",
            "Set-VM -Name $env:PATH",
            "Set-VM -Name $VM",
            "Set-VM -Name 'a'`",
            "Set-VM -Name 'a'.Length",
            "Set-VM -Name 'a''",
            "Set-VM -Name 'a’",
            "Set-VM -Name ‘a’",
            "Set-VM -Name 'a’'",
            "Set-VM -Name 'a'’b'",
            "Set-VM -Name 'a\rcalc'",
            "Set-VM -Name 'a' 'b'",
            "Set-VM -Name 1MB",
            "Set-VM -Name 0x10",
            "Set-VM -Name -1",
            "Set-VM -Name 'a' -name 'b'",
            "Set-VM -Name:'a'",
            "Set-VM -Name 'a' # comment",
            "Set-VM 'a'",
            "$x = Set-VM -Name 'a'",
            "$vm=New-VM -Name 'a'",
            "$vm.Name",
            ". C:\\x.ps1",
            "& calc",
            "calc.exe",
            "Hyper-V\\Set-VM -Name 'a'",
            "Set-VM\u{a0}-Name 'a'",
            "Set-VM –Name 'a'",
            "{",
            "<# x",
            "if (1) { }",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn what_is_printed_is_read_as_the_same() {
        let text = "# x\r\n\n  $vm = New-VM -Name 'it''s' -Generation 1 -NoVHD\r\nSet-VM -VM $vm -NoVHD -X $true -Y $false -Z $lan\n";
        let commands = parse(text).unwrap();
        assert_eq!(
            print(&commands),
            "$vm = New-VM -Name 'it''s' -Generation 1 -NoVHD\nSet-VM -VM $vm -NoVHD -X $true -Y $false -Z $lan\n"
        );
        let again = parse(&print(&commands)).unwrap();
        assert!(
            commands.iter().zip(&again).all(|(a, b)| (&a.name, &a.parameters) == (&b.name, &b.parameters))
        );
        assert!(parse(&"Set-VM\n".repeat(101)).is_err());
    }
}
