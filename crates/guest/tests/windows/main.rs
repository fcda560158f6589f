//! A Windows on a real NTFS volume, made by ntfs-3g, with hives made by hivex: what is read of it, what is planned for other
//! hardware, and what other programs read after the plan was carried out. No Windows runs here, and none could.
#![cfg(target_os = "linux")]
#![allow(missing_docs, clippy::unwrap_used)]

mod refusals;

use std::sync::LazyLock;

use pocketvm_guest::Edit;
use pocketvm_guest::windows::{Architecture, Clock, Mounted, Setting, Windows, plan};
use pocketvm_specimen::flavours::Flavour;
use pocketvm_specimen::hives;
use pocketvm_specimen::image::{Image, Layout};
use pocketvm_specimen::programs::{ask, run};
use proptest::prelude::*;

static WINDOWS_10: LazyLock<Image> = LazyLock::new(|| Flavour::windows_10().image(Layout::Whole));
static WINDOWS_7: LazyLock<Image> = LazyLock::new(|| Flavour::windows_7().image(Layout::Whole));

const SYSTEM: &str = "/Windows/System32/config/SYSTEM";

#[test]
fn a_windows_10_is_recognised_with_all_that_matters() {
    let windows = WINDOWS_10.inspect();
    assert_eq!(windows.name.as_deref(), Some("Windows 10 Pro"));
    assert_eq!((windows.build, windows.architecture), (Some(19045), Some(Architecture::X86_64)));
    assert_eq!(
        (windows.clock, windows.hibernation, windows.fast_startup),
        (Clock::Local, Some(true), Some(true))
    );
    assert_eq!(windows.page_files, [r"P:\pagefile.sys 1024 4096"]);
    let letters: Vec<_> = windows.letters.iter().map(|letter| (letter.letter, letter.volume)).collect();
    let partition = pocketvm_guest::Guid(*b"0123456789abcdef");
    let by_signature = Mounted::Mbr { signature: 0x1234_5678, start: 0x10_0000 };
    assert_eq!(letters, [('C', Mounted::Gpt { partition }), ('D', by_signature)]);
    let tools: Vec<_> = windows.guest_tools.iter().map(|tool| tool.service).collect();
    assert_eq!(tools, ["VBoxGuest", "VMTools", "QEMU-GA", "viostor", "netkvm"]);
    assert_eq!(windows.state, []);

    let sets: Vec<_> = windows.control_sets.iter().map(|set| (set.number, set.current)).collect();
    assert_eq!(sets, [(1, true), (2, false)]);
    assert_eq!(driver(&windows, "storahci"), (true, true, Some(0), None));
    assert_eq!(driver(&windows, "STORNVME"), (true, true, Some(0), Some(3)));
    assert_eq!(driver(&windows, "pvscsi"), (true, false, None, None));
    assert_eq!(driver(&windows, "viostor"), (true, true, Some(1), None));
    assert_eq!(driver(&windows, "BusLogic"), (false, false, None, None));
}

#[test]
fn a_windows_7_is_recognised_with_the_devices_that_it_starts_from() {
    let windows = WINDOWS_7.inspect();
    assert_eq!((windows.name.as_deref(), windows.build), (Some("Windows 7 Professional"), Some(7601)));
    assert_eq!((windows.hibernation, windows.fast_startup), (None, None));
    assert_eq!(driver(&windows, "msahci"), (true, true, Some(3), None));
    assert_eq!(driver(&windows, "storflt"), (true, true, Some(0), None));
    assert_eq!(driver(&windows, "storahci"), (false, false, None, None));
    let set = &windows.control_sets[0];
    assert_eq!(set.driver("msahci").unwrap().device_ids, ["pci#cc_0106"]);
    assert_eq!(set.driver("LSI_SAS").unwrap().device_ids, ["pci#ven_1000&dev_0054"]);
    assert!(set.driver("atapi").unwrap().device_ids.is_empty());
}

#[test]
fn a_clock_in_universal_time_is_told() {
    let set = |system: hives::Registry| {
        system.set(r"ControlSet001\Control\TimeZoneInformation", &["\"RealTimeIsUniversal\"=dword:00000001"])
    };
    assert_eq!(Flavour::windows_7().system(set).image(Layout::Whole).inspect().clock, Clock::Utc);
}

