//! The calls into Windows that the standard library does not make: the only unsafe code of the package, but for one call in
//! [`display`](super::display).
//!
//! Each function makes one call. What makes it sound is the same everywhere: paths end in a zero and live as long
//! as the call, buffers are passed with their true lengths, and handles are borrowed from open files.
#![allow(unsafe_code)]

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::windows::ffi::{OsStrExt, OsStringExt};
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::path::{Component, Path, PathBuf, Prefix};
use std::ptr::{null, null_mut};
use std::sync::OnceLock;

use windows_sys::Win32::Foundation::{
    ERROR_NO_DATA, ERROR_PIPE_CONNECTED, GetLastError, INVALID_HANDLE_VALUE, LocalFree, NO_ERROR,
};
use windows_sys::Win32::Security::Authorization::{
    ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows_sys::Win32::Security::{PSECURITY_DESCRIPTOR, SECURITY_ATTRIBUTES};
use windows_sys::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, BusType1394, BusTypeMmc, BusTypeSd, BusTypeUsb,
    FILE_FLAG_FIRST_PIPE_INSTANCE, GetCompressedFileSizeW, GetDiskFreeSpaceExW, GetDriveTypeW,
    GetFileInformationByHandle, GetLogicalDrives, GetVolumeInformationW, GetVolumePathNameW,
    INVALID_FILE_SIZE, PIPE_ACCESS_OUTBOUND,
};
use windows_sys::Win32::System::Console::{FreeConsole, GetConsoleProcessList};
use windows_sys::Win32::System::IO::DeviceIoControl;
use windows_sys::Win32::System::Ioctl::{
    IOCTL_STORAGE_QUERY_PROPERTY, PropertyStandardQuery, STORAGE_DEVICE_DESCRIPTOR, STORAGE_PROPERTY_QUERY,
    StorageDeviceProperty,
};
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JobObjectExtendedLimitInformation, SetInformationJobObject,
};
use windows_sys::Win32::System::Pipes::{
    ConnectNamedPipe, CreateNamedPipeW, PIPE_READMODE_BYTE, PIPE_REJECT_REMOTE_CLIENTS, PIPE_TYPE_BYTE,
    PIPE_UNLIMITED_INSTANCES, PIPE_WAIT,
};
use windows_sys::Win32::System::Power::{ES_CONTINUOUS, ES_SYSTEM_REQUIRED, SetThreadExecutionState};
use windows_sys::Win32::UI::WindowsAndMessaging::AllowSetForegroundWindow;

/// `FILE_READ_ONLY_VOLUME` of `winnt.h`.
const READ_ONLY_VOLUME: u32 = 0x0008_0000;

fn wide(path: &Path) -> Vec<u16> {
    path.as_os_str().encode_wide().chain([0]).collect()
}

fn text(buffer: &[u16]) -> String {
    let end = buffer.iter().position(|unit| *unit == 0).unwrap_or(buffer.len());
    String::from_utf16_lossy(&buffer[..end])
}

