//! A drive on a simulated stick, sessions' overlays on the PC, and what a person does after a power cut.

use std::fmt;
use std::path::Path;
use std::process::Command;

use pocketvm_disk::{
    BaseState, CommitFile, CreateOptions, GenerationId, MergeDisk, Outcome, create, inspect, merge, recover,
    stamp, undo,
};
use pocketvm_stick::{Cut, Fate, FileSystem, Random, Stick};

/// The bases: name, size of the disk and of a cluster. Each has a folder of its own, as on a drive.
const BASES: [(&str, u64, u64); 2] = [("system", 24 << 20, 16 << 10), ("user", 12 << 20, 64 << 10)];
/// About as many bytes are written after the new generations are durable, with what the file system adds.
const FLIP: u64 = 48 << 10;
/// A recovery writes about as many.
const RECOVERY: u64 = 24 << 10;
const RECORD: &str = "state/commit";
/// What a base's file has behind its end if it has slack: more than a merge takes.
const SLACK: usize = 24 << 20;

/// Which state all bases are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Old,
    New,
}

/// What is done when the power fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Old to new.
    Merge,
    /// New to old.
    Undo,
}

/// Who has lost something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The file system can't be mounted, or a file on it is gone, unreadable or shorter than before.
    FileSystem,
    /// Everything that was on the drive before is there.
    Engine,
}

/// Why a drive is not at one side after recovery.
#[derive(Debug)]
pub struct Lost {
    /// Who has lost something.
    pub blame: Blame,
    /// What is wrong.
    pub what: String,
    /// What the file system's repair said.
    pub repair: String,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}\n--- the repair said:\n{}", self.blame, self.what, self.repair)
    }
}

/// What a cut led to.
#[derive(Debug)]
pub struct Survival {
    pub side: Side,
    pub outcome: Outcome,
    /// The recovery was cut as well, and done again.
    pub recovered_twice: bool,
}

/// Two bases on a stick with a merge to do, and with the same merge done.
pub struct Scene {
    stick: Stick,
    pc: tempfile::TempDir,
    old: Vec<GenerationId>,
    new: Vec<GenerationId>,
    /// Bytes that the action writes to the stick if nothing cuts it.
    whole: u64,
    /// Of each base's file and the record, before the action.
    sizes: Vec<u64>,
    action: Action,
    /// So many bytes are lost by a cut although they were flushed.
    lie: u64,
}

impl Scene {
    /// A new drive before the first merge of its bases.
    pub fn new(file_system: FileSystem, slack: bool, lie: u64, seed: u64) -> Scene {
        let mut random = Random(seed);
        let pc = tempfile::Builder::new().prefix("pocketvm-cuts-").tempdir_in("/var/tmp").unwrap();
        let mut stick = Stick::new(file_system, 256).unwrap();
        let root = stick.mount().unwrap();
        // As on a real drive: nothing that is written often is in the top folder.
        std::fs::create_dir_all(root.join("state")).unwrap();
        CommitFile::create(&root.join(RECORD)).unwrap();
        for (name, size, cluster_size) in BASES {
            let image = pc.path().join(format!("{name}.old"));
            let options = CreateOptions { virtual_size: size, cluster_size, backing: None, content: &[] };
            create(&image, &options).unwrap();
            qemu_io(&image, &commands(&mut random, 30, size));
            std::fs::create_dir_all(root.join(base(name)).parent().unwrap()).unwrap();
            let mut bytes = std::fs::read(&image).unwrap();
            bytes.resize(bytes.len() + if slack { SLACK } else { 0 }, 0);
            let file = std::fs::File::create(root.join(base(name))).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
            file.sync_all().unwrap();

            let overlay = pc.path().join(format!("{name}.new"));
            let backing = Some((image, "qcow2"));
            create(
                &overlay,
                &CreateOptions { virtual_size: size, cluster_size: 64 << 10, backing, content: &[] },
            )
            .unwrap();
            qemu_io(&overlay, &commands(&mut random, 20, size));
        }
        let names = BASES.map(|(name, ..)| base(name));
        let old = stamp(&open(&root), &names.each_ref().map(String::as_str)).unwrap();
        let new = BASES.map(|_| GenerationId::random()).to_vec();
        stick.eject().unwrap();
        let mut scene = Scene { stick, pc, old, new, whole: 0, sizes: vec![], action: Action::Merge, lie };
        scene.measure();
        scene
    }

