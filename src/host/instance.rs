//! One window per drive and user on this PC: starting a second one brings the first one to the front.
//!
//! A locked file in scratch is the truth about who is first: the system gives the lock up with the process, however
//! that ends. Only the call goes another way, to a thread of the first one, which acknowledges it. Neither can be
//! reached by other users.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::private;
use crate::drive::names;
use crate::{Error, Kind, Result};

#[cfg(unix)]
#[path = "instance/unix.rs"]
mod platform;
#[cfg(windows)]
#[path = "instance/windows.rs"]
mod platform;

/// How long the first one may take to acknowledge a call.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long to wait before trying again while the first one is just starting or ending: it has the lock and does not
/// listen. No system tells when that is over, other than to a thread that blocks in it and can't be called back.
const PAUSE: Duration = Duration::from_millis(20);

/// What the first one answers to a call; only that it does means something.
const ACKNOWLEDGED: u8 = b'!';

/// Whether this process is the one that has the window.
#[derive(Debug)]
pub enum Claimed {
    /// It is, as long as the value lives.
    First(Instance),
    /// It is not. The one that is was told, and acknowledged.
    Second,
}

/// This process has the window until this is dropped or the process ends in whatever way. Nothing is left in the
/// folder when it is dropped; what a killed process left is removed by the next one.
#[derive(Debug)]
pub struct Instance {
    bell: Arc<Bell>,
    // In this order: who is not answered any more looks for the lock.
    _stop: platform::Stop,
    _lock: platform::Lock,
}

impl Instance {
    /// Takes the window of a drive, or tells the process that has it.
    ///
    /// `folder` is the scratch root, which must be prepared; `key` is the drive's: 1 to 32 of `[0-9a-f]`.
    ///
    /// # Errors
    /// [`Kind::Busy`]: another process has the window and does not answer. [`Kind::Unexpected`]: the files can't be
    /// made or locked.
    pub fn claim(folder: &Path, key: &str) -> Result<Claimed> {
        Instance::claim_within(PATIENCE, folder, key)
    }

