//! The one error type of the crate: each variant says what failed, [`Error::hint`] the one next thing to do.

use std::io;

use crate::generation::GenerationId;

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation on an image failed. No variant leaves a base between two generations.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused; the text names the file.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The image has a feature that is not handled; found before the first write.
    #[error("{why}: {image}")]
    Refused {
        /// The feature.
        why: Refusal,
        /// Where the image is.
        image: String,
    },
    /// The image contradicts the specification of its format, or itself.
    #[error("the image is damaged, {what}: {image}")]
    Damaged {
        /// What is wrong, as a clause.
        what: String,
        /// Where the image is.
        image: String,
    },
    /// Another program wrote to the base since we last did.
    #[error("another program has written to the base since generation {last}: {image}")]
    ForeignWriter {
        /// The last generation that was ours.
        last: GenerationId,
        /// Where the base is.
        image: String,
    },
    /// The overlay belongs to another generation of the base.
    #[error("the changes belong to generation {expected}, but the base is at {found}: {image}")]
    WrongGeneration {
        /// What the overlay was made from.
        expected: GenerationId,
        /// What the base is at.
        found: String,
        /// Where the base is.
        image: String,
    },
    /// The overlay's virtual disk is smaller than the base's.
    #[error("the overlay's disk of {overlay} bytes is smaller than the base's {base} bytes: {image}")]
    Shrinks {
        /// Virtual size of the overlay in bytes.
        overlay: u64,
        /// Virtual size of the base in bytes.
        base: u64,
        /// Where the base is.
        image: String,
    },
    /// Another program has the image open for writing.
    #[error("another program has the image open for writing: {image}")]
    InUse {
        /// Where the image is.
        image: String,
    },
    /// Another program reads the image, and would be disturbed.
    #[error("another program reads the image: {image}")]
    BeingRead {
        /// Where the image is.
        image: String,
    },
    /// Another merge, or another launcher, holds the file.
    #[error("the file is locked by another merge: {file}")]
    Busy {
        /// Where the file is.
        file: String,
    },
    /// The caller cancelled. The base is at the old generation.
    #[error("the merge was cancelled; the base is as it was")]
    Cancelled,
    /// What was written does not read back.
    #[error("the storage did not keep what was written; the base is as it was: {image}")]
    NotKept {
        /// Where the image is.
        image: String,
    },
    /// A path that leaves the root, or is not a plain relative one.
    #[error("not a relative path inside the drive: {0}")]
    BadPath(String),
    /// A record file has no valid slot, or its content makes no sense.
    #[error("the record file is damaged, {what}: {file}")]
    BadRecord {
        /// What is wrong, as a clause.
        what: String,
        /// Where the record is.
        file: String,
    },
    /// A record does not fit its preallocated slot.
    #[error("a record of {needed} bytes does not fit the {slot} bytes of a slot: {file}")]
    RecordTooLarge {
        /// Bytes to store.
        needed: u64,
        /// Bytes a slot holds.
        slot: u64,
        /// Where the record is.
        file: String,
    },
    /// A flip was interrupted and not recovered yet.
    #[error("an earlier merge was interrupted and must be recovered first: {0}")]
    Unrecovered(String),
    /// A flip failed on its way. Whether it happened is for [`recover`](crate::recover) to find out; no base is
    /// between two generations afterwards.
    #[error("the change of generations was interrupted: {0}")]
    Interrupted(#[source] Box<Error>),
    /// There is no earlier or later generation to go to.
    #[error("there is no kept generation to go to: {0}")]
    NoHistory(String),
    /// The caller's arguments contradict each other.
    #[error("{0}")]
    Input(String),
}

impl Error {
    /// The one next thing to do, where there is one.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Error::Refused { why, .. } => why.hint(),
            Error::Damaged { .. } => {
                Some("restore the image from a copy, or look at it with `qemu-img check`")
            }
            Error::ForeignWriter { .. } | Error::WrongGeneration { .. } => {
                Some("keep the changes as a separate image, or discard them")
            }
            Error::Shrinks { .. } => Some("make the overlay at least as large as its base"),
            Error::InUse { .. } | Error::BeingRead { .. } | Error::Busy { .. } => {
                Some("close the other program and try again")
            }
            Error::NotKept { .. } => {
                Some("the drive may be failing: copy it, then try again with another one")
            }
            Error::Unrecovered(_) | Error::Interrupted(_) => Some("run recovery"),
            Error::BadRecord { .. } => Some("check the drive, then prepare its records again"),
            _ => None,
        }
    }
}

