//! Header extensions: the generation's name, and what other programs left.

use super::be;
use super::header::{Header, Problem};
use crate::error::Refusal;
use crate::generation::GenerationId;

const END: u32 = 0;
const BACKING_FORMAT: u32 = 0xe279_2aca;
const FEATURE_NAMES: u32 = 0x6803_f857;
const BITMAPS: u32 = 0x2385_2875;
const ENCRYPTION: u32 = 0x0537_be77;
const DATA_FILE: u32 = 0x4441_5441;

/// The type of our own extension: 16 bytes, the generation id.
pub const GENERATION: u32 = 0x9d51_c4e7;

/// The type of our other extension: 32 bytes, the root of the hash manifest.
pub const HASHES: u32 = 0x9d51_c4e8;

/// Where a hash manifest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashRoot {
    /// Where its table is, in bytes.
    pub offset: u64,
    /// Entries of the table.
    pub chunks: u32,
    /// The first 16 bytes of the table's BLAKE3 hash.
    pub digest: [u8; 16],
}

impl HashRoot {
    fn parse(data: &[u8; 32]) -> Self {
        let mut digest = [0; 16];
        digest.copy_from_slice(&data[16..]);
        HashRoot { offset: be::u64(data, 0), chunks: be::u32(data, 8), digest }
    }

    fn encode(&self) -> [u8; 32] {
        let mut data = [0; 32];
        be::put_u64(&mut data, 0, self.offset);
        be::put_u32(&mut data, 8, self.chunks);
        data[16..].copy_from_slice(&self.digest);
        data
    }
}

/// The extensions of one header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extensions {
    /// The generation that was stamped last.
    pub generation: Option<GenerationId>,
    /// The hash manifest of that generation.
    pub hashes: Option<HashRoot>,
    /// The format of the backing file, as text.
    pub backing_format: Option<String>,
    /// There are persistent bitmaps.
    pub bitmaps: bool,
    /// Extensions that we do not know and keep: type and content.
    pub unknown: Vec<(u32, Vec<u8>)>,
}

impl Extensions {
    /// Reads the extensions in `area`: the bytes from the end of the fixed fields to the backing file's name, or
    /// to the end of the first cluster.
    ///
    /// # Errors
    /// One that can't be handled, or whose length leads out of the area.
    pub fn parse(area: &[u8]) -> Result<Self, Problem> {
        let mut extensions = Extensions::default();
        let mut at = 0;
        while let Some(head) = area.get(at..at + 8) {
            let (kind, length) = (be::u32(head, 0), be::u32(head, 4) as usize);
            if kind == END {
                break;
            }
            let data = area
                .get(at + 8..)
                .and_then(|rest| rest.get(..length))
                .ok_or_else(|| Problem::Damaged("a header extension is too long".to_owned()))?;
            extensions.take(kind, data)?;
            at = (at + 8 + length).next_multiple_of(8);
        }
        Ok(extensions)
    }

    fn take(&mut self, kind: u32, data: &[u8]) -> Result<(), Problem> {
        match kind {
            GENERATION => {
                let id = data
                    .try_into()
                    .map_err(|_| Problem::Damaged("its generation id has a wrong length".to_owned()))?;
                self.generation = Some(GenerationId::from_bytes(id));
            }
            HASHES => {
                let data = data.try_into().map_err(|_| {
                    Problem::Damaged("its hash manifest's root has a wrong length".to_owned())
                })?;
                self.hashes = Some(HashRoot::parse(data));
            }
            BACKING_FORMAT => self.backing_format = Some(String::from_utf8_lossy(data).into_owned()),
            // Names of feature bits, for error messages of other programs only.
            FEATURE_NAMES => {}
            BITMAPS => self.bitmaps = true,
            ENCRYPTION => return Err(Refusal::Encrypted.into()),
            DATA_FILE => return Err(Refusal::ExternalData.into()),
            _ => self.unknown.push((kind, data.to_vec())),
        }
        Ok(())
    }

    /// The bytes of the extensions with their end mark.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut put = |kind: u32, data: &[u8]| {
            bytes.extend(kind.to_be_bytes());
            bytes.extend((data.len() as u32).to_be_bytes());
            bytes.extend(data);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        };
        if let Some(generation) = self.generation {
            put(GENERATION, &generation.to_bytes());
        }
        if let Some(root) = &self.hashes {
            put(HASHES, &root.encode());
        }
        if let Some(format) = &self.backing_format {
            put(BACKING_FORMAT, format.as_bytes());
        }
        for (kind, data) in &self.unknown {
            put(*kind, data);
        }
        put(END, &[]);
        bytes
    }

    /// Where the area of a header's extensions lies, in bytes of the file.
    pub fn area(header: &Header) -> std::ops::Range<u64> {
        let end = header.backing.map_or(header.cluster_size(), |(offset, _)| offset);
        u64::from(header.length)..end.max(u64::from(header.length))
    }
}
