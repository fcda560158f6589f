//! The FUSE file system with the one file `disk`, which a loop device is put on.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyWrite, Request, Session, WriteFlags,
};

use crate::device::Control;

/// The file's name.
pub const DISK: &str = "disk";
const DISK_INODE: INodeNo = INodeNo(2);
/// Nothing about the file ever changes.
const FOR_EVER: Duration = Duration::from_secs(1 << 30);
/// The most bytes of one request: what a stick on USB 3 gets.
const LARGEST: u32 = 1 << 20;
/// So many requests can be in the device's queue.
const QUEUE: usize = 4;

struct Disk {
    control: Control,
    size: u64,
}

/// Serves the device of `size` bytes as a file in the folder `mount`, until the session is dropped.
///
/// # Errors
/// It can't be mounted: no root, no `/dev/fuse`.
pub fn serve(control: Control, size: u64, mount: &Path) -> io::Result<BackgroundSession> {
    let mut config = Config::default();
    config.mount_options =
        vec![MountOption::FSName("pocketvm-stick".to_owned()), MountOption::NoSuid, MountOption::NoDev];
    config.n_threads = Some(QUEUE);
    Session::new(Disk { control, size }, mount, &config)?.spawn()
}

impl Disk {
    fn attributes(&self, inode: INodeNo) -> Option<FileAttr> {
        let (kind, size) = match inode {
            INodeNo::ROOT => (FileType::Directory, 0),
            DISK_INODE => (FileType::RegularFile, self.size),
            _ => return None,
        };
        Some(FileAttr {
            ino: inode,
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm: 0o700,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

impl Filesystem for Disk {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // What the kernel doesn't offer makes requests smaller or fewer at once, not wrong.
        let _ = config.add_capabilities(InitFlags::FUSE_ASYNC_DIO);
        config
            .set_max_write(LARGEST)
            .map_err(|most| io::Error::other(format!("requests can't be larger than {most} bytes")))?;
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.attributes(DISK_INODE).filter(|_| parent == INodeNo::ROOT && name == DISK) {
            Some(attributes) => reply.entry(&FOR_EVER, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _request: &Request, inode: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(inode) {
            Some(attributes) => reply.attr(&FOR_EVER, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _request: &Request, _inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        // Everything must reach the device, and what the kernel queues must be in its queue.
        let flags = FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES;
        reply.opened(FileHandle(0), flags);
    }

    fn read(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let arrival = Instant::now();
        let mut bytes = vec![0; u64::from(size).min(self.size.saturating_sub(offset)) as usize];
        match self.control.read(arrival, offset, &mut bytes) {
            Ok(()) => reply.data(&bytes),
            Err(error) => reply.error(error.into()),
        }
    }

    fn write(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let arrival = Instant::now();
        if offset + data.len() as u64 > self.size {
            return reply.error(Errno::ENOSPC);
        }
        match self.control.write(arrival, offset, data) {
            // The kernel never sends more than LARGEST.
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(error.into()),
        }
    }

    fn fsync(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _data_only: bool,
        reply: ReplyEmpty,
    ) {
        match self.control.flush(Instant::now()) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error.into()),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // The closing of a file: nothing that a device would notice.
        reply.ok();
    }

    fn fallocate(&self, _: &Request, _: INodeNo, _: FileHandle, _: u64, _: u64, _: i32, reply: ReplyEmpty) {
        // Hardly a stick takes trim.
        reply.error(Errno::EOPNOTSUPP);
    }
}