    /// From now on the merge is done, and it is the undo that is cut.
    pub fn done(&mut self) {
        let root = self.stick.mount().unwrap();
        merge(&open(&root), &self.disks(), &()).unwrap();
        self.stick.eject().unwrap();
        self.action = Action::Undo;
        self.measure();
    }

    /// Remembers the state, and sees how much the action writes.
    fn measure(&mut self) {
        self.stick.control().write_through().unwrap();
        self.stick.control().remember().unwrap();
        self.stick.control().cache(self.lie).unwrap();
        let root = self.stick.mount().unwrap();
        let files = BASES.iter().map(|(name, ..)| base(name)).chain([RECORD.to_owned()]);
        self.sizes = files.map(|file| std::fs::metadata(root.join(file)).unwrap().len()).collect();
        self.stick.control().reset_counters();
        self.act(&root).unwrap();
        self.whole = self.stick.control().counters().written;
        self.stick.eject().unwrap();
        self.stick.go_back().unwrap();
    }

    fn act(&self, root: &Path) -> pocketvm_disk::Result<()> {
        let commit = CommitFile::open(&root.join(RECORD), root)?;
        match self.action {
            Action::Merge => merge(&commit, &self.disks(), &()).map(drop),
            Action::Undo => undo(&commit).map(drop),
        }
    }

    fn disks(&self) -> Vec<MergeDisk> {
        let generations = self.old.iter().zip(&self.new);
        BASES
            .iter()
            .zip(generations)
            .map(|((name, ..), (expected, next))| MergeDisk {
                name: (*name).to_owned(),
                base: base(name),
                overlay: self.pc.path().join(format!("{name}.new")),
                expected: *expected,
                next: *next,
            })
            .collect()
    }

    /// Cuts the power during the action, plugs the stick in again, recovers, and looks at everything. Then the stick is
    /// as before.
    ///
    /// # Errors
    /// The drive is not at one side.
    pub fn cut(&mut self, random: &mut Random, fate: Fate) -> Result<Survival, Lost> {
        // The last bytes are those of the flip: there, more can go wrong than while clusters are written.
        let window = if random.percent(40) { self.whole } else { self.whole.min(FLIP) };
        let after = self.whole - window + random.below(window);
        let mut repair = String::new();
        let result = self.cut_at(Cut { after, fate, seed: random.number() }, random, &mut repair);
        let result = result.map_err(|what| Lost {
            blame: self.blame(),
            what: format!("{:?}, cut after {after} of {} bytes: {what}", self.action, self.whole),
            repair,
        });
        self.stick.take_out().unwrap();
        self.stick.go_back().unwrap();
        result
    }

    fn cut_at(&mut self, cut: Cut, random: &mut Random, repair: &mut String) -> Result<Survival, String> {
        let root = self.stick.mount().unwrap();
        self.stick.control().cut_after(cut);
        let confirmed = self.act(&root).is_ok();
        self.replug(cut.fate, random, repair)?;

        let record = root.join(RECORD);
        let pending = CommitFile::is_interrupted(&record).map_err(|error| format!("the record: {error}"))?;
        let mut recovered_twice = false;
        if pending {
            let again = Cut { after: random.below(RECOVERY), fate: cut.fate, seed: random.number() };
            self.stick.control().cut_after(again);
            let result = try_recover(&root);
            recovered_twice = self.stick.control().is_pulled();
            if let (false, Err(error)) = (recovered_twice, result) {
                return Err(format!("recovery: {error}"));
            }
            self.replug(cut.fate, random, repair)?;
        }
        let outcome = try_recover(&root).map_err(|error| format!("recovery: {error}"))?;
        let side = self.look(&root)?;
        let wanted = match self.action {
            Action::Merge => Side::New,
            Action::Undo => Side::Old,
        };
        if confirmed && side != wanted && self.lie == 0 {
            return Err(format!("it was reported as done, but the bases are at the {side:?} side"));
        }
        // Life goes on: the same can be done now.
        if side != wanted {
            self.act(&root).map_err(|error| format!("once more: {error}"))?;
            if self.look(&root).map_err(|what| format!("once more: {what}"))? != wanted {
                return Err("once more, to no effect".to_owned());
            }
        }
        self.stick.eject().map_err(|error| error.to_string())?;
        self.stick.check().map_err(|error| error.to_string())?;
        Ok(Survival { side, outcome, recovered_twice })
    }

