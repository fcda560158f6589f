//! Copies of a base for hypervisors that can't read it: on the PC's internal disk, in a format of theirs. A differencing disk
//! over the copy takes the guest's writes ([`create_child`](crate::create_child)); the copy itself is only read.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::merge::Progress;
use crate::merge::base::{Base, Layer};
use crate::merge::shadow::Meter;
use crate::merge::stored::{Reader, Stored};
use crate::overlay::{vhd, vmdk};
use crate::root::{BasePath, Folder, Root};
use crate::storage::{Access, FileStorage, Storage, is_zero};

/// Guest bytes that are read at once: a multiple of every format's blocks.
const WINDOW: u64 = 8 << 20;
/// Bytes of whole blocks that a new image begins with at most: they are held in memory.
const MOST_CONTENT: u64 = 512 << 20;
/// All formats count the disk in these.
const SECTOR: u64 = 512;

/// The format of a base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaseFormat {
    /// A qcow2 image, which may have layers below it.
    Qcow2,
    /// The guest's bytes as they are.
    Raw,
}

/// The format of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyFormat {
    /// VMware's; VirtualBox reads and writes it as well.
    Vmdk,
    /// Microsoft's older one; Hyper-V and VirtualBox read and write it.
    Vhd,
}

impl CopyFormat {
    /// Bytes of a block: what is stored whole or not at all.
    #[must_use]
    pub fn block_size(self) -> u64 {
        match self {
            CopyFormat::Vmdk => vmdk::GRAIN,
            CopyFormat::Vhd => vhd::BLOCK,
        }
    }
}

/// What a copy became.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Copied {
    /// Bytes that the guest sees: those of the base, rounded up to sectors of 512 bytes.
    pub virtual_size: u64,
    /// Bytes that were read from the base.
    pub read: u64,
    /// Bytes of data in the copy, without its tables.
    pub stored: u64,
}

/// Copies the base at `base` (relative to `root`) to the new file `target`, as a whole disk that VirtualBox knows as `uuid`.
///
/// The base is read through its layers, as a merge reads it, and nobody may write to it meanwhile. What it does not store, and
/// what is zero, the copy does not store either. Progress counts the bytes that the base stores.
///
/// # Errors
/// The base or a layer can't be read, or has a feature that a merge refuses; the target exists, or there is no room;
/// [`Error::Cancelled`](crate::Error::Cancelled). The target is removed, and the base never changed.
pub fn copy_base(
    root: &Path,
    base: &str,
    format: BaseFormat,
    target: &Path,
    copy: CopyFormat,
    uuid: [u8; 16],
    progress: &dyn Progress,
) -> Result<Copied> {
    let layers = open(&Folder::new(root), base, format)?;
    let storage = FileStorage::create(target)?;
    write(&layers, &storage, copy, uuid, progress).inspect_err(|_| {
        // The first error is the one that matters.
        let _ = fs_err::remove_file(target);
    })
}

/// Bytes of data that a copy of a base holds at most. Reads the base's tables only.
///
/// # Errors
/// The base can't be read, or has a feature that a merge refuses.
pub fn copy_size(root: &Path, base: &str, format: BaseFormat, copy: CopyFormat) -> Result<u64> {
    let layers = open(&Folder::new(root), base, format)?;
    let mut reader = Reader::new(&layers);
    let block = copy.block_size();
    let (mut blocks, mut next) = (0, 0);
    let mut at = 0;
    while let Some(window) = Window::next(&mut reader, at)? {
        at = window.end;
        for stored in &window.stored {
            let (first, end) = ((stored.from / block).max(next), stored.to.div_ceil(block));
            blocks += end.saturating_sub(first);
            next = next.max(end);
        }
    }
    Ok(blocks * block)
}