#[test]
fn a_volume_without_windows_is_none() {
    let image = Image::new(&[("Documents/letter.txt", b"Dear"), ("Windows/readme", b"")], Layout::Whole);
    assert_eq!(image.try_inspect().unwrap(), None);
}

#[test]
fn a_windows_10_starts_from_other_controllers_after_a_few_bytes() {
    let needed = ["stornvme", "LSI_SAS", "vmbus", "storvsc", "storflt"];
    let changed = adapted(&WINDOWS_10, &needed, |driver| vec![(format!(r"{driver}\StartOverride"), "0", 3)]);
    // Two control sets.
    assert_eq!(changed, 2 * 5);
}

#[test]
fn a_windows_7_starts_from_other_controllers_after_a_few_bytes() {
    let changed =
        adapted(&WINDOWS_7, &["pciide", "msahci", "storvsc"], |driver| vec![(driver.to_owned(), "Start", 3)]);
    assert_eq!(changed, 2 * 3);
}

#[test]
fn a_hive_in_many_pieces_is_edited_where_it_lies() {
    let mut image = Flavour::windows_10_with(100).image(Layout::Scattered);
    let told = image.told(SYSTEM);
    assert!(told.lines().filter(|line| line.trim_start().starts_with("0x")).count() > 20, "{told}");
    let needed = ["stornvme", "LSI_SAS", "intelide"];
    let values = |driver: &str| vec![(format!(r"{driver}\StartOverride"), "0", 3)];
    assert_eq!(adapted(&image, &needed, values), 6);

    // With many names, the file's record is too small for what says where the pieces are.
    let dir = tempfile::tempdir().unwrap();
    image.change(dir.path(), |root| {
        for number in 0..8 {
            std::fs::hard_link(root.join(&SYSTEM[1..]), root.join(format!("{number:0200}"))).unwrap();
        }
    });
    let told = image.told(SYSTEM);
    assert!(told.contains("Dumping attribute $ATTRIBUTE_LIST"), "{told}");
    assert_eq!(adapted(&image, &needed, values), 6);
}

#[test]
fn edits_of_a_hive_in_many_pieces_lie_apart() {
    let flavour = Flavour::windows_10_with(100);
    let distances = |layout| {
        let edits = plan(&flavour.image(layout).inspect(), &["intelide", "storflt"]).unwrap();
        let first = edits.iter().map(|edit| edit.offset).min().unwrap();
        edits.iter().map(|edit| edit.offset - first).collect::<Vec<_>>()
    };
    assert_ne!(distances(Layout::Scattered), distances(Layout::Whole));
}

#[test]
fn a_driver_that_never_starts_is_made_to_with_its_override() {
    let disabled = |system: hives::Registry| {
        system.set(r"ControlSet001\Services\stornvme", &["\"Start\"=dword:00000004"])
    };
    let image = Flavour::windows_10().system(disabled).image(Layout::Whole);
    let edits = plan(&image.inspect(), &["stornvme"]).unwrap();
    let what: Vec<_> = edits.iter().map(|edit| edit.what.as_str()).collect();
    assert_eq!(
        what,
        [
            r"ControlSet001\Services\stornvme\Start: 4 to 0",
            r"ControlSet001\Services\stornvme\StartOverride\0: 3 to 0",
            r"ControlSet002\Services\stornvme\StartOverride\0: 3 to 0",
        ]
    );
}

#[test]
fn nothing_is_planned_for_what_starts_already_or_is_a_network_card() {
    assert_eq!(plan(&WINDOWS_10.inspect(), &["storahci"]), Ok(vec![]));
    assert_eq!(plan(&WINDOWS_7.inspect(), &["intelide", "atapi", "E1G60"]), Ok(vec![]));
    assert_eq!(plan(&WINDOWS_7.inspect(), &[]), Ok(vec![]));
}

#[test]
fn a_driver_that_only_an_older_control_set_lacks_is_planned_for_the_others() {
    let gone = |system: hives::Registry| system.without(r"ControlSet002\Services\stornvme");
    let image = Flavour::windows_10().system(gone).image(Layout::Whole);
    let edits = plan(&image.inspect(), &["stornvme"]).unwrap();
    assert_eq!(edits.len(), 1);
    assert!(edits[0].what.starts_with("ControlSet001"));
}