    /// If the power has not failed yet, it does now. Plugs in again.
    fn replug(&mut self, fate: Fate, random: &mut Random, repair: &mut String) -> Result<(), String> {
        if !self.stick.control().is_pulled() {
            self.stick.control().cut_now(fate, random.number()).unwrap();
        }
        self.stick.take_out().unwrap();
        *repair += &self.stick.plug_in().map_err(|error| format!("it can't be mounted: {error}"))?;
        Ok(())
    }

    /// Whether every file is there, and of its size at least.
    fn blame(&self) -> Blame {
        let root = self.stick.path();
        let there = |(file, size): (String, u64)| {
            std::fs::metadata(root.join(file)).is_ok_and(|metadata| metadata.len() >= size)
        };
        let files = BASES.iter().map(|(name, ..)| base(name)).chain([RECORD.to_owned()]);
        if files.zip(self.sizes.iter().copied()).all(there) { Blame::Engine } else { Blame::FileSystem }
    }

    /// Which side the bases are at: by their generations, and by every byte of their content.
    fn look(&self, root: &Path) -> Result<Side, String> {
        let mut sides = Vec::new();
        for ((name, ..), (old, new)) in BASES.iter().zip(self.old.iter().zip(&self.new)) {
            let path = root.join(base(name));
            let info = inspect(&path).map_err(|error| error.to_string())?;
            let (side, content) = match info.state {
                BaseState::At { generation } if generation == *old => (Side::Old, format!("{name}.old")),
                BaseState::At { generation } if generation == *new => (Side::New, format!("{name}.new")),
                other => return Err(format!("{name} is at neither generation: {other}")),
            };
            sides.push(side);
            let report = qemu_img(&["check", "-f", "qcow2", text(&path)])?;
            if !report.contains("No errors were found") {
                return Err(format!("{name} is damaged: {report}"));
            }
            let content = self.pc.path().join(content);
            qemu_img(&["compare", "-f", "qcow2", "-F", "qcow2", text(&path), text(&content)]).map_err(
                |report| format!("{name} is {side:?} by its generation, not by its content: {report}"),
            )?;
        }
        if sides.iter().any(|side| *side != sides[0]) {
            return Err(format!("the bases are at different sides: {sides:?}"));
        }
        Ok(sides[0])
    }
}

fn base(name: &str) -> String {
    format!("disks/{name}/base.qcow2")
}

fn open(root: &Path) -> CommitFile {
    CommitFile::open(&root.join(RECORD), root).unwrap()
}

fn try_recover(root: &Path) -> pocketvm_disk::Result<Outcome> {
    Ok(recover(&CommitFile::open(&root.join(RECORD), root)?)?.outcome)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Random writes, zeroes and discards for `qemu-io`.
fn commands(random: &mut Random, count: u64, size: u64) -> Vec<String> {
    (0..count)
        .map(|_| {
            let unit = [4096, 16384, 65536][random.below(3) as usize];
            let length = unit * (1 + random.below(12));
            let start = random.below((size - length) / unit) * unit;
            match random.below(8) {
                0..6 => format!("write -q -P {} {start} {length}", 1 + random.below(255)),
                6 => format!("write -q -z -u {start} {length}"),
                _ => format!("discard -q {start} {length}"),
            }
        })
        .collect()
}

fn qemu_io(image: &Path, commands: &[String]) {
    let mut run = Command::new("qemu-io");
    run.args(["-d", "unmap", "-f", "qcow2"]);
    for command in commands {
        run.args(["-c", command]);
    }
    let output = run.arg(image).output().expect("this test needs qemu-io (package qemu-utils)");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && !said.contains("rror"), "{commands:?}: {said}");
}

fn qemu_img(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("qemu-img")
        .args(arguments)
        .output()
        .map_err(|error| format!("this test needs qemu-img (package qemu-utils): {error}"))?;
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(said) } else { Err(said) }
}
