//! Rules that hold between the values of a manifest.

use std::collections::BTreeSet;

use super::{
    Controller, Cpus, Firmware, HypervisorName, Hypervisors, MAX_DISKS, MAX_KEPT_SAVES, Manifest, Memory,
    Mistake, RelativePath, Saves, Size,
};
use crate::drive::names;

/// One step on the way to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Into a mapping.
    Key(&'static str),
    /// Into a list, from 0.
    Item(usize),
}

/// A mistake and the way to the value that has it.
type Found = (Vec<Step>, Mistake);

/// Checks all rules; the first mistake in the order of the manifest is returned.
pub(super) fn check(manifest: &Manifest) -> Result<(), Found> {
    memory(manifest.memory)?;
    cpus(manifest.cpus)?;
    disks(manifest)?;
    if let Some(paging) = manifest.paging {
        within("paging", "size", paging.size, Size::mib(1), Size::gib(64))?;
    }
    saves(manifest.saves)?;
    hypervisors(&manifest.hypervisors)?;
    Ok(())
}

fn hypervisors(hypervisors: &Hypervisors) -> Result<(), Found> {
    let order = &hypervisors.order;
    let way = || vec![Step::Key("hypervisors"), Step::Key("order")];
    if order.is_empty() {
        let hint = "name at least one, or leave `order` out";
        return Err((way(), Mistake::new("no hypervisor may run the machine", hint)));
    }
    if let Some(twice) = order.iter().enumerate().find(|(at, name)| order[..*at].contains(name)) {
        let what = format!("`{}` is named twice", twice.1.as_str());
        return Err((way(), Mistake::new(what, "name each hypervisor once")));
    }
    for name in HypervisorName::ALL {
        let template = hypervisors.get(name.as_str()).and_then(|known| known.template.as_ref());
        if let Some(template) = template.filter(|template| is_ours(template)) {
            let way = vec![Step::Key("hypervisors"), Step::Key(name.as_str()), Step::Key("template")];
            return Err((way, kept_for_us(template)));
        }
    }
    Ok(())
}

fn memory(memory: Memory) -> Result<(), Found> {
    within("memory", "min", memory.min, Size::mib(16), Size::gib(1024))?;
    within("memory", "max", memory.max, Size::mib(16), Size::gib(1024))?;
    if memory.min > memory.max {
        let what =
            format!("the machine's least memory, {}, is more than its most, {}", memory.min, memory.max);
        return Err((vec![Step::Key("memory")], Mistake::new(what, "make `min` smaller or `max` larger")));
    }
    Ok(())
}

fn cpus(cpus: Cpus) -> Result<(), Found> {
    for (key, count) in [("min", cpus.min), ("max", cpus.max)] {
        if !(1..=64).contains(&count) {
            let what = format!("{count} is not a possible number of CPUs");
            return Err((
                vec![Step::Key("cpus"), Step::Key(key)],
                Mistake::new(what, "write a number from 1 to 64"),
            ));
        }
    }
    if cpus.min > cpus.max {
        let what = format!("the least number of CPUs, {}, is more than the most, {}", cpus.min, cpus.max);
        return Err((vec![Step::Key("cpus")], Mistake::new(what, "make `min` smaller or `max` larger")));
    }
    Ok(())
}

fn saves(saves: Saves) -> Result<(), Found> {
    if (1..=MAX_KEPT_SAVES).contains(&saves.keep) {
        return Ok(());
    }
    let what = format!("{} is not a possible number of saves to keep", saves.keep);
    let hint = format!("write a number from 1 to {MAX_KEPT_SAVES}");
    Err((vec![Step::Key("saves"), Step::Key("keep")], Mistake::new(what, hint)))
}

fn disks(manifest: &Manifest) -> Result<(), Found> {
    let way = |index: usize, key: &'static str| vec![Step::Key("disks"), Step::Item(index), Step::Key(key)];
    if manifest.disks.len() > MAX_DISKS {
        let what = format!("the machine has {} disks", manifest.disks.len());
        let hint = format!("a machine has at most {MAX_DISKS}");
        return Err((vec![Step::Key("disks"), Step::Item(MAX_DISKS)], Mistake::new(what, hint)));
    }
    let count = |wanted| manifest.disks.iter().filter(|disk| disk.controller == wanted).count();
    let flashes = count(Controller::Flash);
    let wanted = usize::from(manifest.machine.firmware == Firmware::Uefi);
    if flashes != wanted {
        let what = format!(
            "a machine with the firmware `{}` has {} for its variables, not {flashes}",
            manifest.machine.firmware.as_str(),
            if wanted == 1 { "one disk" } else { "no disk" }
        );
        let hint = "with `firmware: uefi`, exactly one disk has `controller: flash`; otherwise none has";
        return Err((vec![Step::Key("disks")], Mistake::new(what, hint)));
    }
    if count(Controller::Tpm) > 1 {
        let mistake = Mistake::new("a machine has one TPM", "give `controller: tpm` to one disk at most");
        return Err((vec![Step::Key("disks")], mistake));
    }
    let mut names = BTreeSet::new();
    let mut files = BTreeSet::new();
    for (index, disk) in manifest.disks.iter().enumerate() {
        if !names.insert(&disk.name) {
            let mistake = Mistake::new(format!("two disks are called `{}`", disk.name), "rename one of them");
            return Err((way(index, "name"), mistake));
        }
        if is_ours(&disk.file) {
            return Err((way(index, "file"), kept_for_us(&disk.file)));
        }
        // exFAT, NTFS and APFS do not tell `Base.qcow2` from `base.qcow2`.
        if !files.insert(disk.file.as_str().to_lowercase()) {
            let what = format!("two disks use the same file `{}`", disk.file);
            return Err((way(index, "file"), Mistake::new(what, "give each disk a file of its own")));
        }
    }
    Ok(())
}

/// Whether `path` is one of the files that PocketVM itself keeps on the drive.
fn is_ours(path: &RelativePath) -> bool {
    let path = path.as_str().to_lowercase();
    path == names::MANIFEST || path.split('/').next() == Some(names::STATE)
}

fn kept_for_us(path: &RelativePath) -> Mistake {
    Mistake::new(format!("PocketVM keeps `{path}` for itself"), "use another folder, like `disks`")
}

/// Bounds that are far outside of what is useful, and whole MiB, which is what hypervisors take.
fn within(section: &'static str, key: &'static str, size: Size, min: Size, max: Size) -> Result<(), Found> {
    let mistake = if size < min || size > max {
        Mistake::new(format!("the size {size} is out of range"), format!("write a size from {min} to {max}"))
    } else if !size.bytes().is_multiple_of(Size::mib(1).bytes()) {
        Mistake::new(format!("the size {size} is not a whole number of MiB"), "write it in MiB")
    } else {
        return Ok(());
    };
    Err((vec![Step::Key(section), Step::Key(key)], mistake))
}
