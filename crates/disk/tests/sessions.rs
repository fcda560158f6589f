//! Random sessions on bases with random features: after each merge, undo, redo, compaction and foreign write, the base must
//! hold what QEMU reads through the overlay, be sound, and read the same by a second, independent reader.
//!
//! What fails is made smaller and printed. `POCKETVM_SOAK=20` tries twenty times as many.
#![allow(missing_docs, clippy::unwrap_used)]
#![cfg(target_os = "linux")]

mod common;

use std::path::{Path, PathBuf};

use common::{Drive, assert_clean, io, qemu, soak, text};
use imago::file::File;
use imago::qcow2::Qcow2;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatDriverBuilder};
use pocketvm_disk::{CommitFile, Error, GenerationId, compact, go_to, merge, redo, undo};
use proptest::collection::vec;
use proptest::prelude::*;

const SECTOR: u64 = 512;
const MIB: u64 = 1 << 20;

// --- what is tried --------------------------------------------------------------------------------------------------

/// A base as QEMU makes it.
#[derive(Debug, Clone)]
struct Base {
    /// Virtual bytes.
    size: u64,
    cluster_size: u64,
    version_2: bool,
    refcount_bits: u32,
    subclusters: bool,
    lazy: bool,
    preallocation: &'static str,
    /// It is converted with this compression.
    compression: Option<&'static str>,
    fill: Vec<Op>,
}

/// One command of `qemu-io`, in parts of the disk's size.
#[derive(Debug, Clone, Copy)]
struct Op {
    kind: Kind,
    /// Where it begins: of 65,536 parts.
    start: u16,
    sectors: u64,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Write(u8),
    /// Zeroes that are data.
    Blank,
    Zero,
    ZeroUnmap,
    Discard,
}

/// What happens to the base next.
#[derive(Debug, Clone)]
enum Step {
    Merge(Session),
    Undo,
    Redo,
    /// To one of the kept states.
    GoTo(u8),
    Compact,
    /// Another program writes to the base.
    Foreign(Vec<Op>),
}

#[derive(Debug, Clone)]
struct Session {
    cluster_size: u64,
    subclusters: bool,
    lazy: bool,
    /// Sectors by which the disk grows.
    grows: u64,
    ops: Vec<Op>,
}

fn op() -> impl Strategy<Value = Op> {
    let kind = prop_oneof![
        4 => (1..=255u8).prop_map(Kind::Write),
        1 => Just(Kind::Blank),
        1 => Just(Kind::Zero),
        1 => Just(Kind::ZeroUnmap),
        1 => Just(Kind::Discard),
    ];
    let sectors = prop_oneof![4 => 1..9u64, 3 => (1..17u64).prop_map(|count| count * 8), 2 => 128..2048u64];
    (kind, any::<u16>(), sectors).prop_map(|(kind, start, sectors)| Op { kind, start, sectors })
}

fn base() -> impl Strategy<Value = Base> {
    let size =
        prop_oneof![(4..16u64).prop_map(|half| half * MIB / 2), (4096..16384u64).prop_map(|n| n * SECTOR)];
    let preallocation = prop_oneof![3 => Just("off"), 1 => Just("metadata"), 1 => Just("falloc")];
    let features = (any::<bool>(), any::<bool>(), 0..7u32, preallocation, 0..5u8);
    (size, 12..=21u32, features, vec(op(), 1..12)).prop_map(
        |(size, cluster_bits, (version_2, lazy, order, preallocation, subclusters), fill)| {
            let version_2 = version_2 && order == 4;
            let subclusters = subclusters == 0 && !version_2 && cluster_bits >= 14;
            Base {
                size,
                cluster_size: 1 << cluster_bits,
                version_2,
                refcount_bits: 1 << order,
                subclusters,
                lazy: lazy && !version_2,
                preallocation,
                compression: None,
                fill,
            }
        },
    )
}

fn compressed() -> impl Strategy<Value = Base> {
    (base(), any::<bool>()).prop_map(|(base, zstd)| Base {
        compression: Some(if zstd && !base.version_2 { "zstd" } else { "zlib" }),
        preallocation: "off",
        // QEMU packs a cluster as a whole, but the base may have subclusters all the same.
        ..base
    })
}

fn step() -> impl Strategy<Value = Step> {
    let grows = prop_oneof![4 => Just(0), 1 => 1..4096u64];
    let session = (12..=21u32, any::<bool>(), any::<bool>(), grows, vec(op(), 0..10)).prop_map(
        |(cluster_bits, subclusters, lazy, grows, ops)| Session {
            cluster_size: 1 << cluster_bits,
            subclusters: subclusters && cluster_bits >= 14,
            lazy,
            grows,
            ops,
        },
    );
    prop_oneof![
        6 => session.prop_map(Step::Merge),
        2 => Just(Step::Undo),
        1 => Just(Step::Redo),
        1 => any::<u8>().prop_map(Step::GoTo),
        1 => Just(Step::Compact),
        1 => vec(op(), 1..4).prop_map(Step::Foreign),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 1..7)
}

