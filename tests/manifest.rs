//! The manifest: its manual, its schema, and an answer to every kind of mistake.
#![allow(missing_docs)]

use std::fmt::Write;
use std::path::{Component, Path};

use insta::assert_snapshot;
use pocketvm::Kind;
use pocketvm::drive::Manifest;
use pocketvm::drive::manifest::{Controller, Firmware, Format, Plain, Size, Verify};
use proptest::prelude::*;
use serde_json::Value;

const EXAMPLE: &str = include_str!("../templates/pocketvm.yaml");

fn parse(bytes: impl AsRef<[u8]>) -> pocketvm::Result<Manifest> {
    Manifest::parse(bytes.as_ref(), Path::new("pocketvm.yaml"))
}

/// The smallest manifest with one disk; mistakes are made in copies of it.
const GOOD: &str = "\
schema: 1
machine:
  name: Work
disks:
  - name: user
    file: disks/user/base.qcow2
    keep: true
";

#[test]
fn what_is_left_out_is_what_the_manual_says() {
    let example = parse(EXAMPLE).unwrap();
    let required = "
schema: 1
machine: {name: My computer}
disks:
  - {name: system, file: disks/system/base.qcow2, keep: false}
  - {name: user, file: disks/user/base.qcow2, keep: true}
";
    assert_eq!(example, parse(required).unwrap());
}

#[test]
fn every_key_of_the_manual_can_be_switched_on() {
    // A key that is switched off is a comment without a space after its `#`.
    let is_key = |rest: &str| rest.starts_with(|c: char| c.is_ascii_lowercase());
    let mut text = String::new();
    for line in EXAMPLE.lines() {
        match line.split_once('#') {
            Some((before, rest)) if before.trim().is_empty() && is_key(rest) => {
                writeln!(text, "{before}{rest}")
            }
            _ => writeln!(text, "{line}"),
        }
        .unwrap();
    }
    let all = parse(&text).unwrap();
    assert_eq!(all.paging.map(|paging| paging.size), Some(Size::gib(4)));
    assert_eq!(all.machine.mac.as_ref().map(|mac| mac.as_str()), Some("52:54:00:12:34:56"));
    assert!(all.machine.uuid.is_some());
    // Serialised, it has every key there is. Each must be explained in the manual, and none beyond.
    let mut keys = Vec::new();
    collect_keys(&serde_json::to_value(&all).unwrap(), &mut keys);
    let mut in_schema = Vec::new();
    collect_properties(&serde_json::from_str(&Manifest::json_schema()).unwrap(), &mut in_schema);
    keys.sort();
    keys.dedup();
    in_schema.sort();
    in_schema.dedup();
    assert_eq!(keys, in_schema);
}

#[test]
fn the_schema_in_the_documentation_is_the_schema() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/manifest.schema.json");
    let schema = Manifest::json_schema();
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &schema).unwrap();
    }
    let documented = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        documented == schema,
        "run `UPDATE_SCHEMA=1 cargo test --test manifest` and commit {}",
        path.display()
    );
}

#[test]
fn a_full_manifest_is_understood() {
    let manifest = parse(
        "\u{feff}schema: 1\r
machine: {name: 'Müllers Gerät ☂', uuid: 0F6F3A43-5d5e-4b7c-9f0e-3a1c5b2d7e11, mac: 52:54:00:AB:CD:EF, firmware: bios}\r
memory: {min: 512 MiB, max: 4GiB}\r
cpus: {max: 2}\r
disks:\r
  - {name: system, file: disks/mit Leerzeichen/ディスク.qcow2, format: raw, keep: yes, controller: virtio}\r
paging: {size: 2 GiB}\r
scratch: {room: 20 GiB, plain: accepted}\r
saves: {keep: 64, verify: data}\r
hypervisors: {qemu: {template: t/q.yaml, variables: {display: 'gtk,gl=on', cpu: 4}}}\r
",
    )
    .unwrap();
    assert_eq!(manifest.machine.name.as_str(), "Müllers Gerät ☂");
    assert_eq!(manifest.machine_mac(uuid::Uuid::nil()).as_str(), "52:54:00:ab:cd:ef");
    assert_eq!(manifest.machine.firmware, Firmware::Bios);
    assert_eq!((manifest.memory.min, manifest.memory.max), (Size::mib(512), Size::gib(4)));
    assert_eq!((manifest.cpus.min, manifest.cpus.max), (1, 2));
    let system = manifest.disk("system").unwrap();
    assert_eq!(system.file.as_str(), "disks/mit Leerzeichen/ディスク.qcow2");
    assert_eq!((system.keep, system.controller), (true, Controller::Virtio));
    assert_eq!(system.format, Format::Raw);
    assert_eq!(manifest.scratch.plain, Plain::Accepted);
    assert_eq!((manifest.saves.keep, manifest.saves.verify), (64, Verify::Data));
    let variables = manifest.hypervisors.qemu.variables.as_map();
    assert_eq!(variables["display"], "gtk,gl=on");
    assert_eq!(variables["cpu"], "4");
}

