//! What the boot loader starts when nobody chooses: GRUB's configuration, or the entries of the Boot Loader Specification.
//!
//! GRUB's configuration is a program. It is not run here: of what `grub-mkconfig` writes, the entries are read.
//! Source: the GRUB manual, and the UAPI group's Boot Loader Specification.

use std::cmp::Reverse;

use serde::Serialize;

use super::files::Files;
use crate::Result;

/// Bytes of a `grub.cfg`, and of an entry.
const CONFIG_AT_MOST: u64 = 1 << 20;
/// Entries that are read.
const ENTRIES_AT_MOST: usize = 200;
/// Folders of GRUB.
const GRUB: [&str; 2] = ["/boot/grub", "/boot/grub2"];
/// Where entries are.
const ENTRIES: &str = "/boot/loader/entries";

/// What is started when nobody chooses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its title.
    pub title: String,
    /// The path of the kernel's image, as the boot loader knows it: from the file system's root, which may be that of `/boot`.
    pub image: String,
    /// The paths of what is unpacked as the initramfs, in their order.
    pub initramfs: Vec<String>,
    /// The kernel's command line.
    pub options: String,
    /// The file that says so.
    pub file: String,
}

impl Entry {
    /// The values of the parameter `name` on the command line.
    pub fn parameters<'e>(&'e self, name: &'e str) -> impl Iterator<Item = &'e str> {
        let words = self.options.split_ascii_whitespace();
        words.filter_map(move |word| word.strip_prefix(name)?.strip_prefix('='))
    }
}

/// The default entry; `None` if no configuration is there that is understood.
pub(super) fn default_entry(files: &Files) -> Result<Option<Entry>> {
    let mut environment = Environment::default();
    for folder in GRUB {
        let file = format!("{folder}/grub.cfg");
        let config = files.text(&file, CONFIG_AT_MOST)?;
        if config.is_empty() {
            continue;
        }
        environment = Environment::parse(&files.text(&format!("{folder}/grubenv"), CONFIG_AT_MOST)?);
        if let Some(entry) = grub(&config, &environment) {
            return Ok(Some(Entry { file, ..entry }));
        }
    }
    let mut entries = Vec::new();
    for name in files.names(ENTRIES)?.into_iter().filter(|name| name.ends_with(".conf")).take(ENTRIES_AT_MOST)
    {
        let file = format!("{ENTRIES}/{name}");
        if let Some(entry) = specified(&files.text(&file, CONFIG_AT_MOST)?, &environment) {
            entries.push(Entry { file, ..entry });
        }
    }
    let saved = environment.get("saved_entry");
    let is_saved = |entry: &Entry| Some(format!("{ENTRIES}/{saved}.conf")) == Some(entry.file.clone());
    let rescue = |entry: &Entry| entry.image.contains("rescue");
    entries.sort_by_key(|entry| (Reverse(is_saved(entry)), rescue(entry), Reverse(entry.file.clone())));
    Ok(entries.into_iter().next())
}

/// GRUB's variables that outlive a boot.
#[derive(Debug, Default)]
struct Environment(Vec<(String, String)>);