// --- what QEMU is told ----------------------------------------------------------------------------------------------

fn commands(ops: &[Op], size: u64) -> Vec<String> {
    let sectors = size / SECTOR;
    ops.iter()
        .map(|op| {
            let start = (u64::from(op.start) * sectors) >> 16;
            let length = op.sectors.min(sectors - start) * SECTOR;
            let start = start * SECTOR;
            match op.kind {
                Kind::Write(pattern) => format!("write -q -P {pattern} {start} {length}"),
                Kind::Blank => format!("write -q -P 0 {start} {length}"),
                Kind::Zero => format!("write -q -z {start} {length}"),
                Kind::ZeroUnmap => format!("write -q -z -u {start} {length}"),
                Kind::Discard => format!("discard -q {start} {length}"),
            }
        })
        .collect()
}

fn on(flag: bool) -> &'static str {
    if flag { "on" } else { "off" }
}

impl Base {
    fn options(&self) -> String {
        let Base { cluster_size, refcount_bits, .. } = self;
        if self.version_2 {
            return format!("compat=0.10,cluster_size={cluster_size}");
        }
        let (subclusters, lazy) = (on(self.subclusters), on(self.lazy));
        format!(
            "cluster_size={cluster_size},refcount_bits={refcount_bits},extended_l2={subclusters},lazy_refcounts={lazy}"
        )
    }

    fn make(&self, drive: &Drive, path: &Path) {
        let plain = if self.compression.is_some() { &drive.path("plain.qcow2") } else { path };
        let options = format!("{},preallocation={}", self.options(), self.preallocation);
        qemu(
            "qemu-img",
            &["create", "-q", "-f", "qcow2", "-o", &options, text(plain), &self.size.to_string()],
        );
        io(plain, &commands(&self.fill, self.size));
        if let Some(method) = self.compression {
            let method = if self.version_2 { String::new() } else { format!(",compression_type={method}") };
            let options = self.options() + &method;
            let args =
                ["convert", "-c", "-f", "qcow2", "-O", "qcow2", "-o", &options, text(plain), text(path)];
            qemu("qemu-img", &args);
        }
    }
}

/// What a guest reads from an image, as a file of its own.
fn contents(drive: &Drive, image: &Path, name: &str) -> PathBuf {
    let raw = drive.path(name);
    qemu("qemu-img", &["convert", "-f", "qcow2", "-O", "raw", text(image), text(&raw)]);
    raw
}

// --- the second reader ----------------------------------------------------------------------------------------------

/// imago opens what has no incompatible feature: neither zstd (bit 3 of the header's field) nor extended L2 entries (bit 4).
fn second_reader_takes(base: &Base) -> bool {
    base.compression != Some("zstd") && !base.subclusters
}

/// Reads a base as imago does.
fn read_by_imago(path: &Path) -> std::io::Result<Vec<u8>> {
    // Only the base itself may be opened.
    let storage = File::try_from(std::fs::File::open(path)?)?;
    let image = FormatAccess::new(Qcow2::<File>::builder(storage).open(DenyImplicitOpenGate::default())?);
    let mut bytes = vec![0; image.size() as usize];
    image.read(&mut bytes[..], 0)?;
    Ok(bytes)
}

// --- the model ------------------------------------------------------------------------------------------------------

/// The states of a base that are kept, and where it is among them.
struct States {
    kept: Vec<(GenerationId, PathBuf)>,
    at: usize,
}

impl States {
    fn new(generation: GenerationId, content: PathBuf) -> Self {
        States { kept: vec![(generation, content)], at: 0 }
    }

    fn current(&self) -> &(GenerationId, PathBuf) {
        &self.kept[self.at]
    }

    /// A merge drops what was undone, and what is older than `keep` merges.
    fn push(&mut self, generation: GenerationId, content: PathBuf, keep: usize) {
        self.kept.truncate(self.at + 1);
        self.kept.push((generation, content));
        let dropped = self.kept.len().saturating_sub(keep + 1);
        self.kept.drain(..dropped);
        self.at = self.kept.len() - 1;
    }
}

struct Run<'a> {
    drive: Drive,
    path: PathBuf,
    base: &'a Base,
    states: States,
    keep: usize,
    count: usize,
}

impl<'a> Run<'a> {
    fn new(base: &'a Base, keep: usize) -> Self {
        let drive = Drive::new();
        let path = drive.base("b.qcow2");
        base.make(&drive, &path);
        let content = contents(&drive, &path, "0.raw");
        let generation = drive.stamp("b.qcow2");
        Run { states: States::new(generation, content), drive, path, base, keep, count: 0 }
    }

