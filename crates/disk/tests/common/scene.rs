//! A drive of qcow2 bases made by QEMU, with overlays for them, in memory.

use pocketvm_disk::merge::{OpenDisk, merge_images};
use pocketvm_disk::overlay::Overlay;
use pocketvm_disk::qcow2::check::check_image;
use pocketvm_disk::qcow2::image::{Image, Role, TableCache};
use pocketvm_disk::record::TwoSlot;
use pocketvm_disk::root::BasePath;
use pocketvm_disk::storage::memory::{MemoryDevice, MemoryStorage};
use pocketvm_disk::{BaseState, Error, GenerationId, Merged, stamp};

use super::crash::{Commit, Scene, State, open};
use super::cuts::Files;
use super::{Random, assert_clean, assert_same, io, qemu, text};

/// A base of the two that most tests have.
pub const BASES: [&str; 2] = ["system", "user"];

/// What a drive of [`Disks`] is made of.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Name and creation options of each base.
    pub bases: &'static [(&'static str, &'static str)],
    /// Virtual bytes of each base.
    pub size: u64,
    /// Creation options of the overlays.
    pub overlay: &'static str,
    /// Commands with which a base or an overlay is filled.
    pub commands: u64,
    /// Sizes of what the commands write, in bytes.
    pub units: &'static [u64],
}

/// Two bases whose clusters differ.
pub const TWO: Plan = Plan {
    bases: &[(BASES[0], "cluster_size=4k"), (BASES[1], "cluster_size=16k,refcount_bits=1")],
    size: 5 << 20,
    overlay: "cluster_size=4k",
    commands: 12,
    units: &[512, 4096, 16384, 65536],
};

/// Bases on a device, and overlays for them.
pub struct Disks {
    pub device: MemoryDevice,
    pub overlays: MemoryDevice,
    pub random: Random,
    plan: Plan,
    /// What the overlays were made from, and what becomes of them: the same again when a merge is tried again.
    generations: Vec<(GenerationId, GenerationId)>,
}

impl Disks {
    /// Bases made by QEMU, not stamped yet.
    pub fn new(plan: Plan, seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut random = Random(seed);
        let mut files = Files::new();
        for (base, options) in plan.bases {
            let path = dir.path().join(base);
            let size = plan.size.to_string();
            qemu("qemu-img", &["create", "-q", "-f", "qcow2", "-o", options, text(&path), &size]);
            io(&path, &random.commands_of(plan.units, plan.commands, plan.size));
            files.insert((*base).to_owned(), std::fs::read(&path).unwrap());
        }
        let device = MemoryDevice::new(files);
        TwoSlot::create_on(device.file("commit"), 65536).unwrap();
        Disks { device, overlays: MemoryDevice::default(), random, plan, generations: Vec::new() }
    }

    pub fn stamped(plan: Plan, seed: u64) -> Self {
        let disks = Disks::new(plan, seed);
        stamp(&open(&disks.device), &disks.names()).unwrap();
        disks
    }

    pub fn names(&self) -> Vec<&'static str> {
        self.plan.bases.iter().map(|(base, _)| *base).collect()
    }

    /// A new session's overlays, with random changes.
    pub fn change(&mut self) {
        let Plan { units, commands, size, .. } = self.plan;
        let changes: Vec<_> =
            self.names().iter().map(|_| self.random.commands_of(units, commands, size)).collect();
        self.change_by(&changes);
    }

    /// New overlays with these changes, made by QEMU. The engine never looks at their backing files.
    pub fn change_by(&mut self, changes: &[Vec<String>]) {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Files::new();
        for (base, commands) in self.names().into_iter().zip(changes) {
            let (lower, path) = (dir.path().join("lower"), dir.path().join(base));
            std::fs::write(&lower, &self.device.files()[base]).unwrap();
            let mut args = vec!["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", text(&lower)];
            args.extend(["-o", self.plan.overlay, text(&path)]);
            qemu("qemu-img", &args);
            io(&path, commands);
            files.insert(base.to_owned(), std::fs::read(&path).unwrap());
        }
        self.overlays = MemoryDevice::new(files);
        let ids = |base: &&str| (generation(&self.device, base), GenerationId::random());
        self.generations = self.names().iter().map(ids).collect();
    }

    pub fn merge(&self, commit: &Commit) {
        self.try_merge(commit).unwrap();
    }

    pub fn try_merge(&self, commit: &Commit) -> Result<Merged, Error> {
        let disks =
            self.names().into_iter().zip(&self.generations).map(|(base, &(expected, next))| OpenDisk {
                name: base.to_owned(),
                base: BasePath::new(base).unwrap(),
                overlay: Overlay::open(self.overlays.file(base)).unwrap(),
                expected,
                next,
            });
        merge_images(commit, disks.collect(), &())
    }
}

impl Scene for Disks {
    fn device(&self) -> &MemoryDevice {
        &self.device
    }

    fn state(&self, device: &MemoryDevice) -> Vec<State> {
        self.names().iter().map(|base| state(device, base)).collect()
    }

    fn assert_sound(&self, device: &MemoryDevice, when: &str) {
        for base in self.names() {
            let report = check_image(&image(device, base)).unwrap();
            assert_eq!((report.error_count, report.leaks), (0, 0), "{when}: I8, {base}, {report:?}");
        }
    }

    fn assert_qemu_agrees(&self, files: &Files, expected: &Files) {
        let dir = tempfile::tempdir().unwrap();
        for base in self.names() {
            let (left, right) = (dir.path().join("left"), dir.path().join("right"));
            std::fs::write(&left, &files[base]).unwrap();
            std::fs::write(&right, &expected[base]).unwrap();
            assert_clean(&left);
            assert_same(&left, &right);
        }
    }
}

pub fn image(device: &MemoryDevice, base: &str) -> Image<MemoryStorage> {
    Image::open(device.file(base), Role::Base).unwrap()
}

pub fn generation(device: &MemoryDevice, base: &str) -> GenerationId {
    match image(device, base).state() {
        BaseState::At { generation } => generation,
        other => panic!("{base}: {other}"),
    }
}

/// The state of a qcow2 base.
pub fn state(device: &MemoryDevice, base: &str) -> State {
    let image = image(device, base);
    let mut bytes = vec![0; image.header().size as usize];
    image.read(&mut TableCache::default(), 0, &mut bytes).unwrap();
    State { content: blake3::hash(&bytes), name: image.state().to_string() }
}

/// What a guest would read from each of the two bases.
pub fn contents(files: &Files) -> Vec<blake3::Hash> {
    let device = MemoryDevice::new(files.clone());
    BASES.iter().map(|base| state(&device, base).content).collect()
}
