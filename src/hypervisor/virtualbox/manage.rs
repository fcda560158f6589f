//! `VBoxManage`: the way to VirtualBox's list of machines and to the levers of a running one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use uuid::Uuid;

use crate::host::{child, programs};
use crate::hypervisor::rendering::plain;
use crate::{Error, Kind, Result};

/// Manages machines.
pub const MANAGE: &str = "VBoxManage";

/// Runs a machine without a window.
pub const HEADLESS: &str = "VBoxHeadless";

/// Runs a machine in a window.
pub const WINDOW: &str = "VirtualBoxVM";

/// Longest answer that is read.
const LONGEST_ANSWER: u64 = 256 * 1024;

/// An answer takes 60 ms, and some seconds if VirtualBox's server has to be started from a cold disk first.
const PATIENCE: Duration = Duration::from_secs(30);

/// The server is started by the first who asks; two who ask at the same moment can get in each other's way.
const ATTEMPTS: u32 = 4;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(300);

/// What VirtualBox says when its server could not be reached: the code is the same in every language.
const NO_SERVER: [&str; 3] =
    ["0x80040154", "0x80004005) - Operation failed (extended info not available)", "0x80070002"];

/// The program beside `manage` that is called `name`.
pub fn beside(manage: &Path, name: &str) -> Option<PathBuf> {
    let path = manage.parent()?.join(programs::file_name(name));
    path.is_file().then_some(path)
}

/// One `VBoxManage`.
#[derive(Debug, Clone)]
pub struct Manage {
    program: PathBuf,
}

impl Manage {
    /// The one at `program`.
    pub fn new(program: &Path) -> Manage {
        Manage { program: program.to_owned() }
    }

    /// Where it is.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Does a command and returns what was said on its standard output.
    ///
    /// # Errors
    /// [`Kind::Hypervisor`]: VirtualBox refused, with its words; or it does not answer.
    pub fn tell(&self, arguments: &[&str]) -> Result<String> {
        let mut attempt = 1;
        loop {
            let said = child::ask_with(&self.program, arguments, VARIABLES, LONGEST_ANSWER, PATIENCE)
                .map_err(|error| self.failed(arguments, &error.to_string()))?;
            match said.status {
                None => return Err(self.failed(arguments, "it does not answer")),
                Some(status) if status.success() => return Ok(said.stdout),
                Some(_) if attempt < ATTEMPTS && NO_SERVER.iter().any(|code| said.stderr.contains(code)) => {
                    attempt += 1;
                    std::thread::sleep(BETWEEN_ATTEMPTS);
                }
                Some(status) => {
                    let first = said.stderr.lines().find_map(|line| line.strip_prefix("VBoxManage: error: "));
                    let why = first.map_or_else(|| child::describe(status), plain);
                    return Err(self.failed(arguments, &why));
                }
            }
        }
    }

    fn failed(&self, arguments: &[&str], why: &str) -> Error {
        let command = arguments.first().copied().unwrap_or_default();
        Error::new(Kind::Hypervisor, format!("VirtualBox refuses: {command}")).because(why)
    }

    /// Whether a machine runs, or stands, or is on its way: its state is written to. False if VirtualBox is gone altogether.
    ///
    /// # Errors
    /// VirtualBox can't be asked.
    pub fn is_on(&self, machine: Uuid) -> Result<bool> {
        if !self.program.is_file() {
            return Ok(false);
        }
        let said = self.describe(machine)?.unwrap_or_default();
        let off = ["poweroff", "aborted", "saved", "aborted-saved", "inaccessible"];
        Ok(said.get("VMState").is_some_and(|state| !off.contains(&state)))
    }

    /// What VirtualBox knows about a machine, as `key=value` lines; none if it has no such machine.
    ///
    /// # Errors
    /// As [`Manage::tell`].
    pub fn describe(&self, machine: Uuid) -> Result<Option<Description>> {
        if !self.machines()?.iter().any(|(_, id)| *id == machine) {
            return Ok(None);
        }
        let text = self.tell(&["showvminfo", &machine.to_string(), "--machinereadable"])?;
        Ok(Some(Description::parse(&text)))
    }

    /// The ids of the disks that VirtualBox knows and that lie in `folder`.
    ///
    /// # Errors
    /// As [`Manage::tell`].
    pub fn disks_in(&self, folder: &Path) -> Result<Vec<Uuid>> {
        Ok(parse_disks(&self.tell(&["list", "hdds"])?, folder))
    }

