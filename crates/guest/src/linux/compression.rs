//! The compressions of an initramfs: which one begins at a place, and its content, read to its end and not a byte further.
//!
//! The kernel knows them by the same magic numbers (lib/decompress.c).

use std::io::{self, BufRead, Read};

use serde::Serialize;

use super::cpio::damaged;

/// What a part of an initramfs is compressed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// Zstandard (RFC 8878).
    Zstd,
    /// LZ4 in its legacy frame, the only one that the kernel reads.
    Lz4,
    /// The older format of LZMA. It is not read.
    Lzma,
    /// lzop. It is not read.
    Lzo,
}

/// Bytes that are enough to know any of them.
pub(super) const MAGIC: usize = 6;

impl Compression {
    /// What begins with `magic`, which may be shorter at the end of a file; `None` if the kernel would not know it either.
    pub(super) fn of(magic: &[u8]) -> Option<Self> {
        let known: [(&[u8], Self); 8] = [
            (b"0707", Compression::None),
            (&[0x1f, 0x8b], Compression::Gzip),
            (b"BZh", Compression::Bzip2),
            (&[0xfd, b'7', b'z', b'X', b'Z', 0], Compression::Xz),
            (&[0x28, 0xb5, 0x2f, 0xfd], Compression::Zstd),
            (&LZ4_MAGIC.to_le_bytes(), Compression::Lz4),
            (&[0x5d, 0, 0], Compression::Lzma),
            (&[0x89, b'L', b'Z'], Compression::Lzo),
        ];
        known.into_iter().find_map(|(bytes, compression)| magic.starts_with(bytes).then_some(compression))
    }
}

/// A file that is read from its beginning, and looked at a few bytes ahead.
pub(super) struct Source<R> {
    from: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    at: u64,
}

impl<R: Read> Source<R> {
    pub(super) fn new(from: R) -> Self {
        Source { from, buffer: vec![0; 64 << 10].into_boxed_slice(), start: 0, end: 0, at: 0 }
    }

    pub(super) fn into_inner(self) -> R {
        self.from
    }

    /// Bytes that were taken so far.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Takes all zeros that come next.
    pub(super) fn skip_zeros(&mut self) -> io::Result<()> {
        loop {
            let ahead = self.fill_buf()?;
            let zeros = ahead.iter().position(|byte| *byte != 0).unwrap_or(ahead.len());
            let last = zeros < ahead.len() || ahead.is_empty();
            self.consume(zeros);
            if last {
                return Ok(());
            }
        }
    }

    /// The next `count` bytes without taking them; fewer at the end.
    pub(super) fn ahead(&mut self, count: usize) -> io::Result<&[u8]> {
        if self.end - self.start < count {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        while self.end - self.start < count {
            match self.from.read(&mut self.buffer[self.end..])? {
                0 => break,
                read => self.end += read,
            }
        }
        Ok(&self.buffer[self.start..self.end.min(self.start + count)])
    }
}

impl<R: Read> BufRead for Source<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            (self.start, self.end) = (0, self.from.read(&mut self.buffer)?);
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
        self.at += count as u64;
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buf)?;
        self.consume(count);
        Ok(count)
    }
}

/// The content of what begins at `source`. Reading it to its end leaves `source` behind the last byte of it.
///
/// # Errors
/// It is no such content, or needs more than `memory` bytes for its window.
pub(super) fn open<'s, R: Read>(
    compression: Compression,
    source: &'s mut Source<R>,
    memory: u64,
) -> io::Result<Box<dyn Read + 's>> {
    Ok(match compression {
        Compression::None => Box::new(source),
        Compression::Gzip => Box::new(flate2::bufread::GzDecoder::new(source)),
        Compression::Bzip2 => Box::new(bzip2_rs::DecoderReader::new(Bzip2Stream::new(source))),
        Compression::Xz => {
            let kibibytes = u32::try_from(memory >> 10).unwrap_or(u32::MAX);
            Box::new(lzma_rust2::XzReader::new_mem_limit(source, false, kibibytes))
        }
        Compression::Zstd => {
            let stream = ruzstd::decoding::StreamingDecoder::new_with_max_window_size(source, memory);
            Box::new(stream.map_err(|_| damaged("its zstd stream begins in a way that is not known"))?)
        }
        Compression::Lz4 => Box::new(Lz4Legacy::new(source)),
        Compression::Lzma => {
            return Err(damaged("it is compressed with LZMA's older format, which is not read"));
        }
        Compression::Lzo => return Err(damaged("it is compressed with LZO, which is not read")),
    })
}

