//! Sessions cut short at random moments, one after the other on the same stick: what was once saved stays.
//!
//! `make soak` runs this for as many rounds as `POCKETVM_SOAK_ROUNDS` says; `POCKETVM_SOAK_SEED` repeats a failure.

use std::time::Duration;

use rustix::process::Signal;

use super::harness::{Bench, Drive, Launcher, Options, Pc, Stick, kill_hypervisor, running};

/// A small generator: what matters is only that a seed repeats the same rounds.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()]
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Accident {
    None,
    KillLauncher,
    KillHypervisor,
    PullStick,
    CtrlC,
    LogOff,
}

/// A moment in a session, as something that can be waited for.
#[derive(Debug, Clone, Copy)]
enum Moment {
    Phase(&'static str),
    Guest(&'static str),
    Progress,
}

fn wait_for(launcher: &mut Launcher, moment: Moment) {
    match moment {
        Moment::Phase(phase) => launcher.phase(phase, "started"),
        Moment::Guest(what) => drop(launcher.guest(what)),
        Moment::Progress => {
            launcher.event("merge progress", |event| event["event"] == "merge-progress");
        }
    }
}

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
#[ignore = "takes as long as it is told: make soak"]
fn nothing_that_was_saved_is_ever_lost_or_saved_twice() {
    let seed = number("POCKETVM_SOAK_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let rounds = number("POCKETVM_SOAK_ROUNDS").unwrap_or(30);
    println!("POCKETVM_SOAK_SEED={seed} POCKETVM_SOAK_ROUNDS={rounds}");
    let mut random = Random(seed);
    let bench = Bench::new();
    let pc = Pc::new(&bench, "pc");
    let mut stick = Stick::exfat(&bench, 1500);
    let mount = bench.path().join("stick");
    stick.attach(&mount);
    let drive = Drive::create(&mount.join("drive"), &Options::keeping_both("show"));
    let mut saved: Vec<String> = Vec::new();

    for round in 0..rounds {
        let marker = format!("round-{round}");
        drive.set(&Options::keeping_both(&format!(
            "show;marker {marker};system-marker {marker};write {};delete;write {}",
            1 + random.below(24),
            1 + random.below(24)
        )));
        let moment = random.of(&[
            Moment::Phase("detect"),
            Moment::Phase("prepare"),
            Moment::Phase("launch"),
            Moment::Phase("run"),
            Moment::Guest("ready"),
            Moment::Guest("marker"),
            Moment::Guest("write"),
            Moment::Guest("poweroff"),
            Moment::Phase("merge"),
            Moment::Progress,
            Moment::Phase("wipe"),
        ]);
        let accident = random.of(&[
            Accident::None,
            Accident::KillLauncher,
            Accident::KillLauncher,
            Accident::KillHypervisor,
            Accident::PullStick,
            Accident::CtrlC,
            Accident::LogOff,
        ]);
        let later = Duration::from_millis(random.below(400));
        println!("round {round}: {accident:?} {later:?} after {moment:?}");

        let mut launcher = pc.run(&drive);
        wait_for(&mut launcher, moment);
        std::thread::sleep(later);
        let finished = match accident {
            Accident::None => launcher.finish(),
            Accident::KillLauncher => launcher.kill(),
            Accident::KillHypervisor => {
                if running(&pc.scratch, "qemu-system") {
                    kill_hypervisor(&pc.scratch);
                }
                launcher.finish()
            }
            Accident::PullStick => {
                stick.pull();
                std::thread::sleep(later);
                stick.attach(&mount);
                launcher.finish()
            }
            Accident::CtrlC | Accident::LogOff => {
                let signal = if accident == Accident::CtrlC { Signal::INT } else { Signal::TERM };
                launcher.try_signal(signal);
                launcher.finish()
            }
        };
        let end = finished.events.last().map(ToString::to_string).unwrap_or_default();
        println!("  ended with {:?}: {end}", finished.code);
        // Whatever was left, one command gets the drive back into order.
        pc.recover(&drive);
        pc.assert_as_before();

        drive.set(&Options::keeping_both("show"));
        let shown = pc.session(&drive);
        let found = shown.markers("user");
        let story = format!("round {round}, saved {saved:?}, found {found:?}\n{}", finished.report());
        assert!(found.starts_with(&saved), "something that was saved is gone: {story}");
        let new = &found[saved.len()..];
        assert!(
            new.is_empty() || new == std::slice::from_ref(&marker),
            "something came twice or from nowhere: {story}"
        );
        // The guest reports a marker when it is on its disk.
        let reported = finished.guest("marker").iter().any(|line| line.get("disk") == "user");
        assert!(!reported || new.len() == 1, "what the guest had on its disk is gone: {story}");
        if accident == Accident::None {
            finished.expect(0);
            assert_eq!(
                shown.markers("system").last(),
                Some(&marker),
                "one disk came without the other: {story}"
            );
        }
        saved = found;
    }
}