impl Environment {
    fn parse(text: &str) -> Self {
        let pairs =
            text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
        Environment(pairs.take(100).map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

/// An entry of the Boot Loader Specification.
fn specified(text: &str, environment: &Environment) -> Option<Entry> {
    let mut entry = Entry::default();
    for line in text.lines() {
        let line = line.trim();
        let Some((key, value)) = line.split_once(|next: char| next.is_ascii_whitespace()) else { continue };
        let value = value.trim();
        match key {
            "title" => entry.title = value.to_owned(),
            "linux" => entry.image = value.to_owned(),
            "initrd" => {
                let paths = value.split_ascii_whitespace().filter(|path| !path.starts_with('$'));
                entry.initramfs.extend(paths.map(str::to_owned));
            }
            "options" => {
                let expanded = value.split_ascii_whitespace().map(|word| match word.strip_prefix('$') {
                    Some(name) => environment.get(name),
                    None => word,
                });
                let words: Vec<&str> = expanded.filter(|word| !word.is_empty()).collect();
                entry.options = [entry.options.as_str(), &words.join(" ")].join(" ").trim().to_owned();
            }
            _ => {}
        }
    }
    (!entry.image.is_empty()).then_some(entry)
}

/// An entry of `grub.cfg` and where it is: the numbers of the submenus around it, and its own.
struct Found {
    entry: Entry,
    place: Vec<usize>,
    id: String,
}

/// The default entry of a `grub.cfg`: the one that is named or numbered, else the first.
fn grub(config: &str, environment: &Environment) -> Option<Entry> {
    let mut found: Vec<Found> = Vec::new();
    // The open braces, from outside: of a menu or submenu with its count of entries, or of anything else.
    let mut open: Vec<Block> = Vec::new();
    let mut counts = vec![0_usize];
    let mut default = String::new();
    for line in config.lines() {
        let words = words(line);
        let Some(first) = words.first().map(String::as_str) else { continue };
        match first {
            "menuentry" | "submenu" => {
                let number = counts.last().copied().unwrap_or(0);
                if let Some(count) = counts.last_mut() {
                    *count += 1;
                }
                if words.last().is_some_and(|last| last == "{") {
                    if first == "submenu" {
                        counts.push(0);
                        open.push(Block::Submenu(number));
                        continue;
                    }
                    if found.len() == ENTRIES_AT_MOST || open.len() > 50 {
                        break;
                    }
                    let submenus = open.iter().filter_map(|block| match block {
                        Block::Submenu(number) => Some(*number),
                        _ => None,
                    });
                    let id = words.iter().position(|word| word == "--id" || word == "$menuentry_id_option");
                    found.push(Found {
                        entry: Entry { title: words.get(1).cloned().unwrap_or_default(), ..Entry::default() },
                        place: submenus.chain([number]).collect(),
                        id: id.and_then(|at| words.get(at + 1)).cloned().unwrap_or_default(),
                    });
                    open.push(Block::Entry);
                }
                continue;
            }
            "set" => {
                if let Some(value) = words.get(1).and_then(|word| word.strip_prefix("default="))
                    && (default.is_empty() || !value.contains("next_entry"))
                {
                    default = value.to_owned();
                }
            }
            "linux" | "linux16" | "linuxefi" if open.contains(&Block::Entry) => {
                if let (Some(found), Some(image)) = (found.last_mut(), words.get(1))
                    && found.entry.image.is_empty()
                {
                    found.entry.image = path(image);
                    found.entry.options = words[2..].join(" ");
                }
            }
            "initrd" | "initrd16" | "initrdefi" if open.contains(&Block::Entry) => {
                if let Some(found) = found.last_mut() {
                    found.entry.initramfs.extend(words[1..].iter().map(|word| path(word)));
                }
            }
            "}" => {
                if let Some(Block::Submenu(_)) = open.pop() {
                    counts.pop();
                }
                continue;
            }
            _ => {}
        }
        if words.last().is_some_and(|last| last == "{") {
            open.push(Block::Other);
        }
    }
    found.retain(|found| !found.entry.image.is_empty());
    if default.contains("${saved_entry}") {
        default = environment.get("saved_entry").to_owned();
    }
    let chosen = found.iter().position(|found| found.is(&default)).unwrap_or(0);
    (chosen < found.len()).then(|| found.swap_remove(chosen).entry)
}

#[derive(Debug, PartialEq)]
enum Block {
    Submenu(usize),
    Entry,
    Other,
}

impl Found {
    /// Whether `default` means it: by numbers or by names, of submenus too, with `>` between.
    fn is(&self, default: &str) -> bool {
        let Some(last) = default.rsplit('>').next().filter(|last| !last.is_empty()) else { return false };
        let numbers: Option<Vec<usize>> = default.split('>').map(|part| part.parse().ok()).collect();
        match numbers {
            // A submenu's number means its first entry.
            Some(numbers) => {
                self.place == numbers
                    || self
                        .place
                        .strip_prefix(&numbers[..])
                        .is_some_and(|rest| rest.iter().all(|number| *number == 0))
            }
            None => last == self.id || last == self.entry.title,
        }
    }
}

/// A path without the device before it, `($root)/vmlinuz`.
fn path(word: &str) -> String {
    let without = word.strip_prefix('(').and_then(|rest| rest.split_once(')')).map(|(_, path)| path);
    without.unwrap_or(word).to_owned()
}

/// The words of a line of GRUB's configuration, quotes taken off; none for a comment.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = line.trim().chars();
    while let Some(next) = characters.next() {
        match (quote, next) {
            (Some(open), _) if next == open => quote = None,
            (Some('\''), _) => word.get_or_insert_default().push(next),
            (_, '\\') => word.get_or_insert_default().extend(characters.next()),
            (Some(_), _) => word.get_or_insert_default().push(next),
            (None, '\'' | '"') => {
                quote = Some(next);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, _) if next.is_whitespace() => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(next),
        }
    }
    words.extend(word);
    words
}

/// What is in a configuration's text, for the fuzzer.
#[doc(hidden)]
#[must_use]
pub fn parse(grub_cfg: &str, grubenv: &str, specification: &str) -> [Option<Entry>; 2] {
    let environment = Environment::parse(grubenv);
    [grub(grub_cfg, &environment), specified(specification, &environment)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As grub-mkconfig of Debian 12 writes it, shortened.
    const GRUB_CFG: &str = r#"
if [ -s $prefix/grubenv ]; then
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
else
   set default="0"
fi
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple-1' {
	insmod ext2
	if [ x$feature_platform_search_hint = xy ]; then
	  search --no-floppy --fs-uuid --set=root 1
	fi
	echo	'Loading Linux 6.1.0-50-amd64 ...'
	linux	/boot/vmlinuz-6.1.0-50-amd64 root=UUID=1 ro  quiet resume=UUID=2
	initrd	/boot/microcode.cpio /boot/initrd.img-6.1.0-50-amd64
}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced-1' {
	menuentry 'Debian GNU/Linux, with Linux 6.1.0-50-amd64' --class gnu $menuentry_id_option 'gnulinux-6.1.0-50' {
		linux	($root)/vmlinuz-6.1.0-50-amd64 root=UUID=1 ro single
	}
	menuentry "Old one" --id old {
		linux16 /vmlinuz-5.10 ro
	}
}
"#;

    fn image(config: &str, saved: &str) -> String {
        grub(config, &Environment::parse(&format!("# GRUB\nsaved_entry={saved}\n"))).unwrap().image
    }

    #[test]
    fn the_default_is_the_first_entry() {
        let entry = grub(GRUB_CFG, &Environment::default()).unwrap();
        assert_eq!(entry.title, "Debian GNU/Linux");
        assert_eq!(entry.image, "/boot/vmlinuz-6.1.0-50-amd64");
        assert_eq!(entry.options, "root=UUID=1 ro quiet resume=UUID=2");
        assert_eq!(entry.parameters("resume").collect::<Vec<_>>(), ["UUID=2"]);
        assert_eq!(entry.initramfs, ["/boot/microcode.cpio", "/boot/initrd.img-6.1.0-50-amd64"]);
    }

    #[test]
    fn a_default_is_found_by_number_name_and_id() {
        for default in ["1>1", "old", "gnulinux-advanced-1>old", "Old one"] {
            let config = GRUB_CFG.replace("default=\"0\"", &format!("default=\"{default}\""));
            assert_eq!(image(&config, ""), "/vmlinuz-5.10", "{default}");
        }
        let saved = GRUB_CFG.replace("default=\"0\"", "default=\"${saved_entry}\"");
        assert_eq!(image(&saved, "1>1"), "/vmlinuz-5.10");
        assert_eq!(image(&saved, "1"), "/vmlinuz-6.1.0-50-amd64");
        assert_eq!(image(&saved, "of no entry"), "/boot/vmlinuz-6.1.0-50-amd64");
    }

    #[test]
    fn an_entry_of_the_specification_takes_its_options_from_the_environment() {
        let text = "title Rocky\nversion 4.18\nlinux /vmlinuz-4.18\ninitrd /initramfs-4.18.img $tuned_initrd\noptions $kernelopts quiet\n";
        let entry = specified(text, &Environment::parse("kernelopts=root=/dev/sda1 ro\n")).unwrap();
        assert_eq!(
            (entry.image.as_str(), entry.options.as_str()),
            ("/vmlinuz-4.18", "root=/dev/sda1 ro quiet")
        );
        assert_eq!(entry.initramfs, ["/initramfs-4.18.img"]);
        assert_eq!(specified("title x\n", &Environment::default()), None);
    }

    #[test]
    fn a_configuration_without_entries_has_no_default() {
        assert_eq!(grub("set default=0\nblscfg\n}\n}\n", &Environment::default()), None);
        assert_eq!(grub("menuentry x {\nlinux\n", &Environment::default()), None);
    }
}
