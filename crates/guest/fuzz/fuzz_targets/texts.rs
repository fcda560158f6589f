//! Any text as what a Linux is configured by: fstab, the lists of modules, the boot loader's and the network's configuration.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pocketvm_guest::linux::{Fstab, ModuleTree, boot, built_in, names, network, normalised};

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(data);
    match kind % 5 {
        0 => {
            let fstab = Fstab::parse(data);
            let uuid_of = |device: &str| (!device.ends_with('7')).then(|| "0c7c21b4-5a2e-4c3f".to_owned());
            let _ = fstab.has_swap("swap", Some("1234"));
            if let Some(new) = fstab.rewrite(&uuid_of) {
                let again = Fstab::parse(&new);
                assert_eq!(again.mounts.len(), fstab.mounts.len());
                assert_eq!(again.rewrite(&uuid_of), None);
                assert_eq!(
                    new.split(|byte| *byte == b'\n').count(),
                    data.split(|byte| *byte == b'\n').count()
                );
            }
        }
        1 => {
            let tree = ModuleTree::parse(&text);
            for name in built_in(&text) {
                assert_eq!(normalised(&name), name);
                assert!(tree.path(&name).is_none_or(|path| !path.starts_with('/') && !path.contains("../")));
            }
        }
        2 => {
            let half = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at);
            for entry in boot::parse(&text, &text[..half], &text).into_iter().flatten() {
                assert!(!entry.image.is_empty());
                let _ = entry.parameters("resume").count();
            }
        }
        3 => {
            for card in network::parse(&text) {
                assert!(card.name.is_some() || card.mac.is_some());
            }
        }
        _ => {
            if let Some(place) = names::slot_for(&text) {
                assert_eq!(names::name(place), text);
            }
        }
    }
});