    /// Names and ids of all machines that VirtualBox knows. A name is none if its settings can't be read any more.
    ///
    /// # Errors
    /// As [`Manage::tell`].
    pub fn machines(&self) -> Result<Vec<(Option<String>, Uuid)>> {
        Ok(parse_machines(&self.tell(&["list", "vms"])?))
    }
}

/// The ids of the disks that lie in `folder`, from a list of all.
fn parse_disks(text: &str, folder: &Path) -> Vec<Uuid> {
    let mut disks = Vec::new();
    let mut id = None;
    for line in text.lines() {
        match line.split_once(':').map(|(key, value)| (key, value.trim())) {
            // The first key of each disk.
            Some(("UUID", value)) => id = Uuid::try_parse(value).ok(),
            // Letters that the terminal's alphabet lacks may be changed in a path, those of the session's folder never are.
            Some(("Location", value)) if is_in(value, folder) => disks.extend(id.take()),
            _ => {}
        }
    }
    disks
}

/// Whether a path that VirtualBox tells lies in `folder`, as far as the names say that no alphabet changes.
pub fn is_in(path: &str, folder: &Path) -> bool {
    let parent = Path::new(path).parent();
    parent == Some(folder)
        || (folder.file_name().is_some() && parent.and_then(Path::file_name) == folder.file_name())
}

/// Where the user's VirtualBox keeps its list, if not in the usual place.
pub const VARIABLES: &[&str] =
    &["VBOX_USER_HOME", "VBOX_IPC_SOCKETID", "XDG_CONFIG_HOME", "TMPDIR", "TEMP", "TMP"];

/// `"name" {id}`, or `<inaccessible> {id}`. A name may hold anything.
fn parse_machines(text: &str) -> Vec<(Option<String>, Uuid)> {
    let line = |line: &str| {
        let (name, id) = line.trim_end().strip_suffix('}')?.rsplit_once(" {")?;
        let id = Uuid::try_parse(id).ok()?;
        Some((name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).map(str::to_owned), id))
    };
    text.lines().filter_map(line).collect()
}

/// A machine as VirtualBox describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description(Vec<(String, String)>);

impl Description {
    /// Lines `key="value"`, `key=value` or `"key"="value"`.
    pub fn parse(text: &str) -> Description {
        // Quotation marks and backslashes in a text have a backslash before them.
        let bare = |text: &str| match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
            Some(inner) => inner.replace("\\\\", "\u{0}").replace("\\\"", "\"").replace('\u{0}', "\\"),
            None => text.to_owned(),
        };
        let line = |line: &str| line.split_once('=').map(|(key, value)| (bare(key), bare(value.trim_end())));
        Description(text.lines().filter_map(line).collect())
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// All keys with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_listed_whatever_they_are_called() {
        let id = Uuid::from_u128(7);
        let text =
            format!("WARNING: no module\n\"a \"b\" {{c}}\" {{{id}}}\n<inaccessible> {{{id}}}\n\"x\" {{y}}\n");
        assert_eq!(parse_machines(&text), [(Some("a \"b\" {c}".to_owned()), id), (None, id)]);
    }

    #[test]
    fn only_disks_in_the_folder_are_found() {
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let text = format!(
            "UUID:           {one}\nParent UUID:    base\nState:          inaccessible\nLocation:       /pc/s: 1/a.vmdk\n\n\
             UUID:           {other}\nLocation:       /home/me/b.vmdk\n"
        );
        assert_eq!(parse_disks(&text, Path::new("/pc/s: 1")), [one]);
    }

    #[test]
    fn a_description_is_read_with_and_without_quotation_marks() {
        let text =
            "name=\"a=\\\"b\\\\\"\nmemory=32\n\"SATA-0-0\"=\"/x y/c.vmdk\"\n rec_screen0\nVRDEClients==0\n";
        let description = Description::parse(text);
        assert_eq!(description.get("name"), Some("a=\"b\\"));
        assert_eq!(description.get("memory"), Some("32"));
        assert_eq!(description.get("SATA-0-0"), Some("/x y/c.vmdk"));
        assert_eq!(description.get("rec_screen0"), None);
        assert_eq!(description.iter().count(), 4);
    }
}