/// A feature of an image that is refused, each with its own sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No qcow2 magic.
    #[error("the image is not in the qcow2 format")]
    NotQcow2,
    /// Version 1, or one that does not exist yet.
    #[error("the image has qcow version {0}, which is not supported")]
    Version(u32),
    /// LUKS or the old AES.
    #[error("the image is encrypted")]
    Encrypted,
    /// The data lies in another file.
    #[error("the image keeps its data in an external file")]
    ExternalData,
    /// Internal snapshots share clusters with the live state.
    #[error("the image has {0} internal snapshots")]
    Snapshots(u32),
    /// Persistent dirty bitmaps.
    #[error("the image has persistent bitmaps")]
    Bitmaps,
    /// A feature bit of the future.
    #[error("the image needs features that are unknown here (incompatible bits {0:#x})")]
    UnknownFeatures(u64),
    /// QEMU found damage.
    #[error("the image is marked as corrupt")]
    Corrupt,
    /// Lazy refcounts were not written.
    #[error("the image was not closed cleanly (lazy refcounts)")]
    Dirty,
    /// The name of the base's backing file is absolute, has a protocol, or leads out of the drive.
    #[error("the base's backing file lies outside of the drive")]
    BackingOutside,
    /// No format is named, which would mean to guess it from what the guest wrote; or one that is not handled.
    #[error("the base does not name the format of its backing file as qcow2 or raw")]
    BackingFormat,
    /// More layers than anybody needs, or a circle.
    #[error("the base has more than {0} layers of backing files")]
    BackingDepth(usize),
    /// What the backing file has behind the base's end would come to light.
    #[error("the base can't grow, because its backing file is larger than it")]
    BackingLarger,
    /// The file ends before its tables do.
    #[error("the image file is cut short")]
    Truncated,
    /// A compression method of the future.
    #[error("the image uses compression method {0}, which is unknown here")]
    Compression(u8),
    /// Extensions that do not fit the header block.
    #[error("the image's header extensions need {0} bytes and do not fit the header block")]
    HeaderTooLong(usize),
    /// Additional header fields of the future.
    #[error("the image's header has fields that are unknown here")]
    UnknownFields,
    /// Inconsistent reference counts or tables.
    #[error("the image has {0} errors in its tables")]
    Inconsistent(u64),
    /// No signature of any format that overlays have.
    #[error("the file is in none of the formats that hold changes to a disk")]
    NotOverlay,
    /// A base, a copy of one, or a disk of its own.
    #[error("the file holds a whole disk, not changes")]
    WholeDisk,
    /// Not a whole disk that a child can be made for.
    #[error("the file is not a copy of a base that a differencing disk can be made for")]
    NotParent,
    /// A version of a format that is not known, or no longer.
    #[error("the differencing disk is of a version that is unknown here ({0})")]
    OverlayVersion(String),
    /// A stream, made for transport.
    #[error("the differencing disk is compressed")]
    CompressedOverlay,
    /// A VHDX whose log was not replayed.
    #[error("the VHDX file was not closed cleanly, and its log holds what belongs into its tables")]
    UnfinishedLog,
    /// Split into pieces, or a descriptor beside the data.
    #[error("the differencing disk's data lies in several files, or beside its descriptor")]
    SeveralFiles,
}

impl Refusal {
    /// The one next thing to do, where there is one.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Refusal::NotQcow2 | Refusal::Version(_) => "convert it with `qemu-img convert -O qcow2`",
            Refusal::Encrypted => "convert it to a plain image with `qemu-img convert`",
            Refusal::ExternalData => "convert it to a single file with `qemu-img convert -O qcow2`",
            Refusal::Snapshots(_) => "delete them with `qemu-img snapshot -d`",
            Refusal::Bitmaps => "remove them with `qemu-img bitmap --remove`",
            Refusal::Corrupt | Refusal::Dirty | Refusal::Inconsistent(_) => {
                "copy the image, then repair it with `qemu-img check -r all`"
            }
            Refusal::BackingOutside | Refusal::BackingDepth(_) => {
                "copy the backing file to the drive and name it with `qemu-img rebase -u -b RELATIVE-NAME -F FORMAT`, or make the base stand alone with `qemu-img rebase -b \"\"`"
            }
            Refusal::BackingFormat => "name it with `qemu-img rebase -u -b NAME -F qcow2` (or raw)",
            Refusal::BackingLarger => "make the base stand alone with `qemu-img rebase -b \"\"`",
            Refusal::Truncated => "restore it from a copy",
            Refusal::UnknownFeatures(_) | Refusal::Compression(_) | Refusal::UnknownFields => {
                "convert it with `qemu-img convert -O qcow2`, or update this program"
            }
            Refusal::HeaderTooLong(_) => {
                "convert it with `qemu-img convert -O qcow2`, or give its backing file a shorter name"
            }
            Refusal::NotOverlay => "name the qcow2, VMDK, VDI, VHD or VHDX file that the hypervisor wrote to",
            Refusal::WholeDisk => "name the differencing disk that the hypervisor wrote to",
            Refusal::NotParent => "make the copy of the base again",
            Refusal::OverlayVersion(_) => {
                "copy it with the hypervisor that made it, into a differencing disk of the usual kind"
            }
            Refusal::UnfinishedLog => "open and close it once with Hyper-V: `Mount-VHD`, then `Dismount-VHD`",
            Refusal::CompressedOverlay | Refusal::SeveralFiles => {
                "copy it with the hypervisor that made it, into one growing file that is not compressed"
            }
        })
    }
}
