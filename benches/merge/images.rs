//! Bases and overlays, made once on the PC and copied to the stick for each run.

use std::path::{Path, PathBuf};

use pocketvm_disk::{CommitFile, GenerationId, MergeDisk};

use crate::tools::{run, text};
use crate::workload::{Bench, Workload};

/// File names on the stick.
pub const BASE: &str = "base.qcow2";
pub const RECORD: &str = "commit";

/// A base as it is before the measured session.
pub struct Template {
    /// Holds [`BASE`], and [`RECORD`] if it is one of ours.
    pub folder: PathBuf,
    /// The generation of one of ours.
    pub generation: Option<GenerationId>,
}

/// Makes an overlay of a base, with clusters of the same size, as a session does.
pub fn overlay(path: &Path, base: &Path, cluster: u64) {
    let _ = std::fs::remove_file(path);
    let options = format!("cluster_size={cluster}");
    let args = ["create", "-q", "-f", "qcow2", "-o", &options, "-F", "qcow2", "-b", text(base), text(path)];
    run("qemu-img", &args);
}

/// Says that an overlay's base lies elsewhere now.
pub fn rebase(overlay: &Path, base: &Path) {
    run("qemu-img", &["rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", text(base), text(overlay)]);
}

/// Opens the record of a folder.
pub fn commit_file(folder: &Path) -> CommitFile {
    CommitFile::open(&folder.join(RECORD), folder).expect("a commit record")
}

/// Merges an overlay into the base of a folder, and returns its new generation.
pub fn merge(folder: &Path, overlay: &Path, expected: GenerationId, verify: bool) -> GenerationId {
    let next = GenerationId::random();
    let disk =
        MergeDisk { name: "disk".into(), base: BASE.into(), overlay: overlay.to_owned(), expected, next };
    pocketvm_disk::merge(&commit_file(folder).verifying(verify), &[disk], &()).expect("a merge");
    next
}

/// Gives the base of a folder its first generation.
pub fn stamp(folder: &Path) -> GenerationId {
    CommitFile::create(&folder.join(RECORD)).expect("a commit record");
    pocketvm_disk::stamp(&commit_file(folder), &[BASE]).expect("a generation")[0]
}

/// The bases for a workload: for `qemu-img commit`, and for the shadow merge, of the same content.
pub fn templates(bench: &Bench<'_>, workload: Workload, cluster: u64) -> [Template; 2] {
    let kind = if workload.is_session() { "session" } else { "plain" };
    let places = ["commit", "merge"].map(|side| bench.folder.join(format!("{kind}-{cluster}-{side}")));
    let id = places[1].join("generation");
    if !id.exists() {
        for place in &places {
            std::fs::create_dir_all(place).expect("a folder");
        }
        let base = places[0].join(BASE);
        let options = format!("cluster_size={cluster}");
        run(
            "qemu-img",
            &["create", "-q", "-f", "qcow2", "-o", &options, text(&base), &bench.size().to_string()],
        );
        workload.fill(&base, bench);
        std::fs::copy(&base, places[1].join(BASE)).expect("room");
        let earlier = bench.folder.join("earlier.qcow2");
        overlay(&earlier, &base, cluster);
        workload.earlier(&earlier, bench);
        let generation = merge(&places[1], &earlier, stamp(&places[1]), false);
        run("qemu-img", &["commit", "-q", "-d", text(&earlier)]);
        std::fs::write(&id, generation.to_string()).expect("room");
    }
    let generation = std::fs::read_to_string(&id).expect("it was written").parse().expect("a generation");
    let [commit, merge] = places;
    [Template { folder: commit, generation: None }, Template { folder: merge, generation: Some(generation) }]
}

/// The overlay of the measured session over a base that is at `base` on the stick.
pub fn session_overlay(bench: &Bench<'_>, workload: Workload, cluster: u64, base: &Path) -> PathBuf {
    let template = template_overlay(bench, workload, cluster);
    let copy = bench.folder.join("overlay.qcow2");
    std::fs::copy(&template, &copy).expect("room");
    rebase(&copy, base);
    copy
}

fn template_overlay(bench: &Bench<'_>, workload: Workload, cluster: u64) -> PathBuf {
    let template = bench.folder.join(format!("{}-{cluster}.qcow2", workload.name()));
    if !template.exists() {
        let below = &templates(bench, workload, cluster)[0];
        overlay(&template, &below.folder.join(BASE), cluster);
        workload.work(&template, bench);
    }
    template
}

/// Bytes of the blocks of 4 KiB that a session really changed and that are not zero.
pub fn changed_bytes(bench: &Bench<'_>, workload: Workload) -> u64 {
    let below = templates(bench, workload, 65536)[0].folder.join(BASE);
    let overlay = template_overlay(bench, workload, 65536);
    let flat = [(below, "before.raw"), (overlay, "after.raw")].map(|(image, name)| {
        let path = bench.folder.join(name);
        run("qemu-img", &["convert", "-O", "raw", text(&image), text(&path)]);
        path
    });
    let [before, after] = flat.map(|path| {
        let bytes = std::fs::read(&path).expect("a raw image");
        std::fs::remove_file(path).expect("it goes");
        bytes
    });
    let blocks = before.chunks(4096).zip(after.chunks(4096));
    blocks.filter(|(old, new)| old != new && new.iter().any(|&byte| byte != 0)).count() as u64 * 4096
}
