//! What the system or the user asks of the launcher itself, as values on a channel.

use std::io;
use std::sync::mpsc::{Receiver, channel};

/// A request to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// The system or a supervisor ends us, for instance at shutdown.
    Terminate,
    /// The terminal or the login session is gone.
    HangUp,
}

/// From now on requests to end come out of the channel instead of ending the process.
///
/// # Errors
/// The system does not let us listen; then they end the process, as usual.
#[cfg(unix)]
pub fn listen() -> io::Result<Receiver<Signal>> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let (sender, receiver) = channel();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let signal = match signal {
                SIGINT => Signal::Interrupt,
                SIGHUP => Signal::HangUp,
                _ => Signal::Terminate,
            };
            if sender.send(signal).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

/// From now on requests to end come out of the channel instead of ending the process.
///
/// # Errors
/// The system does not let us listen; then they end the process, as usual.
#[cfg(windows)]
pub fn listen() -> io::Result<Receiver<Signal>> {
    let (sender, receiver) = channel();
    // The handler is not told which event it was; nobody listening any more is no reason to fail.
    let handler = move || {
        let _ = sender.send(Signal::Interrupt);
    };
    ctrlc::set_handler(handler).map_err(io::Error::other)?;
    Ok(receiver)
}

#[cfg(all(test, unix))]
mod tests {
    use std::time::Duration;

    use rustix::process::{Signal as Raw, getpid, kill_process};

    use super::*;

    #[test]
    fn signals_become_values() {
        let signals = listen().unwrap();
        for (raw, expected) in
            [(Raw::INT, Signal::Interrupt), (Raw::TERM, Signal::Terminate), (Raw::HUP, Signal::HangUp)]
        {
            kill_process(getpid(), raw).unwrap();
            assert_eq!(signals.recv_timeout(Duration::from_secs(10)), Ok(expected));
        }
    }
}
