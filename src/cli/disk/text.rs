//! The answers of `pocketvm disk` for people.

use indicatif::HumanBytes;
use pocketvm_disk::{Amounts, BaseState, GenerationId, Merged, Recovery};
use serde::Serialize;

use super::compact::Shortened;
use super::look::{Checked, Info};
use super::record::recovered;
use super::travel::{Merges, Moved};
use crate::cli::report::Page;

/// The answer of `disk merge --dry-run`.
#[derive(Serialize)]
pub struct Estimated {
    /// What the engine says.
    #[serde(flatten)]
    pub estimate: pocketvm_disk::Estimate,
    /// Free bytes where the bases lie.
    pub room: u64,
    /// What room is missing, if any is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// What a merge did.
pub fn merged(merged: &Merged) {
    let mut page = Page::default();
    for disk in &merged.disks {
        page.line(format!("{}: {}", disk.name, amounts(&disk.amounts)));
        page.line(format!("  generation {} -> {}", disk.from, disk.to));
    }
    page.print();
}

fn amounts(amounts: &Amounts) -> String {
    let Amounts { changed, written, freed, skipped, reused } = *amounts;
    let mut text = format!(
        "{} changed, {} written, {} freed, {} skipped (the base held the same)",
        HumanBytes(changed),
        HumanBytes(written),
        HumanBytes(freed),
        HumanBytes(skipped)
    );
    if reused > 0 {
        text.push_str(&format!(", {} found (an interrupted merge had written them)", HumanBytes(reused)));
    }
    text
}

/// What a merge would do.
pub fn estimated(estimated: &Estimated) {
    let mut page = Page::default();
    for disk in &estimated.estimate.disks {
        page.line(format!(
            "{}: {} to deal with; the base grows by at most {}",
            disk.name,
            HumanBytes(disk.changed),
            HumanBytes(disk.grows)
        ));
    }
    page.line(format!("{} are free there.", HumanBytes(estimated.room)));
    match &estimated.missing {
        Some(missing) => page.line(format!("It can't be merged: {missing}.")),
        None => page.line("It can be merged. Nothing was changed."),
    }
    page.print();
}

/// What compacting did.
pub fn compacted(shortened: &Shortened) {
    let Shortened { base, compacted, forgotten: count } = shortened;
    let mut page = Page::default();
    page.line(format!(
        "{}: {} now, {} given back, {} moved",
        plain(base),
        HumanBytes(compacted.after),
        HumanBytes(compacted.before.saturating_sub(compacted.after)),
        HumanBytes(compacted.moved)
    ));
    page.line(format!("  generation {}", compacted.generation));
    if *count > 0 {
        page.line(format!("  {} any more", forgotten(*count)));
    }
    page.print();
}

/// So many merges are out of reach.
pub fn forgotten(count: usize) -> String {
    let merges = if count == 1 { "merge" } else { "merges" };
    format!("{count} {merges} before it can't be undone or redone")
}

/// What undo or redo did.
pub fn moved(moved: &Moved) {
    let mut page = Page::default();
    if moved.disks.is_empty() {
        page.line("That is the state that the bases are in: nothing was changed.");
    }
    for disk in &moved.disks {
        page.line(format!("{}: {} -> {}", plain(&disk.base), generation(disk.from), generation(disk.to)));
    }
    page.print();
}

/// The merges of a record.
pub fn history(history: &Merges) {
    let mut page = Page::default();
    if history.merges.is_empty() {
        page.line("No merge can be undone.");
    }
    for merge in &history.merges {
        let time = merge.time.map(|time| time.strftime("%Y-%m-%d %H:%M UTC").to_string()).unwrap_or_default();
        let state = if merge.in_effect { "in effect" } else { "undone" };
        let changed = HumanBytes(merge.changed);
        page.line(format!("{:>3}  {time}  {}  {changed}  {state}", merge.number, plain(&merge.note)));
        for disk in &merge.disks {
            let (from, to) = (generation(disk.from), generation(disk.to));
            page.line(format!("     {}: {}, {from} -> {to}", plain(&disk.base), HumanBytes(disk.changed)));
        }
    }
    if !history.merges.is_empty() {
        let state = match history.state {
            0 => "before merge 1".to_owned(),
            number => format!("after merge {number}"),
        };
        page.line(format!(
            "The bases are as {state}. Go to another state with undo --to N or redo --to N; 0 is before merge 1."
        ));
    }
    page.print();
}

/// What a recovery did.
pub fn recovery(recovery: &Recovery) {
    let mut page = Page::default();
    match recovered(recovery.outcome) {
        None => page.line("Nothing was interrupted, and the storage kept the last merge."),
        Some(text) => page.line(format!("{text}.")),
    }
    for disk in &recovery.disks {
        page.line(format!("  {}: {}", plain(disk.base.as_str()), disk.state));
    }
    page.print();
}

/// What an image says about itself.
pub fn info(Info { image, info }: &Info) {
    let mut page = Page::default();
    page.line(format!("Image         {}", image.display()));
    page.line(format!(
        "Format        qcow2 version {}, clusters of {}, refcounts of {} bits, {:?}{}",
        info.version,
        HumanBytes(info.cluster_size),
        info.refcount_bits,
        info.compression,
        if info.extended_l2 { ", subclusters" } else { "" }
    ));
    page.line(format!("Disk          {} ({} bytes)", HumanBytes(info.virtual_size), info.virtual_size));
    page.line(format!("File          {} ({} bytes)", HumanBytes(info.file_size), info.file_size));
    page.line(match info.state {
        BaseState::Fresh => "Generation    none yet".to_owned(),
        BaseState::At { generation } => format!("Generation    {generation}"),
        BaseState::Foreign { last } => {
            format!("Generation    unknown: another program has written to it after {last}")
        }
    });
    if let Some(backing) = &info.backing {
        page.line(format!("Backing file  {} (as it stands in the image; not looked at)", plain(backing)));
    }
    page.print();
}

/// What a check found.
pub fn check(Checked { image, report }: &Checked) {
    let mut page = Page::default();
    page.line(format!("Image   {}", image.display()));
    page.line(format!(
        "Holds   {} clusters of data and {} compressed ones, in a file of {} clusters",
        report.data, report.compressed, report.clusters
    ));
    for error in &report.errors {
        page.line(format!("error:  {error}"));
    }
    let more = report.error_count.saturating_sub(report.errors.len() as u64);
    if more > 0 {
        page.line(format!("error:  and {more} more of the kind"));
    }
    if report.leaks > 0 {
        page.line(format!("Lost    {} clusters of room; nothing else is wrong with them", report.leaks));
    }
    page.line(match report.error_count {
        0 => "No errors.",
        _ => "The image has errors. Keep a copy of it before anything else.",
    });
    page.print();
}

fn generation(id: Option<GenerationId>) -> String {
    id.map_or_else(|| "no generation".to_owned(), |id| format!("generation {id}"))
}

/// Text of an image or record, which a stranger may have written, with nothing in it that a terminal obeys.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\'' | '"' | '\\' => plain.push(c),
            c => plain.extend(c.escape_debug()),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_interrupted_merge_had_written_is_told_only_if_there_was_any() {
        let told = |reused| amounts(&Amounts { changed: 4096, reused, ..Amounts::default() });
        assert!(!told(0).contains("found"), "{}", told(0));
        assert!(
            told(2048).ends_with(", 2.00 KiB found (an interrupted merge had written them)"),
            "{}",
            told(2048)
        );
    }

    #[test]
    fn text_of_a_stranger_can_not_command_the_terminal() {
        assert_eq!(plain("a\x1b[2J\u{202e}\r\n"), "a\\u{1b}[2J\\u{202e}\\r\\n");
        assert_eq!(plain("C:\\Müllers \"Gerät\"/ディスク"), "C:\\Müllers \"Gerät\"/ディスク");
    }
}