/// The system call's result as one of ours; 0 is failure.
fn check(result: i32) -> io::Result<()> {
    if result == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes the process `child` end when this one does, however that ends: Windows closes the last handle of the job.
pub(super) fn end_with_us(child: BorrowedHandle<'_>) -> io::Result<()> {
    static JOB: OnceLock<OwnedHandle> = OnceLock::new();
    let job = match JOB.get() {
        Some(job) => job,
        None => {
            let job = job()?;
            JOB.get_or_init(|| job)
        }
    };
    // SAFETY: see the module.
    check(unsafe { AssignProcessToJobObject(job.as_raw_handle(), child.as_raw_handle()) })
}

/// A job whose processes end with its last handle.
fn job() -> io::Result<OwnedHandle> {
    // SAFETY: takes nothing.
    let job = unsafe { CreateJobObjectW(null(), null()) };
    if job.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just made and nobody else has it.
    let job = unsafe { OwnedHandle::from_raw_handle(job) };
    let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
    limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
    // SAFETY: see the module.
    check(unsafe {
        SetInformationJobObject(
            job.as_raw_handle(),
            JobObjectExtendedLimitInformation,
            (&raw const limits).cast(),
            size_of_val(&limits) as u32,
        )
    })?;
    Ok(job)
}

/// Bytes that a file takes on its disk.
pub(super) fn allocated(path: &Path) -> io::Result<u64> {
    let path = wide(path);
    let mut high = 0;
    // SAFETY: see the module.
    let low = unsafe { GetCompressedFileSizeW(path.as_ptr(), &mut high) };
    // SAFETY: takes nothing.
    if low == INVALID_FILE_SIZE && unsafe { GetLastError() } != NO_ERROR {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::from(high) << 32 | u64::from(low))
}

/// The number of a file in its volume.
pub(super) fn file_number(path: &Path) -> io::Result<Option<u64>> {
    let file = fs_err::File::open(path)?;
    let mut information = BY_HANDLE_FILE_INFORMATION::default();
    // SAFETY: see the module.
    check(unsafe { GetFileInformationByHandle(file.as_raw_handle(), &mut information) })?;
    Ok(Some(u64::from(information.nFileIndexHigh) << 32 | u64::from(information.nFileIndexLow)))
}

/// `path` without `\\?\`, if it has that and means a disk or a share.
pub(super) fn plain(path: &Path) -> Option<PathBuf> {
    let mut parts = path.components();
    let Some(Component::Prefix(prefix)) = parts.next() else { return None };
    let mut plain = match prefix.kind() {
        Prefix::VerbatimDisk(letter) => OsString::from(format!("{}:", char::from(letter))),
        Prefix::VerbatimUNC(server, share) => {
            let mut start = OsString::from(r"\\");
            start.push(server);
            start.push(r"\");
            start.push(share);
            start
        }
        _ => return None,
    };
    plain.push(parts.as_path());
    Some(plain.into())
}

/// The root of the volume on which `path` lies: `E:\`.
pub(super) fn volume_root(path: &Path) -> io::Result<PathBuf> {
    let path = wide(path);
    let mut buffer = vec![0; path.len().max(300)];
    let length = u32::try_from(buffer.len()).map_err(io::Error::other)?;
    // SAFETY: see the module.
    check(unsafe { GetVolumePathNameW(path.as_ptr(), buffer.as_mut_ptr(), length) })?;
    let end = buffer.iter().position(|unit| *unit == 0).unwrap_or(buffer.len());
    Ok(OsString::from_wide(&buffer[..end]).into())
}

/// What a volume says about itself.
pub(super) struct Information {
    /// `NTFS`, `exFAT`, `FAT32`.
    pub(super) file_system: String,
    /// The serial number.
    pub(super) serial: u32,
    /// Nothing can be written.
    pub(super) read_only: bool,
}

/// What the volume with this root says about itself.
pub(super) fn volume_information(root: &Path) -> io::Result<Information> {
    let root = wide(root);
    let (mut serial, mut flags, mut name) = (0, 0, [0; 64]);
    // SAFETY: see the module; what is not asked for is null.
    let result = unsafe {
        GetVolumeInformationW(
            root.as_ptr(),
            null_mut(),
            0,
            &mut serial,
            null_mut(),
            &mut flags,
            name.as_mut_ptr(),
            name.len() as u32,
        )
    };
    check(result)?;
    Ok(Information { file_system: text(&name), serial, read_only: flags & READ_ONLY_VOLUME != 0 })
}

/// Bytes in all, and bytes that this user can still write.
pub(super) fn room(path: &Path) -> io::Result<(u64, u64)> {
    let path = wide(path);
    let (mut free, mut total) = (0, 0);
    // SAFETY: see the module.
    check(unsafe { GetDiskFreeSpaceExW(path.as_ptr(), &mut free, &mut total, null_mut()) })?;
    Ok((total, free))
}

/// What `GetDriveTypeW` tells.
pub(super) enum DriveKind {
    /// Sticks, cards, optical disks.
    Removable,
    /// Disks, whether built in or not.
    Fixed,
    /// Network shares.
    Remote,
    /// RAM disks.
    Memory,
    /// Anything else.
    Unknown,
}

/// How the system classes the volume with this root.
pub(super) fn drive_kind(root: &Path) -> DriveKind {
    let root = wide(root);
    // SAFETY: see the module. The numbers are those of `winbase.h`, DRIVE_REMOVABLE to DRIVE_RAMDISK.
    match unsafe { GetDriveTypeW(root.as_ptr()) } {
        2 | 5 => DriveKind::Removable,
        3 => DriveKind::Fixed,
        4 => DriveKind::Remote,
        6 => DriveKind::Memory,
        _ => DriveKind::Unknown,
    }
}

/// The roots of all drive letters.
pub(super) fn drive_letters() -> Vec<PathBuf> {
    // SAFETY: takes nothing.
    let letters = unsafe { GetLogicalDrives() };
    (0..26)
        .filter(|bit| letters & 1 << bit != 0)
        .map(|bit| format!("{}:\\", char::from(b'A' + bit)).into())
        .collect()
}

/// Whether the disk of the volume with this root hangs on a bus that people unplug; none if it does not tell.
pub(super) fn is_external(root: &Path) -> Option<bool> {
    let letter = root.to_str()?.get(..2).filter(|letter| letter.ends_with(':'))?;
    // No access rights are needed to ask, so that this works without being an administrator.
    let device: File = File::options().access_mode(0).open(format!(r"\\.\{letter}")).ok()?;
    let query = STORAGE_PROPERTY_QUERY {
        PropertyId: StorageDeviceProperty,
        QueryType: PropertyStandardQuery,
        AdditionalParameters: [0],
    };
    let mut answer = STORAGE_DEVICE_DESCRIPTOR::default();
    let mut length = 0;
    // SAFETY: see the module. The answer is cut to the fixed part, which holds the bus.
    let result = unsafe {
        DeviceIoControl(
            device.as_raw_handle(),
            IOCTL_STORAGE_QUERY_PROPERTY,
            (&raw const query).cast(),
            size_of_val(&query) as u32,
            (&raw mut answer).cast(),
            size_of_val(&answer) as u32,
            &mut length,
            null::<std::ffi::c_void>().cast_mut().cast(),
        )
    };
    check(result).ok()?;
    Some([BusTypeUsb, BusType1394, BusTypeSd, BusTypeMmc].contains(&answer.BusType) || answer.RemovableMedia)
}

/// The system does not sleep as long as the calling thread lives. Whether it agreed.
pub(super) fn keep_awake() -> bool {
    // SAFETY: takes a number; 0 is failure.
    unsafe { SetThreadExecutionState(ES_CONTINUOUS | ES_SYSTEM_REQUIRED) != 0 }
}

/// Who may do what, as Windows has it in memory.
struct Descriptor(PSECURITY_DESCRIPTOR);

impl Descriptor {
    /// The owner may do everything and nobody else anything.
    fn owner_only() -> io::Result<Descriptor> {
        let text = wide(Path::new("D:P(A;;GA;;;OW)"));
        let mut descriptor = null_mut();
        // SAFETY: see the module; the length of what comes is not asked for.
        check(unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &mut descriptor,
                null_mut(),
            )
        })?;
        Ok(Descriptor(descriptor))
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: it comes from the call above, and nobody else has it.
        unsafe { LocalFree(self.0) };
    }
}

