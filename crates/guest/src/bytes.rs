//! Numbers and text out of bytes that may be anybody's: nothing here panics, what is not there is `None`.

use std::fmt;

use serde::{Serialize, Serializer};

/// `N` bytes at `at`.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// A little-endian number of two bytes at `at`.
pub(crate) fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

/// A little-endian number of four bytes at `at`.
pub(crate) fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

/// A little-endian number of eight bytes at `at`.
pub(crate) fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

/// UTF-16, little-endian, up to the first NUL or the end; what is no character becomes U+FFFD.
pub(crate) fn utf16(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    char::decode_utf16(units.take_while(|unit| *unit != 0))
        .map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

/// A label in a field of fixed length, padded with NULs or spaces; `None` if it is empty.
pub(crate) fn label(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let label = String::from_utf8_lossy(&bytes[..end]).trim_end().to_owned();
    (!label.is_empty()).then_some(label)
}

/// A GUID as it lies on a disk: the first three groups little-endian (UEFI 2.10, appendix A).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Guid(pub [u8; 16]);

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g, h, i, rest @ ..] = self.0;
        write!(
            f,
            "{}",
            uuid([
                d, c, b, a, g, e, i, h, rest[0], rest[1], rest[2], rest[3], rest[4], rest[5], rest[6],
                rest[7]
            ])
        )
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Guid {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// A UUID in the order of its text (RFC 9562), as Linux's file systems store it.
pub(crate) fn uuid(bytes: [u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_reads_as_its_specification_writes_it() {
        let esp =
            [0x28, 0x73, 0x2A, 0xC1, 0x1F, 0xF8, 0xD2, 0x11, 0xBA, 0x4B, 0, 0xA0, 0xC9, 0x3E, 0xC9, 0x3B];
        assert_eq!(Guid(esp).to_string(), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
    }

    #[test]
    fn bytes_beyond_the_end_are_none() {
        assert_eq!(le16(&[1], 0), None);
        assert_eq!(le32(&[1, 2, 3, 4], usize::MAX), None);
        assert_eq!(le64(&[0; 8], 0), Some(0));
    }
}
