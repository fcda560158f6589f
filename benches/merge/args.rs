//! What to measure.

use pocketvm_stick::{FileSystem, Model};

use crate::workload::Workload;

const USAGE: &str = "\
usage: merge [--model cheap|good]… [--fs ext4|exfat|ntfs]… [--workload NAME]… [--runs N] [--scale 1..4]
workloads: scattered, sequential, churn, session, untrimmed, and fifty (fifty sessions in a row); all if none is named";

/// The command line.
pub struct Args {
    pub models: Vec<Model>,
    pub file_systems: Vec<FileSystem>,
    pub workloads: Vec<Workload>,
    pub fifty: bool,
    pub runs: usize,
    /// How many times as large as usual base and session are.
    pub scale: u64,
}

impl Args {
    /// Reads the command line; ends the program if it makes no sense.
    pub fn parse() -> Args {
        let mut found =
            Args { models: vec![], file_systems: vec![], workloads: vec![], fifty: false, runs: 5, scale: 1 };
        // cargo adds --bench.
        let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
        while let Some(word) = words.next() {
            if word == "--help" {
                println!("{USAGE}");
                std::process::exit(0)
            }
            let value = words.next().unwrap_or_default();
            match (&word[..], &value[..]) {
                ("--model", "cheap") => found.models.push(Model::Cheap),
                ("--model", "good") => found.models.push(Model::Good),
                ("--fs", "ext4") => found.file_systems.push(FileSystem::Ext4),
                ("--fs", "exfat") => found.file_systems.push(FileSystem::ExFat),
                ("--fs", "ntfs") => found.file_systems.push(FileSystem::Ntfs),
                ("--workload", "fifty") => found.fifty = true,
                ("--workload", name) => found
                    .workloads
                    .extend(Workload::ALL.into_iter().find(|known| known.name() == name).or_else(refuse)),
                ("--runs", number) => {
                    found.runs = number.parse().ok().filter(|runs| *runs > 0).unwrap_or_else(refuse)
                }
                ("--scale", number) => {
                    found.scale =
                        number.parse().ok().filter(|scale| (1..=4).contains(scale)).unwrap_or_else(refuse);
                }
                _ => refuse(),
            }
        }
        if found.workloads.is_empty() && !found.fifty {
            found.workloads = Workload::ALL.to_vec();
            found.fifty = true;
        }
        if found.models.is_empty() {
            found.models = vec![Model::Cheap, Model::Good];
        }
        if found.file_systems.is_empty() {
            found.file_systems = vec![FileSystem::Ext4, FileSystem::ExFat];
        }
        found
    }
}

/// Ends the program with what it understands.
fn refuse<T>() -> T {
    eprintln!("{USAGE}");
    std::process::exit(2)
}

/// A model's name.
pub fn name(model: Model) -> &'static str {
    match model {
        Model::Instant => "instant",
        Model::Cheap => "cheap",
        Model::Good => "good",
    }
}
