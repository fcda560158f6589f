//! Files with long runs of zeroes as short inputs: a VHDX can't be smaller than some MiB.
//!
//! A byte of flags, the length of the file (4, little-endian), and pieces: offset (4), length (2), bytes.

/// Flag: all checksums of the file are made to hold.
pub const SUMS: u8 = 1;
/// Flag: a large disk is merged, too, which takes its time.
pub const MERGED: u8 = 2;
/// The longest file.
const MAX_LEN: usize = 6 << 20;
/// Zeroes between two pieces, at least.
const GAP: usize = 16;

/// The file that an input describes.
pub fn unpack(data: &[u8]) -> Option<Vec<u8>> {
    let (flags, data) = data.split_first()?;
    let (len, mut data) = data.split_first_chunk()?;
    let mut file = vec![0; (u32::from_le_bytes(*len) as usize).min(MAX_LEN)];
    while let Some((offset, rest)) = data.split_first_chunk()
        && let Some((len, rest)) = rest.split_first_chunk()
    {
        let (piece, rest) = rest.split_at(usize::from(u16::from_le_bytes(*len)).min(rest.len()));
        data = rest;
        let place = file.get_mut(u32::from_le_bytes(*offset) as usize..).unwrap_or_default();
        let there = piece.len().min(place.len());
        place[..there].copy_from_slice(&piece[..there]);
    }
    Some(if flags & SUMS != 0 { crate::minimal::with_sums(file) } else { file })
}

/// The opposite of [`unpack`].
pub fn pack(flags: u8, file: &[u8]) -> Vec<u8> {
    let mut input = vec![flags];
    input.extend((file.len() as u32).to_le_bytes());
    let mut at = 0;
    while let Some(skipped) = file[at..].iter().position(|&byte| byte != 0) {
        let start = at + skipped;
        let rest = &file[start..(start + usize::from(u16::MAX)).min(file.len())];
        let len = rest.windows(GAP).position(|bytes| bytes == [0; GAP]).unwrap_or(rest.len());
        input.extend((start as u32).to_le_bytes());
        input.extend((len as u16).to_le_bytes());
        input.extend(&rest[..len]);
        at = start + len;
    }
    input
}