/// Plans, does it, and lets other programs look. `values` says which values, of which keys below `Services`, become 0, and what
/// they were. Returns how many bytes of the disk differ.
fn adapted(image: &Image, needed: &[&str], values: impl Fn(&str) -> Vec<(String, &'static str, u32)>) -> u64 {
    let mut after = image.clone();
    let edits = plan(&image.inspect(), needed).unwrap();
    after.apply(&edits);
    assert_eq!(plan(&after.inspect(), needed), Ok(vec![]), "planned twice");

    let dir = tempfile::tempdir().unwrap();
    for (disk, is) in [(image, false), (&after, true)] {
        let hive = disk.read(dir.path(), SYSTEM);
        for set in ["ControlSet001", "ControlSet002"] {
            for (key, name, was) in needed.iter().flat_map(|driver| values(driver)) {
                let number = hives::number(&hive, &format!(r"{set}\Services\{key}"), name);
                assert_eq!(number, if is { 0 } else { was }, "{set} {key} {name}");
            }
        }
    }
    run("ntfsfix", ["-n".as_ref(), after.volume_file(dir.path()).as_os_str()]);
    assert_eq!(after.probe(), 0);
    let changed = differing_bytes(image, &after);
    assert_eq!(changed, edits.iter().map(Edit::changed).sum::<u64>(), "only what was planned");
    changed
}

/// As `cmp -l` counts them.
fn differing_bytes(one: &Image, other: &Image) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let paths = [dir.path().join("one"), dir.path().join("other")];
    std::fs::write(&paths[0], &one.bytes).unwrap();
    std::fs::write(&paths[1], &other.bytes).unwrap();
    let output = ask("cmp", ["-l".as_ref(), paths[0].as_os_str(), paths[1].as_os_str()]);
    String::from_utf8(output.stdout).unwrap().lines().count() as u64
}

/// Whether it has a service and a file, `Start`, and `StartOverride`, in the control set that is next.
fn driver(windows: &Windows, name: &str) -> (bool, bool, Option<u32>, Option<u32>) {
    let driver = windows.control_sets.iter().find(|set| set.current).unwrap().driver(name).unwrap();
    (driver.service, driver.file, driver.start.value(), driver.start_override.value())
}

const STORAGE: &[&str] =
    &["intelide", "atapi", "pciide", "storahci", "stornvme", "LSI_SAS", "vmbus", "storvsc", "storflt"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn planning_twice_plans_nothing(
        values in prop::collection::vec(prop_oneof![0..5u32, any::<u32>()], 64),
        needed in prop::sample::subsequence(STORAGE, 0..STORAGE.len()),
    ) {
        let mut image = WINDOWS_10.clone();
        let mut values = values.iter();
        for set in image.inspect().control_sets {
            for driver in set.drivers {
                for setting in [driver.start, driver.start_override] {
                    if let (Setting::Number(number), Some(value)) = (setting, values.next()) {
                        prop_assert_eq!(number.places().len(), 1);
                        let at = number.places()[0].offset as usize;
                        image.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
                    }
                }
            }
        }
        let before = image.clone();
        let edits = plan(&image.inspect(), &needed).unwrap();
        image.apply(&edits);
        prop_assert_eq!(plan(&image.inspect(), &needed).unwrap(), vec![]);
        let differ = before.bytes.iter().zip(&image.bytes).filter(|(before, after)| before != after).count() as u64;
        prop_assert_eq!(differ, edits.iter().map(Edit::changed).sum::<u64>());
        for set in image.inspect().control_sets {
            for name in &needed {
                let driver = set.driver(name).unwrap();
                prop_assert_eq!(driver.start.value(), Some(0));
                prop_assert!(driver.start_override.value().is_none_or(|value| value == 0));
            }
        }
    }

    /// What is on the volume may be anybody's: bytes are overwritten where they matter.
    #[test]
    fn a_damaged_volume_is_no_panic(
        damages in prop::collection::vec((0..2_000_000usize, any::<u8>()), 1..40),
        near in prop::sample::select(vec![0usize, 16 << 10, 64 << 10]),
    ) {
        let mut image = WINDOWS_10.clone();
        let volume = image.volume();
        for (at, byte) in damages {
            let at = if near == 0 { at } else { 0x4000 + at % near };
            volume[at] = byte;
        }
        if let Ok(Some(windows)) = image.try_inspect() {
            let _ = plan(&windows, STORAGE);
        }
    }
}
