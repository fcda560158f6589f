//! The edits of a few bytes that let an installed Windows start from another controller.

use super::Windows;
use super::drivers::{Driver, Number, Role, Setting};
use super::state::Unclean;
use crate::Edit;

/// Why a Windows can't be fitted to hardware. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is not in a state to be edited.
    #[error(transparent)]
    Unclean(#[from] Unclean),
    /// No control set was found.
    #[error("the Windows registry has no settings to start with (no ControlSet); nothing was changed in it")]
    NoControlSet,
    /// The driver is not among those that are looked at.
    #[error("PocketVM does not know how to make Windows start with this driver: {driver}")]
    UnknownDriver {
        /// Its name.
        driver: String,
    },
    /// The file of the driver is not on the volume.
    #[error(
        "the file of the driver that this hardware needs is not in this Windows; nothing was changed in it: {driver}"
    )]
    NoFile {
        /// The name of its service.
        driver: &'static str,
    },
    /// There is no key `Services\DRIVER`.
    #[error(
        "the driver that this hardware needs is not installed in this Windows (its key is missing); nothing was changed in it: {key}"
    )]
    NoService {
        /// Which key.
        key: String,
    },
    /// The key is there, but says not when the driver starts.
    #[error(
        "the driver that this hardware needs is half installed in this Windows (a value is missing); nothing was changed in it: {value}"
    )]
    NoValue {
        /// Which value.
        value: String,
    },
    /// A value is no REG_DWORD of four bytes.
    #[error(
        "a value of the Windows registry is not the number that it has to be; nothing was changed in it: {value}"
    )]
    OtherValue {
        /// Which value.
        value: String,
    },
}

impl Refusal {
    /// The one next thing to do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Refusal::Unclean(reason) => reason.hint(),
            Refusal::NoControlSet => {
                "repair Windows with its installation medium, or take an earlier state of the disk"
            }
            Refusal::UnknownDriver { .. } => {
                "choose hardware that PocketVM knows, or set it up by hand in the running Windows"
            }
            Refusal::NoFile { .. } | Refusal::NoService { .. } => {
                "start the machine where it was used last and install the driver there, or choose another controller in the manifest"
            }
            Refusal::NoValue { .. } => {
                "start the machine where it was used last and install the driver there again, or choose another controller in the manifest"
            }
            Refusal::OtherValue { .. } => {
                "start the machine where it was used last and correct the value in regedit (REG_DWORD 0)"
            }
        }
    }
}

/// The edits that let `windows` start with the drivers `needed`: a value `Start` or `StartOverride\0` that is not 0 becomes 0, in each
/// control set. Empty if that is so already, in whatever state the volume is: then there is nothing to write.
///
/// A driver must be installed in the control set that Windows starts with; in another one that lacks it, nothing is to be changed,
/// since that one can't start on such hardware anyway. Of a network card's driver it is only checked that it is installed.
///
/// # Errors
/// The first reason for which it can't be done; the state of the volume comes before all others.
pub fn plan(windows: &Windows, needed: &[&str]) -> Result<Vec<Edit>, Refusal> {
    let planned = edits(windows, needed);
    match (planned, windows.state.first()) {
        (Ok(edits), _) if edits.is_empty() => Ok(edits),
        (_, Some(reason)) => Err(Refusal::Unclean(*reason)),
        (planned, None) => planned,
    }
}

fn edits(windows: &Windows, needed: &[&str]) -> Result<Vec<Edit>, Refusal> {
    if windows.control_sets.is_empty() {
        return Err(Refusal::NoControlSet);
    }
    // Where the registry doesn't say which one is next, it may be any.
    let any = windows.control_sets.iter().all(|set| !set.current);
    let mut edits = Vec::new();
    for set in &windows.control_sets {
        for name in needed {
            let driver =
                set.driver(name).ok_or_else(|| Refusal::UnknownDriver { driver: (*name).to_owned() })?;
            let key = format!("ControlSet{:03}\\Services\\{}", set.number, driver.name);
            match of_driver(driver, &key) {
                Ok(of_driver) => {
                    for edit in of_driver {
                        // A driver that is named twice is edited once.
                        if !edits.contains(&edit) {
                            edits.push(edit);
                        }
                    }
                }
                Err(refusal) if set.current || any => return Err(refusal),
                Err(_) => {}
            }
        }
    }
    Ok(edits)
}

fn of_driver(driver: &Driver, key: &str) -> Result<Vec<Edit>, Refusal> {
    if !driver.service {
        return Err(Refusal::NoService { key: key.to_owned() });
    }
    if !driver.file {
        return Err(Refusal::NoFile { driver: driver.name });
    }
    if driver.role == Role::Network {
        return Ok(Vec::new());
    }
    let start = format!("{key}\\Start");
    let mut edits = match &driver.start {
        Setting::Absent => return Err(Refusal::NoValue { value: start }),
        Setting::Other { .. } => return Err(Refusal::OtherValue { value: start }),
        Setting::Number(number) => to_zero(number, &start),
    };
    let start_override = format!("{key}\\StartOverride\\0");
    match &driver.start_override {
        Setting::Absent => {}
        Setting::Other { .. } => return Err(Refusal::OtherValue { value: start_override }),
        Setting::Number(number) => edits.extend(to_zero(number, &start_override)),
    }
    Ok(edits)
}

/// The edits that make a number 0; none if it is.
fn to_zero(number: &Number, what: &str) -> Vec<Edit> {
    let bytes = number.value.to_le_bytes();
    let mut rest = bytes.as_slice();
    let mut edits = Vec::new();
    for place in number.places() {
        let (before, after) =
            rest.split_at(rest.len().min(usize::try_from(place.length).unwrap_or(usize::MAX)));
        rest = after;
        if before.iter().any(|byte| *byte != 0) {
            let what = format!("{what}: {} to 0", number.value);
            edits.push(Edit {
                offset: place.offset,
                before: before.to_vec(),
                after: vec![0; before.len()],
                what,
            });
        }
    }
    edits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::windows::ntfs::Piece;

    fn number(value: u32, places: &[(u64, u64)]) -> Number {
        let places = places.iter().map(|&(offset, length)| Piece { offset, length }).collect();
        Number { value, places }
    }

    #[test]
    fn a_number_across_two_runs_is_two_edits() {
        let edits = to_zero(&number(0x0103_0203, &[(100, 1), (5000, 3)]), "x");
        assert_eq!((edits[0].offset, edits[0].before.as_slice()), (100, [3].as_slice()));
        assert_eq!((edits[1].offset, edits[1].before.as_slice()), (5000, [2, 3, 1].as_slice()));
        assert_eq!(edits[1].after, [0; 3]);
    }

    #[test]
    fn a_piece_that_is_zero_already_is_no_edit() {
        let edits = to_zero(&number(3, &[(100, 1), (5000, 3)]), "x");
        assert_eq!(edits.len(), 1);
        assert!(to_zero(&number(0, &[(100, 4)]), "x").is_empty());
    }

    #[test]
    fn every_sentence_says_what_to_do() {
        for refusal in [
            Refusal::Unclean(Unclean::Hibernated),
            Refusal::NoControlSet,
            Refusal::NoFile { driver: "viostor" },
            Refusal::NoService { key: "K".into() },
            Refusal::NoValue { value: "V".into() },
            Refusal::OtherValue { value: "V".into() },
        ] {
            let sentence = refusal.to_string();
            assert!(sentence.contains("nothing was changed"), "{sentence}");
            assert!(!refusal.hint().is_empty() && !refusal.hint().ends_with('.'));
        }
    }
}