/// One end of a pipe that only this user can read, and only on this PC. The first end is made only if nobody has a
/// pipe of that name.
pub(super) fn pipe(name: &str, first: bool) -> io::Result<File> {
    let descriptor = Descriptor::owner_only()?;
    let attributes = SECURITY_ATTRIBUTES {
        nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
        lpSecurityDescriptor: descriptor.0,
        bInheritHandle: 0,
    };
    let name = wide(Path::new(name));
    // SAFETY: see the module; the descriptor lives as long as the call.
    let handle = unsafe {
        CreateNamedPipeW(
            name.as_ptr(),
            PIPE_ACCESS_OUTBOUND | if first { FILE_FLAG_FIRST_PIPE_INSTANCE } else { 0 },
            PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
            PIPE_UNLIMITED_INSTANCES,
            16,
            16,
            0,
            &raw const attributes,
        )
    };
    if handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just made and nobody else has it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) }.into())
}

/// Waits until somebody opens the other end of `pipe`, or has opened it, even if it was closed again.
pub(super) fn wait_for_reader(pipe: &File) -> io::Result<()> {
    // SAFETY: see the module; the pipe was made for calls that wait.
    match check(unsafe { ConnectNamedPipe(pipe.as_raw_handle(), null_mut()) }) {
        Err(error)
            if [ERROR_PIPE_CONNECTED, ERROR_NO_DATA]
                .iter()
                .any(|code| error.raw_os_error() == Some(code.cast_signed())) =>
        {
            Ok(())
        }
        result => result,
    }
}

/// The process may put its window to the front, if we may.
pub(super) fn let_to_the_front(process: u32) {
    // SAFETY: takes a number. If the system refuses, nothing has changed.
    unsafe { AllowSetForegroundWindow(process) };
}

/// The console goes away if no other program uses it.
pub fn leave_own_console() {
    let mut users = [0; 2];
    // SAFETY: the buffer and its length in elements; more users than that are only counted.
    let count = unsafe { GetConsoleProcessList(users.as_mut_ptr(), 2) };
    if count == 1 {
        // SAFETY: no arguments. Nothing was read from it or written to it yet, and a failure leaves it there.
        unsafe { FreeConsole() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_a_disk_or_share_is_written_plainly_and_any_other_stays() {
        for (path, expected) in [
            (r"\\?\E:\Müllers drive\x", Some(r"E:\Müllers drive\x")),
            (r"\\?\E:\", Some(r"E:\")),
            (r"\\?\UNC\server\share\x", Some(r"\\server\share\x")),
            (r"\\?\Volume{00000000-0000-0000-0000-000000000005}\x", None),
            (r"E:\x", None),
        ] {
            assert_eq!(plain(Path::new(path)), expected.map(PathBuf::from), "{path}");
        }
        let long = "a".repeat(300);
        assert_eq!(
            plain(&PathBuf::from(format!(r"\\?\E:\{long}"))),
            Some(PathBuf::from(format!(r"E:\{long}"))),
            "a long path stays below the folder that it is in"
        );
    }

    #[test]
    fn the_root_of_a_volume_is_its_letter() {
        let folder = tempfile::tempdir().unwrap();
        let root = volume_root(&crate::host::file::canonical(folder.path()).unwrap()).unwrap();
        assert!(drive_letters().contains(&root), "{}", root.display());
    }
}
