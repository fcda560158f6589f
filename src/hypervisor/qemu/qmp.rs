//! QMP: QEMU's control protocol, one JSON object a line (docs/interop/qmp-spec.rst of QEMU).
//!
//! One thread reads: replies go to whoever waits for them, events to a channel that ends when QEMU closes.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::host::channel::Channel;

/// Longest line accepted. QEMU's longest usual one, the schema, is 200 KiB and never asked for.
const LONGEST_LINE: u64 = 1 << 20;

/// What can go wrong with a command.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// QEMU closed the channel: it ended or is ending.
    #[error("QEMU closed its control channel")]
    Closed,
    /// No answer in time.
    #[error("QEMU did not answer {command} within {} s", patience.as_secs())]
    Silent {
        /// What was asked.
        command: String,
        /// How long it had.
        patience: Duration,
    },
    /// QEMU understood and refused.
    #[error("QEMU refused {command}: {reason}")]
    Refused {
        /// What was asked.
        command: String,
        /// QEMU's words.
        reason: String,
    },
}

/// Something that QEMU reported by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct QmpEvent {
    /// `STOP`, `RESET`, …
    pub name: String,
    /// Its data; null if it has none.
    pub data: Value,
}

/// What QEMU said to one command: its return value, or why not.
type Reply = Result<Value, String>;

/// Whose replies are outstanding; none when the channel is closed.
type Waiting = Arc<Mutex<Option<HashMap<u64, Sender<Reply>>>>>;

/// The asking half. Usable from any thread; dropping it closes the channel.
pub struct Client {
    write: Mutex<Box<dyn Write + Send>>,
    waiting: Waiting,
    next_id: AtomicU64,
}

impl Client {
    /// Waits for QEMU's greeting and agrees on the protocol. Events come out of the receiver in order.
    ///
    /// # Errors
    /// QEMU ends or does not greet within `patience`, which another client's connection can cause.
    pub fn connect(channel: Channel, patience: Duration) -> Result<(Self, Receiver<QmpEvent>), QmpError> {
        let (events, received) = mpsc::channel();
        let (greeting, greeted) = mpsc::channel();
        let waiting: Waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        let client = Client {
            write: Mutex::new(channel.write),
            waiting: Arc::clone(&waiting),
            next_id: AtomicU64::new(1),
        };
        let read = channel.read;
        thread::spawn(move || {
            read_lines(read, &waiting, &greeting, &events);
            // From here on nobody gets an answer.
            lock(&waiting).take();
        });
        match greeted.recv_timeout(patience) {
            Ok(()) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(QmpError::Closed),
            Err(RecvTimeoutError::Timeout) => {
                return Err(QmpError::Silent { command: "the greeting".into(), patience });
            }
        }
        client.execute("qmp_capabilities", json!({}), patience)?;
        Ok((client, received))
    }

    /// Executes one command and returns what QEMU returns.
    ///
    /// # Errors
    /// As [`QmpError`] says.
    pub fn execute(&self, command: &str, arguments: Value, patience: Duration) -> Result<Value, QmpError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = mpsc::channel();
        lock(&self.waiting).as_mut().ok_or(QmpError::Closed)?.insert(id, sender);
        let line = format!("{}\n", json!({ "execute": command, "arguments": arguments, "id": id }));
        {
            let mut write = lock(&self.write);
            write.write_all(line.as_bytes()).and_then(|()| write.flush()).map_err(|_| QmpError::Closed)?;
        }
        match receiver.recv_timeout(patience) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(reason)) => Err(QmpError::Refused { command: command.into(), reason }),
            Err(RecvTimeoutError::Disconnected) => Err(QmpError::Closed),
            Err(RecvTimeoutError::Timeout) => {
                if let Some(waiting) = lock(&self.waiting).as_mut() {
                    waiting.remove(&id);
                }
                Err(QmpError::Silent { command: command.into(), patience })
            }
        }
    }
}

