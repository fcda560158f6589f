//! The disk that is the memory of a TPM: how much of it is state, and that it is whole.
//!
//! In this order, all numbers little-endian: 16 bytes `PocketVM TPM 2.0`, 4 bytes version (1), 4 bytes length, 32 bytes BLAKE3 of
//! the state, 8 bytes zero, the state. Nothing but zeroes in the first 64 bytes is a TPM that is new. The state is what libtpms
//! calls the permanent state of a TPM 2.0.

const MAGIC: [u8; 16] = *b"PocketVM TPM 2.0";
const VERSION: u32 = 1;
const HEADER: usize = 64;

/// The state that `disk` holds; empty for a new TPM. The error is a clause.
///
/// # Errors
/// It holds something else, or was damaged.
pub fn unwrap(disk: &[u8]) -> Result<&[u8], String> {
    let Some((header, rest)) = disk.split_at_checked(HEADER) else {
        return Err(format!("it has less than {HEADER} bytes"));
    };
    if header.iter().all(|byte| *byte == 0) {
        return Ok(&[]);
    }
    if header[..16] != MAGIC {
        return Err("it holds something else than the state of a TPM".to_owned());
    }
    let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if number(16) != VERSION {
        return Err(format!("a newer version of PocketVM wrote it (version {})", number(16)));
    }
    match rest.get(..number(20) as usize) {
        Some(state) if blake3::hash(state).as_bytes()[..] == header[24..56] => Ok(state),
        _ => Err("the state of the TPM on it is damaged".to_owned()),
    }
}

/// A disk of `size` bytes that holds `state`. The error is a clause.
///
/// # Errors
/// It does not fit.
pub fn wrap(state: &[u8], size: usize) -> Result<Vec<u8>, String> {
    let mut disk = vec![0; size];
    if state.is_empty() {
        return Ok(disk);
    }
    let needed = HEADER + state.len();
    let length = u32::try_from(state.len()).ok().filter(|_| needed <= size);
    let Some(length) = length else {
        return Err(format!("the state of a TPM that has {needed} bytes does not fit a disk of {size}"));
    };
    disk[..16].copy_from_slice(&MAGIC);
    disk[16..20].copy_from_slice(&VERSION.to_le_bytes());
    disk[20..24].copy_from_slice(&length.to_le_bytes());
    disk[24..56].copy_from_slice(blake3::hash(state).as_bytes());
    disk[HEADER..needed].copy_from_slice(state);
    Ok(disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrapped_is_unwrapped_and_an_empty_disk_is_a_new_tpm() {
        let disk = wrap(b"state", 4096).unwrap();
        assert_eq!((disk.len(), unwrap(&disk)), (4096, Ok(&b"state"[..])));
        assert_eq!(unwrap(&[0; 512]), Ok(&[][..]));
        assert_eq!(wrap(&[], 512).unwrap(), [0; 512]);
        assert_eq!(unwrap(&wrap(&[7; 448], 512).unwrap()), Ok(&[7; 448][..]));
    }

    #[test]
    fn what_does_not_fit_or_is_no_whole_state_is_told() {
        assert!(wrap(&[7; 449], 512).unwrap_err().contains("513 bytes does not fit"));
        assert!(unwrap(&[0; 63]).is_err());
        let good = wrap(b"state", 512).unwrap();
        for (at, what) in [
            (0, "something else"),
            (16, "newer"),
            (20, "damaged"),
            (23, "damaged"),
            (24, "damaged"),
            (66, "damaged"),
        ] {
            let mut disk = good.clone();
            disk[at] ^= 0x40;
            assert!(unwrap(&disk).unwrap_err().contains(what), "{at}");
        }
    }
}