/// The guest's bytes of a base, through its layers. Only for small disks: all of it is held in memory.
///
/// # Errors
/// The disk has more than `most` bytes; the base can't be read, or has a feature that a merge refuses.
pub fn read_base(root: &Path, base: &str, format: BaseFormat, most: u64) -> Result<Vec<u8>> {
    let layers = open(&Folder::new(root), base, format)?;
    let mut reader = Reader::new(&layers);
    let size = reader.size()?;
    if size > most {
        return Err(Error::Input(format!("this disk has {size} bytes, more than {most}: {base}")));
    }
    let mut bytes = vec![0; size as usize];
    let mut next = Window::next(&mut reader, 0)?;
    while let Some(Window { start, end, stored }) = next {
        reader.read_stored(start, &stored, &mut bytes[start as usize..end as usize])?;
        next = Window::next(&mut reader, end)?;
    }
    Ok(bytes)
}

/// The base and what lies below it, the top first.
pub(crate) fn open<R: Root>(root: &R, base: &str, format: BaseFormat) -> Result<Vec<Layer<R::File>>> {
    let path = BasePath::new(base)?;
    match format {
        BaseFormat::Qcow2 => Ok(Base::open(root, &path, Access::ReadStable)?.into_layers()),
        BaseFormat::Raw => Ok(vec![Layer::Raw(root.open(&path, Access::ReadStable)?)]),
    }
}

/// A part of the guest's disk that the base stores something of.
#[derive(Debug)]
struct Window {
    start: u64,
    end: u64,
    stored: Vec<Stored>,
}

impl Window {
    /// The first at or after `at`.
    fn next<S: Storage>(reader: &mut Reader<'_, S>, mut at: u64) -> Result<Option<Window>> {
        while let Some(present) = reader.next_present(at)? {
            let start = (present - present % WINDOW).max(at);
            let end = (present - present % WINDOW + WINDOW).min(reader.size()?);
            let stored = reader.stored(start, end)?;
            if !stored.is_empty() {
                return Ok(Some(Window { start, end, stored }));
            }
            at = end;
        }
        Ok(None)
    }

    fn bytes(&self) -> u64 {
        self.stored.iter().map(|stored| stored.to - stored.from).sum()
    }
}

fn write<L: Storage, S: Storage>(
    layers: &[Layer<L>],
    storage: &S,
    copy: CopyFormat,
    uuid: [u8; 16],
    progress: &dyn Progress,
) -> Result<Copied> {
    let mut reader = Reader::new(layers);
    let (mut total, mut at) = (0, 0);
    while let Some(window) = Window::next(&mut reader, at)? {
        total += window.bytes();
        at = window.end;
    }
    let mut meter = Meter::new(progress, total);
    meter.check()?;
    let virtual_size = reader.size()?.next_multiple_of(SECTOR);
    let mut writer = Writer::new(storage, copy, virtual_size, uuid)?;
    let block = copy.block_size();
    let mut stored = 0;
    let mut buf = Vec::new();
    let mut next = Window::next(&mut reader, 0)?;
    while let Some(window) = next {
        // The drive begins with the next one while this one is written.
        next = Window::next(&mut reader, window.end)?;
        if let Some(next) = &next {
            reader.announce(&next.stored);
        }
        buf.clear();
        buf.resize((window.end - window.start) as usize, 0);
        reader.read_stored(window.start, &window.stored, &mut buf)?;
        for (bytes, index) in buf.chunks(block as usize).zip(window.start / block..) {
            if !is_zero(bytes) {
                writer.put(index, bytes)?;
                stored += bytes.len() as u64;
            }
        }
        meter.add(window.bytes())?;
    }
    writer.finish()?;
    Ok(Copied { virtual_size, read: total, stored })
}

/// Makes a new disk of `size` bytes at `target` in a format of copies, which holds `content` (offset and bytes; whole blocks of it are
/// held in memory) and which VirtualBox knows as `uuid`.
///
/// # Errors
/// The size can't be, or the content is not on the disk; the target exists, or there is no room.
pub fn create_disk(
    target: &Path,
    copy: CopyFormat,
    uuid: [u8; 16],
    size: u64,
    content: &[(u64, &[u8])],
) -> Result<()> {
    let blocks = whole_blocks(content, copy.block_size(), size, |_, _| Ok(()))?;
    let storage = FileStorage::create(target)?;
    let fill = || {
        let mut writer = Writer::new(&storage, copy, size, uuid)?;
        for (start, block) in blocks.iter().filter(|(_, block)| !is_zero(block)) {
            writer.put(start / copy.block_size(), block)?;
        }
        writer.finish()
    };
    fill().inspect_err(|_| {
        // The first error is the one that matters.
        let _ = fs_err::remove_file(target);
    })
}