/// The bytes of one bzip2 stream and nothing behind them: the decoder takes what it gets. A stream ends with a number of 48 bits
/// at any bit, a checksum of 32, and zeros up to the next byte. The same 48 bits by chance are one in a million for a stream
/// of 30 MB; what is read is then taken for damaged.
struct Bzip2Stream<'s, R> {
    source: &'s mut Source<R>,
    /// The last 64 bits that passed.
    passed: u64,
    /// Bytes that are still to come once the end was seen.
    left: Option<u8>,
}

/// The square root of pi in BCD, by which a bzip2 stream ends.
const BZIP2_END: u64 = 0x1772_4538_5090;

impl<'s, R: Read> Bzip2Stream<'s, R> {
    fn new(source: &'s mut Source<R>) -> Self {
        Bzip2Stream { source, passed: 0, left: None }
    }
}

impl<R: Read> Read for Bzip2Stream<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let available = self.source.fill_buf()?;
        let count = available.len().min(buf.len());
        let mut taken = 0;
        while taken < count {
            match &mut self.left {
                Some(0) => break,
                Some(left) => *left -= 1,
                None => {
                    self.passed = self.passed << 8 | u64::from(available[taken]);
                    // With up to seven bits of the checksum in this byte, the others fill four more, rounded up.
                    if (0..8).any(|shift| self.passed >> shift & 0xffff_ffff_ffff == BZIP2_END) {
                        self.left = Some(4);
                    }
                }
            }
            buf[taken] = available[taken];
            taken += 1;
        }
        self.source.consume(taken);
        Ok(taken)
    }
}

const LZ4_MAGIC: u32 = 0x184c_2102;
/// Bytes of a chunk's content, all but the last chunk's.
const LZ4_CHUNK: usize = 8 << 20;
/// Bytes of a chunk that can't be compressed.
const LZ4_PACKED_AT_MOST: usize = LZ4_CHUNK + LZ4_CHUNK / 255 + 16;

/// Chunks, each led by its size, up to a size of zero, or the end of the file. As in the kernel since 5.9, zeros end it, so
/// that what follows must be behind at least four of them.
struct Lz4Legacy<'s, R> {
    source: &'s mut Source<R>,
    packed: Vec<u8>,
    chunk: Vec<u8>,
    /// What of `chunk` is still to be read.
    at: usize,
    end: usize,
    finished: bool,
}

impl<'s, R: Read> Lz4Legacy<'s, R> {
    fn new(source: &'s mut Source<R>) -> Self {
        Lz4Legacy { source, packed: Vec::new(), chunk: Vec::new(), at: 0, end: 0, finished: false }
    }

    fn next(&mut self) -> io::Result<()> {
        let ahead = self.source.ahead(4)?;
        let size = match ahead.try_into().map(u32::from_le_bytes) {
            Err(_) | Ok(0) => {
                self.finished = true;
                return Ok(());
            }
            Ok(size) => size,
        };
        self.source.consume(4);
        if size == LZ4_MAGIC {
            return Ok(());
        }
        if size as usize > LZ4_PACKED_AT_MOST {
            return Err(damaged("a chunk of its LZ4 stream is larger than it can be"));
        }
        self.packed.clear();
        self.source.by_ref().take(u64::from(size)).read_to_end(&mut self.packed)?;
        if self.packed.len() < size as usize {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // No chunk unpacks to more than 255 times its size.
        self.chunk.resize(LZ4_CHUNK.min(self.packed.len().saturating_mul(255)), 0);
        self.at = 0;
        self.end = lz4_flex::block::decompress_into(&self.packed, &mut self.chunk)
            .map_err(|_| damaged("a chunk of its LZ4 stream can't be unpacked"))?;
        Ok(())
    }
}

impl<R: Read> Read for Lz4Legacy<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.at == self.end && !self.finished {
            self.next()?;
        }
        let count = buf.len().min(self.end - self.at);
        buf[..count].copy_from_slice(&self.chunk[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
