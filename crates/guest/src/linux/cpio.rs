//! cpio archives in the format "newc", which the kernel unpacks: read one member after the other, and written. To the kernel
//! every member is whole: zeros or another archive may follow any of them.
//!
//! Source: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.

use std::io::{self, Read};

/// Bytes of a member's header: six of magic, thirteen numbers of eight hexadecimal digits.
const HEADER: usize = 110;
/// A member's longest name with its zero byte; the kernel's PATH_MAX.
pub const NAME_AT_MOST: usize = 4096;
/// The name that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file with content.
    File,
    /// A folder.
    Folder,
    /// A symbolic link; its content is where it leads.
    Link,
    /// A device, a pipe, a socket.
    Other,
}

/// A member of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its path, without a leading `/` or `./`. What is not UTF-8 in it is replaced.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Bytes of its content.
    pub size: u64,
}

/// What is left of the bounds, over all archives of a file.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    pub(crate) members: u64,
    pub(crate) bytes: u64,
}

/// Reads from `from` and counts.
pub(crate) struct Counted<'b, R> {
    from: R,
    /// Bytes read since this archive's first; its members are aligned to that.
    at: u64,
    /// A byte that was read too early.
    ahead: Option<u8>,
    bounds: &'b mut Bounds,
}

impl<'b, R: Read> Counted<'b, R> {
    pub(crate) fn new(from: R, bounds: &'b mut Bounds) -> Self {
        Counted { from, at: 0, ahead: None, bounds }
    }

    /// Skips zeros; `true` if an archive follows them, `false` at the end of the file.
    ///
    /// # Errors
    /// Something else follows, or an archive at a place that isn't a multiple of four: the kernel stops there.
    pub(crate) fn archive_follows(&mut self) -> io::Result<bool> {
        let mut byte = [0];
        while self.ahead.is_none() {
            if self.read(&mut byte)? == 0 {
                return Ok(false);
            }
            if byte[0] != 0 {
                if byte[0] != b'0' || !(self.at - 1).is_multiple_of(4) {
                    return Err(damaged("something that is no cpio archive follows one"));
                }
                self.ahead = Some(byte[0]);
            }
        }
        Ok(true)
    }

    fn fill(&mut self, buf: &mut [u8]) -> io::Result<()> {
        self.read_exact(buf).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => io::ErrorKind::UnexpectedEof.into(),
            _ => error,
        })
    }

    fn skip(&mut self, count: u64) -> io::Result<()> {
        let skipped = io::copy(&mut self.by_ref().take(count), &mut io::sink())?;
        if skipped < count { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn align(&mut self) -> io::Result<()> {
        self.skip(self.at.next_multiple_of(4) - self.at)
    }
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let (Some(first), false) = (self.ahead, buf.is_empty()) {
            buf[0] = first;
            self.ahead = None;
            return Ok(1);
        }
        let count = self.from.read(buf)?;
        self.at += count as u64;
        self.bounds.bytes = self
            .bounds
            .bytes
            .checked_sub(count as u64)
            .ok_or_else(|| too_large("the initramfs, unpacked,"))?;
        Ok(count)
    }
}

/// Reads one member, and what fills up to a multiple of four bytes behind it; `true` if it was the one that ends an archive. `each`
/// may read the member's content or leave it.
///
/// # Errors
/// The member is cut off or contradicts itself, a bound is exceeded ([`io::ErrorKind::FileTooLarge`]), or `each` fails.
pub(crate) fn member<R: Read>(
    from: &mut Counted<'_, R>,
    each: &mut dyn FnMut(&Member, &mut dyn Read) -> io::Result<()>,
) -> io::Result<bool> {
    let mut header = [0; HEADER];
    from.fill(&mut header)?;
    if !(header.starts_with(b"070701") || header.starts_with(b"070702")) {
        return Err(damaged("a cpio archive has no header where one must be"));
    }
    let number = |index: usize| hexadecimal(&header[6 + index * 8..][..8]);
    let (mode, size, name_size) = (number(1)?, u64::from(number(6)?), number(11)? as usize);
    if name_size == 0 || name_size > NAME_AT_MOST {
        return Err(too_large("a name in a cpio archive"));
    }
    from.bounds.members = from
        .bounds
        .members
        .checked_sub(1)
        .ok_or_else(|| too_large("the number of members in the initramfs"))?;
    let mut name = vec![0; name_size];
    from.fill(&mut name)?;
    from.align()?;
    name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
    let name = String::from_utf8_lossy(&name);
    let end = from.at + size;
    let is_trailer = name == TRAILER;
    if !is_trailer {
        let kind = match mode & 0o170_000 {
            0o100_000 => Kind::File,
            0o040_000 => Kind::Folder,
            0o120_000 => Kind::Link,
            _ => Kind::Other,
        };
        let name = name.trim_start_matches("./").trim_start_matches('/').to_owned();
        each(&Member { name, kind, size }, &mut from.by_ref().take(size))?;
    }
    from.skip(end - from.at)?;
    from.align()?;
    Ok(is_trailer)
}

fn hexadecimal(digits: &[u8]) -> io::Result<u32> {
    let text = std::str::from_utf8(digits).ok().filter(|text| !text.starts_with('+'));
    text.and_then(|text| u32::from_str_radix(text, 16).ok())
        .ok_or_else(|| damaged("a number in a cpio archive is none"))
}

pub(crate) fn damaged(clause: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, clause)
}

pub(crate) fn too_large(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("{what} is larger than what is read of it"))
}

/// An archive in memory that grows. All members belong to root and carry no time, so that the same members give the same bytes.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    members: u32,
}

impl Writer {
    /// An archive without members.
    #[must_use]
    pub fn new() -> Self {
        Writer::default()
    }

    /// Adds a folder. The kernel creates no parents by itself; one that is there already stays as it is.
    pub fn folder(&mut self, name: &str) {
        self.member(name, 0o040_755, &[]);
    }

    /// Adds a file of at most 4 GiB.
    pub fn file(&mut self, name: &str, content: &[u8]) {
        self.member(name, 0o100_644, content);
    }

    /// The archive's bytes.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        // The trailer's number doesn't count: the kernel forgets all numbers there.
        self.members = u32::MAX;
        self.member(TRAILER, 0, &[]);
        self.bytes
    }

    fn member(&mut self, name: &str, mode: u32, content: &[u8]) {
        let links = if mode & 0o040_000 == 0 { 1 } else { 2 };
        let number = self.members.wrapping_add(1);
        self.members = number;
        let numbers =
            [number, mode, 0, 0, links, 0, content.len() as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0];
        self.bytes.extend_from_slice(b"070701");
        for number in numbers {
            self.bytes.extend_from_slice(format!("{number:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