/// Whole blocks of `block` bytes of a disk of `size` bytes around `content` (offset and bytes), by where they begin; the last one
/// may be shorter. `fill` says what else is in a block.
///
/// # Errors
/// Content is not on the disk; what `fill` says.
pub(crate) fn whole_blocks<B: AsRef<[u8]>>(
    content: &[(u64, B)],
    block: u64,
    size: u64,
    fill: impl Fn(u64, &mut [u8]) -> Result<()>,
) -> Result<BTreeMap<u64, Vec<u8>>> {
    let mut blocks = BTreeMap::new();
    let mut room = MOST_CONTENT;
    for (offset, bytes) in content {
        let bytes = bytes.as_ref();
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > size) {
            return Err(Error::Input(format!("content at {offset} is not on the disk")));
        }
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let start = at - at % block;
            let within = (at - start) as usize;
            let whole = match blocks.entry(start) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    room = room
                        .checked_sub(block)
                        .ok_or_else(|| Error::Input("too much of the disk is changed at once".to_owned()))?;
                    let mut whole = vec![0; block.min(size - start) as usize];
                    fill(start, &mut whole)?;
                    entry.insert(whole)
                }
            };
            let count = (bytes.len() - done).min(whole.len() - within);
            whole[within..within + count].copy_from_slice(&bytes[done..done + count]);
            done += count;
        }
    }
    Ok(blocks)
}

/// Writes any format.
enum Writer<'a, S> {
    Vmdk(vmdk::Writer<'a, S>),
    Vhd(vhd::Writer<'a, S>),
}

impl<'a, S: Storage> Writer<'a, S> {
    fn new(storage: &'a S, copy: CopyFormat, size: u64, uuid: [u8; 16]) -> Result<Self> {
        Ok(match copy {
            CopyFormat::Vmdk => Writer::Vmdk(vmdk::Writer::new(storage, size, &vmdk::Ids::whole(uuid))?),
            CopyFormat::Vhd => Writer::Vhd(vhd::Writer::new(storage, size, uuid)?),
        })
    }

    /// Writes the block with this number, which is larger than the one before.
    fn put(&mut self, block: u64, bytes: &[u8]) -> Result<()> {
        match self {
            Writer::Vmdk(writer) => writer.put(block, bytes),
            Writer::Vhd(writer) => writer.put(block, bytes),
        }
    }

    fn finish(self) -> Result<()> {
        match self {
            Writer::Vmdk(writer) => writer.finish(),
            Writer::Vhd(writer) => writer.finish(),
        }
    }
}

/// Makes a differencing disk at `target` over `parent`, the absolute path of a copy that [`copy_base`] made in the same format.
/// VirtualBox knows it as `uuid`. What it says about its parent is read from that. It begins with `content`, whole blocks of the
/// format in guest order ([`View::with`](crate::View::with)); mostly it has none.
///
/// # Errors
/// The parent is no such copy; the content is no such blocks; the target exists, or there is no room.
pub fn create_child(
    target: &Path,
    copy: CopyFormat,
    uuid: [u8; 16],
    parent: &Path,
    content: &[(u64, Vec<u8>)],
) -> Result<()> {
    let block = copy.block_size();
    let mut blocks = Vec::new();
    for (offset, bytes) in content {
        if !offset.is_multiple_of(block) {
            return Err(Error::Input(format!(
                "content at {offset} of a differencing disk is no whole block"
            )));
        }
        blocks
            .extend(bytes.chunks(block as usize).zip(offset / block..).map(|(bytes, index)| (index, bytes)));
    }
    if !blocks.is_sorted_by(|(one, _), (next, _)| one < next) {
        return Err(Error::Input("the content of a differencing disk is not in order".to_owned()));
    }
    match copy {
        CopyFormat::Vmdk => vmdk::create_child(target, uuid, parent, &blocks),
        CopyFormat::Vhd => vhd::create_child(target, uuid, parent, &blocks),
    }
}
