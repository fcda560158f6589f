//! `packaging/make-stick.sh` makes a drive that the program accepts.
#![cfg(unix)]
#![allow(missing_docs)]

use std::path::Path;
use std::process::{Command, Output};

fn make(arguments: &[&Path]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/make-stick.sh");
    Command::new(script).args(arguments).env("POCKETVM_SLACK", "8").output().expect("bash is missing")
}

#[test]
fn a_stick_made_from_two_disk_images_is_healthy() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("disk.img");
    std::fs::write(&image, vec![7; 3 << 20]).unwrap();
    let stick = folder.path().join("Mein Stück");
    let made = make(&[&stick, Path::new(r#"The "best" \ PC"#), &image, &image]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    let checked = Command::new(env!("CARGO_BIN_EXE_pocketvm")).arg("check").arg(&stick).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success() && said.contains("The drive is healthy"), "{said}");
    let drive = pocketvm::drive::Drive::open(&stick).unwrap();
    assert_eq!(drive.manifest().machine.name.as_str(), r#"The "best" \ PC"#);
    assert_eq!(drive.manifest().disks.iter().map(|disk| disk.keep).collect::<Vec<_>>(), [false, true]);

    // The disk that is kept has room that was written, not a hole.
    use std::os::unix::fs::MetadataExt;
    let [system, user] = ["system", "user"]
        .map(|disk| std::fs::metadata(stick.join(format!("disks/{disk}/base.qcow2"))).unwrap());
    assert_eq!(user.len(), system.len() + (8 << 20));
    assert!(user.blocks() * 512 >= 8 << 20);
}

#[test]
fn a_folder_that_holds_something_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("precious"), "x").unwrap();
    let made = make(&[folder.path(), Path::new("PC"), Path::new("/dev/null")]);
    assert!(!made.status.success());
    assert!(String::from_utf8_lossy(&made.stderr).contains("not empty"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