    fn claim_within(patience: Duration, folder: &Path, key: &str) -> Result<Claimed> {
        let failed = |error: io::Error| {
            Error::new(Kind::Unexpected, "cannot find out whether the drive's window is open already")
                .safe("nothing was changed")
                .because(error)
        };
        let place = Place::new(folder, key).ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        remove_left_over(folder);
        let deadline = Instant::now() + patience;
        loop {
            match platform::Lock::take(&place) {
                Ok(Some(lock)) => return Instance::listen(lock).map(Claimed::First).map_err(failed),
                Ok(None) => {}
                // The launcher that ended just now removed the empty folder.
                Err(error) if error.kind() == io::ErrorKind::NotFound && Instant::now() < deadline => {
                    private::prepare_folder(folder).map_err(failed)?;
                    continue;
                }
                Err(error) => return Err(failed(error)),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match call(&place, left) {
                Ok(()) => return Ok(Claimed::Second),
                Err(error) if left.is_zero() || error.kind() == io::ErrorKind::TimedOut => {
                    return Err(Error::new(
                        Kind::Busy,
                        "the drive's window is open already, but its program does not answer",
                    )
                    .safe("nothing was changed")
                    .hint("wait until it answers, or end that program, and start again")
                    .because(error));
                }
                Err(_) => thread::sleep(PAUSE),
            }
        }
    }

    fn listen(mut lock: platform::Lock) -> io::Result<Instance> {
        let (listener, stop) = lock.listen()?;
        let bell = Arc::new(Bell::default());
        let ours = bell.clone();
        thread::Builder::new().name("instance".to_owned()).spawn(move || answer(listener, &ours))?;
        Ok(Instance { bell, _stop: stop, _lock: lock })
    }

    /// Calls `raise` from another thread whenever a second one is started, also for one that was started before this.
    ///
    /// A call is acknowledged when `raise` has returned, so `raise` may wait for the window, but not for long.
    pub fn on_call(&mut self, raise: impl Fn() + Send + 'static) {
        let mut rope = self.bell.rope();
        rope.raise = Some(Box::new(raise));
        if std::mem::take(&mut rope.missed) {
            let bell = self.bell.clone();
            // A window that just starts comes to the front by itself: no thread for it is no reason to fail.
            let _ = thread::Builder::new().name("instance".to_owned()).spawn(move || bell.ring());
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.bell.ended.store(true, Ordering::SeqCst);
    }
}

/// Removes what windows left in the scratch root whose processes were killed. What can't be removed now is left for
/// the next time.
pub fn remove_left_over(folder: &Path) {
    let entries = fs_err::read_dir(folder).into_iter().flatten().filter_map(io::Result::ok);
    let keys =
        entries.filter_map(|entry| names::instance_key(entry.file_name().to_str()?).map(str::to_owned));
    for place in keys.filter_map(|key| Place::new(folder, &key)) {
        // Nobody has it if we can take it, and giving it up removes it.
        drop(platform::Lock::take(&place));
    }
}

/// Where the files of a window are.
struct Place {
    folder: PathBuf,
    key: String,
}

impl Place {
    fn new(folder: &Path, key: &str) -> Option<Place> {
        let is_key =
            (1..=32).contains(&key.len()) && key.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        is_key.then(|| Place { folder: folder.to_owned(), key: key.to_owned() })
    }

    fn lock(&self) -> PathBuf {
        self.folder.join(names::instance_lock(&self.key))
    }
}

/// What the thread that listens and the window share.
#[derive(Default)]
struct Bell {
    ended: AtomicBool,
    rope: Mutex<Rope>,
}

#[derive(Default)]
struct Rope {
    raise: Option<Box<dyn Fn() + Send>>,
    /// Somebody called when there was nothing to raise yet.
    missed: bool,
}

impl Bell {
    fn ring(&self) {
        let mut rope = self.rope();
        match &rope.raise {
            Some(raise) => raise(),
            None => rope.missed = true,
        }
    }

    fn rope(&self) -> MutexGuard<'_, Rope> {
        self.rope.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Bell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bell").field("ended", &self.ended).finish_non_exhaustive()
    }
}

/// Answers calls until the instance has ended.
fn answer(mut listener: platform::Listener, bell: &Bell) {
    let has_ended = || bell.ended.load(Ordering::SeqCst);
    loop {
        match listener.next_call() {
            Ok(_) if has_ended() => return,
            Ok(mut caller) => {
                bell.ring();
                if has_ended() {
                    return;
                }
                // A caller that did not wait needs no answer.
                let _ = caller.write_all(&[ACKNOWLEDGED]);
            }
            Err(error) => {
                tracing::warn!(%error, "a second start of the window can't be heard any more");
                return;
            }
        }
    }
}

/// Tells the first one; returns when it has acknowledged.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`]: it did not in time. Any other: there is nobody to tell, or not any more.
fn call(place: &Place, within: Duration) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel();
    let connect = platform::caller(place);
    // Neither system has a time limit for all of the steps. Of a caller without an answer nothing but the thread
    // stays, and its process ends.
    thread::Builder::new().name("call".to_owned()).spawn(move || {
        let answered = connect().and_then(|mut answer| answer.read_exact(&mut [0]));
        let _ = sender.send(answered);
    })?;
    receiver.recv_timeout(within).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Child, ChildStderr, Command, Stdio};
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    const KEY: &str = "00c0ffee";

    /// Longer than anything here takes.
    const SOON: Duration = Duration::from_secs(20);

    /// Names the folder for [`a_process_for_other_tests`].
    const FOLDER: &str = "POCKETVM_TEST_FOLDER";

    /// As the real one, but on a PC that has much else to do.
    fn claim(folder: &Path, key: &str) -> Result<Claimed> {
        Instance::claim_within(SOON, folder, key)
    }

    fn first(folder: &Path) -> Instance {
        match claim(folder, KEY).unwrap() {
            Claimed::First(instance) => instance,
            Claimed::Second => panic!("somebody has it"),
        }
    }

    fn is_second(folder: &Path) -> bool {
        matches!(claim(folder, KEY).unwrap(), Claimed::Second)
    }

    fn is_empty(folder: &Path) -> bool {
        std::fs::read_dir(folder).unwrap().next().is_none()
    }

    /// No test of its own: says that it is ready, waits for a line, says whether it is first, and waits for the end
    /// of its input.
    #[test]
    #[ignore = "started by other tests"]
    fn a_process_for_other_tests() {
        let folder = PathBuf::from(std::env::var_os(FOLDER).expect("started by another test"));
        let mut lines = io::stdin().lines();
        eprintln!("ready");
        lines.next();
        let claimed = claim(&folder, KEY).unwrap();
        eprintln!("{}", if matches!(claimed, Claimed::First(_)) { "first" } else { "second" });
        lines.for_each(drop);
    }

    struct Process {
        child: Child,
        said: io::Lines<BufReader<ChildStderr>>,
    }

    impl Process {
        /// A process that is about to claim.
        fn start(folder: &Path) -> Process {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "host::instance::tests::a_process_for_other_tests",
                    "--ignored",
                    "--nocapture",
                ])
                .env(FOLDER, folder)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
            assert_eq!(said.next().unwrap().unwrap(), "ready");
            Process { child, said }
        }

        fn claim(&mut self) {
            self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        }

        fn is_first(&mut self) -> bool {
            match self.said.next().unwrap().unwrap().as_str() {
                "first" => true,
                "second" => false,
                other => panic!("{other}"),
            }
        }

        fn end(mut self) {
            drop(self.child.stdin.take());
            assert!(self.child.wait().unwrap().success());
        }
    }

    #[test]
    fn the_second_one_calls_the_first_whose_end_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut instance = first(folder.path());
        let (sender, calls) = mpsc::channel();
        instance.on_call(move || sender.send(()).unwrap());
        for _ in 0..3 {
            assert!(is_second(folder.path()));
            calls.try_recv().expect("told before the second one knows");
        }
        let other = claim(folder.path(), "1").unwrap();
        assert!(matches!(other, Claimed::First(_)), "the window of another drive");
        assert!(calls.try_recv().is_err());
        drop((instance, other));
        assert!(is_empty(folder.path()));
        drop(first(folder.path()));
        assert!(is_empty(folder.path()));
    }

    #[test]
    fn a_call_that_comes_before_there_is_a_window_is_not_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let mut instance = first(folder.path());
        assert!(is_second(folder.path()));
        let (sender, calls) = mpsc::channel();
        instance.on_call(move || sender.send(()).unwrap());
        calls.recv_timeout(SOON).unwrap();
    }

    #[test]
    fn one_that_was_killed_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Process::start(folder.path());
        process.claim();
        assert!(process.is_first());
        assert!(is_second(folder.path()), "it lives");
        process.child.kill().unwrap();
        process.child.wait().unwrap();
        drop(first(folder.path()));
        assert!(is_empty(folder.path()));
    }

    #[test]
    fn only_what_was_left_by_the_killed_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Process::start(folder.path());
        process.claim();
        assert!(process.is_first());
        for name in ["window-.lock", "window-x.lock", "window-1.sock", "launcher-1.lock"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        remove_left_over(folder.path());
        assert!(is_second(folder.path()), "it lives");
        process.child.kill().unwrap();
        process.child.wait().unwrap();
        // Also by the window of another drive.
        drop(claim(folder.path(), "2").unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
    }

    #[test]
    fn one_that_does_not_answer_is_told_and_nothing_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let mut instance = first(folder.path());
        let (go_on, hung) = mpsc::channel::<()>();
        instance.on_call(move || hung.recv().unwrap_or_default());
        for _ in 0..3 {
            let error =
                Instance::claim_within(Duration::from_millis(100), folder.path(), KEY).expect_err("it hangs");
            assert_eq!(error.kind, Kind::Busy, "{error}");
            assert!(error.safe.is_some() && error.hint.is_some());
        }
        drop(go_on);
        assert!(is_second(folder.path()), "it answers again");
    }

    #[test]
    fn of_processes_that_start_at_once_exactly_one_is_first() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..3 {
            let mut processes: Vec<_> = (0..4).map(|_| Process::start(folder.path())).collect();
            processes.iter_mut().for_each(Process::claim);
            let firsts: Vec<_> = processes.iter_mut().map(Process::is_first).collect();
            assert_eq!(firsts.iter().filter(|first| **first).count(), 1, "{firsts:?}");
            processes.into_iter().for_each(Process::end);
            assert!(is_empty(folder.path()));
        }
    }

    #[test]
    fn there_are_never_two_however_they_come_and_go() {
        const STARTS: usize = 100;
        let folder = tempfile::tempdir().unwrap();
        let (living, firsts, start) = (AtomicUsize::new(0), AtomicUsize::new(0), Barrier::new(4));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..STARTS {
                        if let Claimed::First(instance) = claim(folder.path(), KEY).unwrap() {
                            assert_eq!(living.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                            firsts.fetch_add(1, Ordering::SeqCst);
                            thread::yield_now();
                            living.fetch_sub(1, Ordering::SeqCst);
                            drop(instance);
                        }
                    }
                });
            }
        });
        assert!(firsts.into_inner() > 4, "they took turns");
        assert!(is_empty(folder.path()));
    }

    #[test]
    fn a_folder_that_another_launcher_has_just_removed_is_made_again() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("scratch");
        drop(first(&folder));
        assert!(is_empty(&folder));
    }

    #[test]
    fn a_key_leads_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        for key in ["", "../x", "A", &"0".repeat(33)] {
            assert!(claim(folder.path(), key).is_err(), "{key}");
        }
        assert!(is_empty(folder.path()));
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_with_a_very_long_path_will_do() {
        let parent = tempfile::tempdir().unwrap();
        // On both sides of what fits into a socket's address.
        for length in [60, 70, 80, 90, 200] {
            let folder = parent.path().join("x".repeat(length));
            std::fs::create_dir(&folder).unwrap();
            let key = "f".repeat(32);
            let instance = claim(&folder, &key).unwrap();
            assert!(matches!(instance, Claimed::First(_)));
            assert!(matches!(claim(&folder, &key).unwrap(), Claimed::Second));
            drop(instance);
            assert!(is_empty(&folder));
        }
    }

    #[cfg(unix)]
    #[test]
    fn one_whose_files_were_cleared_away_does_not_remove_those_of_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let old = first(folder.path());
        std::fs::remove_file(folder.path().join(names::instance_lock(KEY))).unwrap();
        let new = first(folder.path());
        drop(old);
        assert!(is_second(folder.path()), "the new one is called");
        drop(new);
        assert!(is_empty(folder.path()));
    }
}
