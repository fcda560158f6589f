//! Which folder sessions get when the user points at one.

use std::path::PathBuf;

use uuid::Uuid;

/// Name of the folder that is made in one that has other things in it: only we may look into ours.
const NAME: &str = "PocketVM";

/// The folder of all sessions for `chosen`: the one that holds it if it is a session's, itself if it holds sessions, else
/// a folder of ours in it.
pub fn within(chosen: PathBuf) -> PathBuf {
    let is_session = |name: Option<&std::ffi::OsStr>| {
        name.and_then(|name| name.to_str()).is_some_and(|name| Uuid::try_parse(name).is_ok())
    };
    if is_session(chosen.file_name())
        && let Some(folder) = chosen.parent()
    {
        return folder.to_owned();
    }
    let mut entries = std::fs::read_dir(&chosen).into_iter().flatten().flatten();
    if entries.any(|entry| is_session(Some(&entry.file_name()))) {
        return chosen;
    }
    chosen.join(NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_leads_to_the_folder_of_all_and_anything_else_gets_a_folder_of_ours() {
        let folder = tempfile::tempdir().unwrap();
        let chosen = folder.path().to_owned();
        std::fs::write(chosen.join("photo.png"), "").unwrap();
        assert_eq!(within(chosen.clone()), chosen.join(NAME));
        let session = chosen.join(Uuid::from_u128(5).to_string());
        std::fs::create_dir(&session).unwrap();
        assert_eq!(within(session), chosen);
        assert_eq!(within(chosen.clone()), chosen);
    }
}