/// What is behind these locks is whole between any two statements, so a panic elsewhere spoils nothing.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sorts QEMU's lines until the channel ends. A line that is too long or no JSON ends it too: after that nothing
/// could be trusted to be in step.
fn read_lines(read: impl Read, waiting: &Waiting, greeting: &Sender<()>, events: &Sender<QmpEvent>) {
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        match read.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) if line.last() != Some(&b'\n') => return,
            Ok(_) => {}
        }
        let Ok(Value::Object(mut message)) = serde_json::from_slice(&line) else {
            tracing::warn!("QEMU said something that is not QMP; its control channel is given up");
            return;
        };
        if let Some(Value::String(name)) = message.remove("event") {
            // Nobody listens any more when the guest is being given up; replies still matter then.
            let _ = events.send(QmpEvent { name, data: message.remove("data").unwrap_or_default() });
        } else if message.contains_key("QMP") {
            let _ = greeting.send(());
        } else if let Some(id) = message.get("id").and_then(Value::as_u64) {
            let reply = match message.remove("return") {
                Some(value) => Ok(value),
                None => Err(message["error"]["desc"].as_str().unwrap_or("no reason given").to_owned()),
            };
            let asker = lock(waiting).as_mut().and_then(|waiting| waiting.remove(&id));
            if let Some(asker) = asker {
                let _ = asker.send(reply);
            }
        }
    }
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    const SOON: Duration = Duration::from_secs(5);

    /// A client whose QEMU says `greeting` and then answers each line with what `answer` makes of it.
    fn client(
        greeting: &'static str,
        answer: impl Fn(&Value) -> String + Send + 'static,
    ) -> Result<(Client, Receiver<QmpEvent>), QmpError> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        thread::spawn(move || {
            theirs.write_all(greeting.as_bytes()).unwrap();
            for line in BufReader::new(theirs.try_clone().unwrap()).lines() {
                let command: Value = serde_json::from_str(&line.unwrap()).unwrap();
                if theirs.write_all(answer(&command).as_bytes()).is_err() {
                    return;
                }
            }
        });
        let write = Box::new(ours.try_clone().unwrap());
        Client::connect(Channel { read: Box::new(ours), write }, SOON)
    }

    #[test]
    fn a_reply_finds_its_asker_between_events_and_foreign_replies() {
        let (client, events) = client("{\"QMP\": {}}\r\n", |command| {
            let id = &command["id"];
            format!(
                "{{\"event\": \"STOP\"}}\n{{\"return\": 0, \"id\": 4711}}\n{{\"return\": {}, \"id\": {id}}}\n",
                command["execute"]
            )
        })
        .unwrap();
        assert_eq!(client.execute("query-status", json!({}), SOON).unwrap(), "query-status");
        assert_eq!(events.recv().unwrap(), QmpEvent { name: "STOP".into(), data: Value::Null });
    }

    #[test]
    fn a_refusal_carries_qemus_words() {
        let answer = |command: &Value| match command["execute"].as_str() {
            Some("qmp_capabilities") => format!("{{\"return\": {{}}, \"id\": {}}}\n", command["id"]),
            _ => format!(
                "{{\"error\": {{\"class\": \"X\", \"desc\": \"no such node\"}}, \"id\": {}}}\n",
                command["id"]
            ),
        };
        let (client, _) = client("{\"QMP\": {}}\n", answer).unwrap();
        let error = client.execute("blockdev-del", json!({}), SOON).unwrap_err();
        assert_eq!(error.to_string(), "QEMU refused blockdev-del: no such node");
    }

    #[test]
    fn silence_and_garbage_end_the_wait_with_words() {
        let answer = |command: &Value| match command["execute"].as_str() {
            Some("qmp_capabilities") => format!("{{\"return\": {{}}, \"id\": {}}}\n", command["id"]),
            Some("stop") => "garbage\n".into(),
            _ => String::new(),
        };
        let (client, _) = client("{\"QMP\": {}}\n", answer).unwrap();
        let error = client.execute("cont", json!({}), Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, QmpError::Silent { .. }), "{error}");
        let error = client.execute("stop", json!({}), SOON).unwrap_err();
        assert!(matches!(error, QmpError::Closed), "{error}");
        let error = client.execute("cont", json!({}), SOON).unwrap_err();
        assert!(matches!(error, QmpError::Closed), "{error}");
    }

    #[test]
    fn a_line_without_end_is_given_up() {
        let (mut theirs, ours) = UnixStream::pair().unwrap();
        let writer = thread::spawn(move || {
            let block = vec![b'x'; 1 << 16];
            (0..).take_while(|_| theirs.write_all(&block).is_ok()).count()
        });
        let write = Box::new(ours.try_clone().unwrap());
        let error = Client::connect(Channel { read: Box::new(ours), write }, SOON).err().unwrap();
        assert!(matches!(error, QmpError::Closed), "{error}");
        assert!(writer.join().unwrap() < 64, "the reader stopped at its limit");
    }
}