#[test]
fn what_is_written_out_is_read_back() {
    let manifest = parse(EXAMPLE).unwrap();
    let text = serde_json::to_string(&manifest).unwrap();
    assert_eq!(parse(&text).unwrap(), manifest, "JSON is YAML");
}

#[test]
fn every_mistake_gets_one_sentence_with_line_and_column() {
    let with = |from: &str, to: &str| {
        assert!(GOOD.contains(from), "{from}");
        GOOD.replacen(from, to, 1).into_bytes()
    };
    let and = |more: &str| format!("{GOOD}{more}\n").into_bytes();
    let file = |path: &str| with("disks/user/base.qcow2", path);
    let second = |name: &str, path: &str| and(&format!("  - {{name: {name}, file: {path}, keep: true}}"));
    let bomb: String = (1..10).fold("a0: &a0 [x]\n".to_owned(), |text, level| {
        let item = format!("*a{}", level - 1);
        format!("{text}a{level}: &a{level} [{}]\n", vec![item; 10].join(", "))
    });
    let many_disks: String =
        (0..8).map(|i| format!("  - {{name: d{i}, file: disks/d{i}/base.qcow2, keep: true}}\n")).collect();
    let many_variables: String = (0..65).map(|i| format!("v{i}: x, ")).collect();
    let variables = |inner: &str| and(&format!("hypervisors: {{qemu: {{variables: {{{inner}}}}}}}"));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        // Not YAML, or not text.
        ("empty", Vec::new()),
        ("only a comment", b"# nothing\n".to_vec()),
        ("a bracket is missing", with("name: Work", "{name: Work")),
        ("a quote is missing", with("Work", "'Work")),
        ("a tab", with("  name: Work", "\tname: Work")),
        ("wrong indentation", with("    keep", "   keep")),
        ("no space after the colon", with("name: Work", "name:Work")),
        ("not UTF-8", [GOOD.as_bytes(), b"# M\xfcller\n"].concat()),
        ("UTF-16 of a Windows editor", b"\xff\xfes\0c\0h\0".to_vec()),
        ("a zero", with("Work", "Wo\0rk")),
        ("too large", [GOOD.as_bytes(), &b"#".repeat(65536)].concat()),
        ("a list", b"- 1\n".to_vec()),
        ("a second document", and("---\nschema: 1")),
        ("an alias bomb", and(&bomb)),
        ("an alias", and("cpus: *x")),
        ("a merge key", with("name: Work", "<<: {name: Work}")),
        ("very deep", and(&format!("cpus: {}", "[".repeat(5000)))),
        // Versions.
        ("no version", with("schema: 1\n", "")),
        ("a newer version", with("schema: 1", "schema: 2\nsomething: new")),
        ("version 0", with("schema: 1", "schema: 0")),
        ("a version in words", with("schema: 1", "schema: one")),
        // Keys.
        ("a misspelt key", and("memroy: {min: 1 GiB}")),
        ("an unknown key", and("colour: red")),
        ("an unknown key further in", with("name: Work", "name: Work\n  nmae: Play")),
        ("a missing section", with("machine:\n  name: Work\n", "")),
        ("a missing key", with("    keep: true\n", "")),
        ("a key twice", with("name: Work", "name: Work\n  name: Play")),
        (
            "no disks at all",
            with("disks:\n  - name: user\n    file: disks/user/base.qcow2\n    keep: true\n", ""),
        ),
        // Types and values.
        ("a text for a section", with("\n  name: Work", " Work")),
        ("a section for a text", with("name: Work", "name: {first: Work}")),
        ("a text for a list", with("disks:\n", "disks: none\nothers:\n")),
        ("a word for yes or no", with("keep: true", "keep: perhaps")),
        ("a name of spaces", with("Work", "'  '")),
        ("a name too long", with("Work", &"W".repeat(65))),
        ("a name of two lines", with("Work", "\"Wo\\nrk\"")),
        ("an unknown controller", with("keep: true", "keep: true\n    controller: acpi")),
        ("an unknown format", with("keep: true", "keep: true\n    format: vmdk")),
        ("an unknown firmware", with("name: Work", "name: Work\n  firmware: coreboot")),
        ("UEFI without a place for its variables", with("name: Work", "name: Work\n  firmware: uefi")),
        ("a UUID that is none", with("name: Work", "name: Work\n  uuid: 12")),
        ("an address that is none", with("name: Work", "name: Work\n  mac: 52-54-00-12-34-56")),
        ("an address of a group", with("name: Work", "name: Work\n  mac: 53:54:00:12:34:56")),
        // Sizes and numbers.
        ("no unit", and("memory: {min: 512}")),
        ("a decimal unit", and("memory: {min: 512 MB}")),
        ("a short unit", and("memory: {min: 4G}")),
        ("an unknown unit", and("memory: {min: 4 apples}")),
        ("a fraction", and("memory: {min: 1.5 GiB}")),
        ("a negative size", and("memory: {min: -1 GiB}")),
        ("too many bytes to count", and("memory: {min: 99999999999999999999 GiB}")),
        ("too little memory", and("memory: {min: 1 MiB}")),
        ("not whole MiB", and("memory: {min: 1000001 KiB}")),
        ("memory upside down", and("memory: {min: 4 GiB, max: 2 GiB}")),
        ("more at least than the default at most", and("memory:\n  min: 16 GiB")),
        ("no CPU", and("cpus: {min: 0}")),
        ("too many CPUs", and("cpus: {max: 65}")),
        ("CPUs upside down", and("cpus: {min: 4, max: 2}")),
        ("half a CPU", and("cpus: {min: 0.5}")),
        ("a paging disk too large", and("paging: {size: 1 TiB}")),
        ("a paging disk without a size", and("paging: {}")),
        ("no save to keep", and("saves: {keep: 0}")),
        ("too many saves to keep", and("saves: {keep: 65}")),
        ("fewer saves than none", and("saves: {keep: -1}")),
        ("an unknown way to verify", and("saves: {verify: everything}")),
        // Disks.
        ("a disk name with capitals", with("name: user", "name: User")),
        ("a disk called paging", with("name: user", "name: paging")),
        ("two disks of one name", second("user", "disks/b/base.qcow2")),
        ("two disks in one file", second("other", "Disks/user/BASE.qcow2")),
        ("nine disks", and(many_disks.trim_end())),
        // Paths.
        ("an empty path", file("''")),
        ("an absolute path", file("/etc/shadow")),
        ("a drive letter", file("C:/Users/me/disk.qcow2")),
        ("a way out", file("../outside.qcow2")),
        ("a way out further in", file("disks/../../outside.qcow2")),
        ("a backslash", file("disks\\user.qcow2")),
        ("a share", file("'//server/share/disk.qcow2'")),
        ("a dot", file("./base.qcow2")),
        ("a zero in a path", file("\"a\\0b\"")),
        ("a line break in a path", file("\"a\\nb\"")),
        ("a stream of NTFS", file("disks/base.qcow2:hidden")),
        ("a device of Windows", file("disks/nul.qcow2")),
        ("a dot at the end", file("disks/base.")),
        ("a question mark", file("disks/base?.qcow2")),
        ("a path too long", file(&"long/".repeat(200))),
        ("our own files", file("State/session")),
        ("our own files as a template", and("hypervisors: {qemu: {template: state/x}}")),
        // Variables.
        ("a variable name with capitals", variables("Display: gtk")),
        ("a variable of two lines", variables("a: \"x\\ny\"")),
        ("a list for a variable", variables("a: [x]")),
        ("too many variables", variables(many_variables.trim_end_matches(", "))),
    ];
    let mut answers = String::new();
    for (what, bytes) in cases {
        let error = parse(&bytes).expect_err(what);
        assert_eq!(error.kind, Kind::Drive, "{what}");
        let text = error.to_string();
        assert!(!text.contains(|c: char| c.is_control()) && text.len() < 300, "{what}: {text:?}");
        writeln!(answers, "{what}\n    {text}\n    hint: {}", error.hint.as_deref().unwrap_or("-")).unwrap();
    }
    assert_snapshot!(answers);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_manifest_is_an_error_on_one_line_and_never_a_crash(
        at in 0..EXAMPLE.len(),
        cut in 0..40usize,
        noise in proptest::collection::vec(any::<u8>(), 0..8),
    ) {
        let mut bytes = EXAMPLE.as_bytes().to_vec();
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, noise);
        if let Err(error) = parse(&bytes) {
            let text = error.to_string();
            prop_assert_eq!(error.kind, Kind::Drive);
            prop_assert!(!text.chars().any(char::is_control), "{}", text);
        }
    }

    #[test]
    fn no_path_that_is_accepted_leads_out_of_the_drive(path in "[a-zA-Z./\\\\: ~]{1,16}") {
        if let Ok(manifest) = parse(GOOD.replacen("disks/user/base.qcow2", &format!("'{path}'"), 1)) {
            let path = Path::new("/drive").join(manifest.disks[0].file.as_str());
            let plain = path.components().all(|part| !matches!(part, Component::ParentDir | Component::Prefix(_)));
            prop_assert!(plain && path.starts_with("/drive"), "{}", path.display());
        }
    }
}

/// The names of all keys in a value; variables are free and not followed.
fn collect_keys(value: &Value, keys: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                keys.push(key.clone());
                if key != "variables" {
                    collect_keys(value, keys);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_keys(item, keys)),
        _ => {}
    }
}

/// The names of all properties in a JSON schema.
fn collect_properties(schema: &Value, keys: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map {
                if let ("properties", Value::Object(properties)) = (key.as_str(), value) {
                    keys.extend(properties.keys().cloned());
                }
                collect_properties(value, keys);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_properties(item, keys)),
        _ => {}
    }
}
