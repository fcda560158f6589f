//! How the window is to look and speak: kept on the drive, so that it is the same on every PC and no PC keeps anything.

use serde::{Deserialize, Serialize};

use super::{Drive, state};
use crate::Result;

/// What the user chose for the window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Dark or light.
    pub look: Look,
    /// `en`, `de`; none follows the PC, and so does one that the window does not speak.
    pub language: Option<String>,
    /// How large everything is, in percent: from [`Settings::SMALLEST`] to [`Settings::LARGEST`].
    pub size: u16,
}

/// Dark or light.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Look {
    /// As the PC is set.
    #[default]
    System,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

impl Settings {
    /// Least [`Settings::size`].
    pub const SMALLEST: u16 = 75;
    /// Greatest [`Settings::size`].
    pub const LARGEST: u16 = 200;
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { look: Look::default(), language: None, size: 100 }
    }
}

impl Drive {
    /// The window's settings; the defaults if there are none that can be read.
    #[must_use]
    pub fn read_settings(&self) -> Settings {
        let read: Settings = self.read_record(&state::WINDOW).ok().flatten().unwrap_or_default();
        Settings { size: read.size.clamp(Settings::SMALLEST, Settings::LARGEST), ..read }
    }

    /// Remembers the window's settings.
    ///
    /// # Errors
    /// [`Kind::Drive`](crate::Kind::Drive): the drive can't be written.
    pub fn write_settings(&self, settings: &Settings) -> Result<()> {
        self.prepare_state()?;
        self.write_record(&state::WINDOW, settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::tests::new_drive;

    #[test]
    fn settings_are_remembered_and_a_crafted_size_is_not_believed() {
        let (_folder, drive) = new_drive();
        assert_eq!(drive.read_settings(), Settings::default());
        let chosen = Settings { look: Look::Dark, language: Some("de".into()), size: 150 };
        drive.write_settings(&chosen).unwrap();
        assert_eq!(drive.read_settings(), chosen);
        drive.write_settings(&Settings { size: 60_000, ..chosen }).unwrap();
        assert_eq!(drive.read_settings().size, Settings::LARGEST);
    }
}
