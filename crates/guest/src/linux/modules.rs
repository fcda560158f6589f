//! Kernel modules: their names, and what `depmod` wrote about them.
//!
//! The files are described in modules.dep(5); `modules.builtin` in the kernel's Documentation/kbuild/kbuild.rst.

use std::collections::{BTreeMap, BTreeSet};

/// Suffixes of a module's file, by what compresses it.
const SUFFIXES: [&str; 5] = [".ko", ".ko.xz", ".ko.zst", ".ko.gz", ".ko.lz4"];

/// Lines of a `modules.dep` that are read; a kernel of a distribution has about 4000 to 7000 modules.
const MODULES_AT_MOST: usize = 50_000;
/// Modules that one is said to need.
const NEEDS_AT_MOST: usize = 200;
/// Bytes of a `modules.dep` that is made.
const RESTRICTED_AT_MOST: usize = 16 << 20;

/// The name of the module in the file `path`, with `_` for `-`, as the kernel has it; `None` if that is no module's file.
#[must_use]
pub fn name_of(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let stem = SUFFIXES.iter().find_map(|suffix| file.strip_suffix(suffix))?;
    (!stem.is_empty()).then(|| normalised(stem))
}

/// A module's name with `_` for `-`: the two are the same to the kernel and to modprobe.
#[must_use]
pub fn normalised(name: &str) -> String {
    name.replace('-', "_")
}

/// The names in a `modules.builtin`: one path per line.
#[must_use]
pub fn built_in(text: &str) -> BTreeSet<String> {
    text.lines().filter_map(|line| name_of(line.trim())).take(MODULES_AT_MOST).collect()
}

/// The modules of one kernel, as its `modules.dep` has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModuleTree {
    modules: BTreeMap<String, Module>,
}

/// A module in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Module {
    /// Its file, below `/lib/modules/VERSION`.
    path: String,
    /// The names of all that it needs, also indirectly: `depmod` writes the closure.
    needs: Vec<String>,
}

impl ModuleTree {
    /// Reads a `modules.dep`: per line `PATH: PATH PATH...`. Lines that are something else are left out, and so are paths that lead
    /// out of the tree.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut modules = BTreeMap::new();
        for line in text.lines().take(MODULES_AT_MOST) {
            let Some((path, needs)) = line.split_once(':') else { continue };
            let Some(name) = name_of(path) else { continue };
            if !stays_inside(path) {
                continue;
            }
            let needs = needs.split_ascii_whitespace().filter_map(name_of).take(NEEDS_AT_MOST).collect();
            modules.insert(name, Module { path: path.to_owned(), needs });
        }
        ModuleTree { modules }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.modules.len()
    }

    /// None at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.modules.is_empty()
    }

    /// Whether it has the module `name`, which must be normalised.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.modules.contains_key(name)
    }

    /// The module's file, below `/lib/modules/VERSION`.
    #[must_use]
    pub fn path(&self, name: &str) -> Option<&str> {
        self.modules.get(name).map(|module| module.path.as_str())
    }

    /// All that the module needs, also indirectly, what is needed most first; nothing if it is in no line.
    pub(crate) fn needs(&self, name: &str) -> impl Iterator<Item = &str> {
        self.modules.get(name).into_iter().flat_map(|module| module.needs.iter().rev().map(String::as_str))
    }

    /// The lines of a `modules.dep` of only the modules in `present`, by their names; `present` has their files, below
    /// `/lib/modules/VERSION`. A need that is not present is left out: it is built in, or the module can't be loaded anyway. `None` if that is more than any honest one.
    pub(crate) fn restricted(&self, present: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
        let mut bytes = 0;
        let line = |(name, path): (&String, &String)| {
            let mut line = format!("{path}:");
            let needs = self.modules.get(name).map_or(&[][..], |module| &module.needs);
            for need in needs.iter().filter_map(|need| present.get(need)) {
                line.push(' ');
                line.push_str(need);
            }
            bytes += name.len() + line.len();
            (bytes <= RESTRICTED_AT_MOST).then(|| (name.clone(), line))
        };
        present.iter().map(line).collect()
    }
}

/// A path of names that go down and nowhere else, and that fits into a line of a `modules.dep`.
pub(super) fn stays_inside(path: &str) -> bool {
    path.len() <= 1024
        && path.bytes().all(|byte| byte.is_ascii_graphic())
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "kernel/drivers/ata/ahci.ko: kernel/drivers/ata/libahci.ko kernel/drivers/ata/libata.ko\n\
        kernel/drivers/ata/libahci.ko: kernel/drivers/ata/libata.ko\n\
        kernel/drivers/ata/libata.ko:\n\
        ../../etc/evil.ko:\n\
        no module at all\n";

    #[test]
    fn a_name_is_the_same_with_every_suffix_and_hyphen() {
        assert_eq!(name_of("kernel/drivers/virtio-blk.ko.zst").as_deref(), Some("virtio_blk"));
        assert_eq!(name_of("virtio_blk.ko").as_deref(), Some("virtio_blk"));
        assert_eq!(name_of("modules.dep"), None);
        assert_eq!(name_of("kernel/.ko"), None);
    }

    #[test]
    fn dependencies_come_before_what_needs_them() {
        let tree = ModuleTree::parse(DEP);
        assert_eq!(tree.needs("ahci").collect::<Vec<_>>(), ["libata", "libahci"]);
        assert_eq!(tree.needs("nvme").count(), 0);
    }

    #[test]
    fn a_path_that_leads_out_of_the_tree_is_no_module() {
        assert!(!ModuleTree::parse(DEP).has("evil"));
        assert_eq!(ModuleTree::parse(DEP).len(), 3);
    }

    #[test]
    fn a_restricted_modules_dep_names_only_what_is_there() {
        let tree = ModuleTree::parse(DEP);
        let present =
            [("ahci", "kernel/drivers/ata/ahci.ko.xz"), ("libahci", "kernel/libahci.ko"), ("own", "own.ko")];
        let present = present.map(|(name, path)| (name.to_owned(), path.to_owned())).into();
        let lines: Vec<String> = tree.restricted(&present).unwrap().into_values().collect();
        assert_eq!(
            lines,
            ["kernel/drivers/ata/ahci.ko.xz: kernel/libahci.ko", "kernel/libahci.ko:", "own.ko:"]
        );
    }
}
