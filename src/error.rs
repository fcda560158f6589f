//! The one error type of the package.
//!
//! The rules: an error is made where the failure is understood and handled exactly once, in a view. It says
//! *what failed*, *what is safe*, and *the one next thing to do*. Paths and values come last in the message.
//! `Kind` is for programs (it decides the exit code), the texts are for people.

use std::fmt;

/// What sort of failure this is; each has its own documented exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Something that should not happen: a bug, or a failing PC.
    Unexpected,
    /// The command line asked for something that makes no sense.
    Usage,
    /// No drive was found, or it is not one of ours, or its manifest is wrong.
    Drive,
    /// Another launcher holds the drive.
    Busy,
    /// The plan refuses: too little memory, room, or a missing consent.
    Refused,
    /// A session was left behind and a decision is needed.
    Leftover,
    /// No usable hypervisor on this PC, it failed to start, or the guest can't start in it.
    Hypervisor,
    /// The guest did not shut down cleanly; its changes are kept in scratch.
    Unclean,
    /// The merge failed or was cancelled; the old generation and the changes are both intact.
    Merge,
    /// The drive's disks are damaged or not supported.
    Disk,
    /// The drive is gone and did not return.
    Gone,
    /// A signal ended the session; it is recoverable.
    Interrupted,
    /// The window can't be shown.
    Display,
}

impl Kind {
    /// All kinds, in the order of their exit codes.
    pub const ALL: [Kind; 13] = [
        Kind::Unexpected,
        Kind::Usage,
        Kind::Drive,
        Kind::Busy,
        Kind::Refused,
        Kind::Leftover,
        Kind::Hypervisor,
        Kind::Unclean,
        Kind::Merge,
        Kind::Disk,
        Kind::Gone,
        Kind::Interrupted,
        Kind::Display,
    ];

    /// The process exit code, documented in `--help` and the man page.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Unexpected => 1,
            Kind::Usage => 2,
            Kind::Drive => 3,
            Kind::Busy => 4,
            Kind::Refused => 5,
            Kind::Leftover => 6,
            Kind::Hypervisor => 7,
            Kind::Unclean => 8,
            Kind::Merge => 9,
            Kind::Disk => 10,
            Kind::Gone => 11,
            Kind::Interrupted => 12,
            Kind::Display => 13,
        }
    }
}

/// A failure as a person should read it.
#[derive(Debug)]
pub struct Error {
    /// For programs.
    pub kind: Kind,
    /// What failed: one sentence without a full stop, path or value last.
    pub what: String,
    /// What is safe in spite of it, where somebody could fear for data.
    pub safe: Option<String>,
    /// The one next thing to do.
    pub hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The package's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A new error that says what failed.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Error { kind, what: what.into(), safe: None, hint: None, source: None }
    }

    /// Adds what is safe.
    #[must_use]
    pub fn safe(mut self, text: impl Into<String>) -> Self {
        self.safe = Some(text.into());
        self
    }

    /// Adds the one next thing to do.
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hint = Some(text.into());
        self
    }

    /// Adds the cause; its text is shown after the message.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|s| s as _)
    }
}

/// An I/O failure nobody expected; `fs_err` already put the path into its text.
impl From<std::io::Error> for Error {
    fn from(source: std::io::Error) -> Self {
        Error::new(Kind::Unexpected, "cannot read or write a file").because(source)
    }
}