    fn commit(&self) -> CommitFile {
        self.drive.commit().keeping(self.keep)
    }

    fn step(&mut self, step: &Step) {
        self.count += 1;
        let last = self.states.kept.len() - 1;
        match step {
            Step::Merge(session) => self.merge(session),
            Step::Undo => self.travel(self.states.at.checked_sub(1), undo(&self.commit())),
            Step::Redo => {
                let target = Some(self.states.at + 1).filter(|&at| at <= last);
                self.travel(target, redo(&self.commit()));
            }
            Step::GoTo(part) => {
                let target = usize::from(*part) % (last + 1);
                self.travel(Some(target), go_to(&self.commit(), target));
            }
            Step::Compact => self.compact(),
            Step::Foreign(ops) => {
                let size = pocketvm_disk::inspect(&self.path).unwrap().virtual_size;
                io(&self.path, &commands(ops, size));
                let content = contents(&self.drive, &self.path, &format!("{}.raw", self.count));
                self.states = States::new(self.drive.stamp("b.qcow2"), content);
            }
        }
        self.verify();
    }

    fn merge(&mut self, session: &Session) {
        let Session { cluster_size, subclusters, lazy, grows, ops } = session;
        let size = pocketvm_disk::inspect(&self.path).unwrap().virtual_size + grows * SECTOR;
        let overlay = self.drive.path(&format!("{}.qcow2", self.count));
        let (subclusters, lazy) = (on(*subclusters), on(*lazy));
        let options = format!("cluster_size={cluster_size},extended_l2={subclusters},lazy_refcounts={lazy}");
        let args = ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", text(&self.path), "-o", &options];
        qemu("qemu-img", &[&args[..], &[text(&overlay), &size.to_string()]].concat());
        if !ops.is_empty() {
            io(&overlay, &commands(ops, size));
        }
        let content = contents(&self.drive, &overlay, &format!("{}.raw", self.count));
        let disk = self.drive.disk("b.qcow2", &overlay, self.states.current().0);
        let merged =
            merge(&self.commit().verifying(self.count.is_multiple_of(2)), std::slice::from_ref(&disk), &());
        assert_eq!(merged.unwrap().disks[0].to, disk.next);
        self.states.push(disk.next, content, self.keep);
    }

    fn travel<T: std::fmt::Debug>(&mut self, target: Option<usize>, result: Result<T, Error>) {
        match (target, result) {
            (Some(target), Ok(_)) => self.states.at = target,
            (None, Err(Error::NoHistory(_))) => {}
            (target, result) => panic!("{result:?} on the way to {target:?}"),
        }
    }

    fn compact(&mut self) {
        let content = self.states.current().1.clone();
        match compact(&self.commit(), "bases/b.qcow2", &()) {
            Ok(done) => {
                assert!(done.after <= done.before, "{done:?}");
                // Where nothing was to be gained, nothing was given up.
                if (done.moved, done.after) != (0, done.before) {
                    self.states = States::new(done.generation, content);
                }
            }
            // Too little room inside; the history is given up nevertheless.
            Err(Error::Input(_)) => self.states = States::new(self.states.current().0, content),
            Err(error) => panic!("{error}"),
        }
    }

    fn verify(&self) {
        let (generation, content) = self.states.current();
        assert_clean(&self.path);
        let report =
            qemu("qemu-img", &["compare", "-f", "qcow2", "-F", "raw", text(&self.path), text(content)]);
        assert_eq!(report.trim(), "Images are identical.");
        let info = pocketvm_disk::inspect(&self.path).unwrap();
        assert_eq!(info.state.generation(), Some(*generation));
        assert_eq!(info.virtual_size, std::fs::metadata(content).unwrap().len());
        match read_by_imago(&self.path) {
            Ok(bytes) => {
                assert!(second_reader_takes(self.base), "imago learned something: {:?}", self.base);
                assert!(bytes == std::fs::read(content).unwrap(), "imago reads something else");
            }
            Err(error) => assert!(!second_reader_takes(self.base), "imago: {error}"),
        }
    }
}

fn run(base: &Base, keep: usize, steps: &[Step]) {
    let mut run = Run::new(base, keep);
    run.verify();
    for step in steps {
        run.step(step);
    }
}

fn config(cases: u32) -> ProptestConfig {
    let cases = cases * soak();
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn random_sessions_leave_what_qemu_reads(base in base(), keep in 1..4usize, steps in steps()) {
        run(&base, keep, &steps);
    }
}

proptest! {
    #![proptest_config(config(30))]

    #[test]
    fn random_sessions_on_compressed_bases_leave_what_qemu_reads(
        base in compressed(), keep in 1..4usize, steps in steps(),
    ) {
        run(&base, keep, &steps);
    }
}
