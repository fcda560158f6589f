//! Makes VMDKs: a whole disk that is written in guest order, or a child of one.
//!
//! In the file: header, descriptor, redundant grain directory and tables, grain directory and tables, data. All tables are there
//! from the beginning, which VirtualBox and VMware do as well, so a child grows by what the guest writes and nothing else.

use std::fmt::Write as _;
use std::path::Path;

use uuid::Uuid;

use super::descriptor::NO_PARENT;
use super::{ENTRIES, HEADER, MAGIC, NEWLINES, REDUNDANT, SECTOR};
use crate::error::{Error, Refusal, Result};
use crate::overlay::output::{Appender, Entries, check_blocks};
use crate::overlay::source::{Source, le};
use crate::storage::{Access, FileStorage, Storage};

/// Bytes of a grain: what all programs use.
pub(crate) const GRAIN: u64 = 64 * 1024;
/// Sectors of the descriptor: likewise.
const DESCRIPTOR: u64 = 20;
/// Pieces of a grain directory that are written at once, in entries.
const PIECE: u64 = 16 * 1024;

/// What a VMDK is known by.
#[derive(Debug, Clone)]
pub(crate) struct Ids {
    /// VirtualBox's name for it.
    image: Uuid,
    /// Changes with the content, for VirtualBox.
    modification: Uuid,
    /// The same for VMware and QEMU.
    cid: u32,
    parent: Option<Parent>,
}

/// The file that a child lies over.
#[derive(Debug, Clone)]
struct Parent {
    image: Uuid,
    modification: Uuid,
    cid: u32,
    /// Its absolute path.
    path: String,
}

impl Ids {
    /// Those of a whole disk with this UUID.
    pub fn whole(image: [u8; 16]) -> Self {
        Ids::new(image, None)
    }

    fn new(image: [u8; 16], parent: Option<Parent>) -> Self {
        let modification = Uuid::new_v4();
        let random = Uuid::new_v4().into_bytes();
        // The two largest mean that there is none.
        let cid = (le::u32(&random, 0) & 0x7fff_ffff).max(1);
        Ids { image: Uuid::from_bytes(image), modification, cid, parent }
    }
}

/// Where things are in a file of ours, in bytes.
#[derive(Debug)]
struct Layout {
    size: u64,
    /// How many grain tables there are.
    tables: u64,
    redundant_directory: u64,
    redundant_tables: u64,
    directory: u64,
    grain_tables: u64,
    data: u64,
}

impl Layout {
    fn new(size: u64) -> Result<Self> {
        if size == 0 || !size.is_multiple_of(SECTOR) {
            return Err(Error::Input(format!("a VMDK can't have a disk of {size} bytes")));
        }
        let grains = size.div_ceil(GRAIN);
        let tables = grains.div_ceil(ENTRIES);
        let directory_len = (tables * 4).next_multiple_of(SECTOR);
        let tables_len = tables * ENTRIES * 4;
        let redundant_directory = (1 + DESCRIPTOR) * SECTOR;
        let redundant_tables = redundant_directory + directory_len;
        let directory = redundant_tables + tables_len;
        let grain_tables = directory + directory_len;
        let data = (grain_tables + tables_len).next_multiple_of(GRAIN);
        // A sector's number has 32 bits.
        if data.checked_add(grains * GRAIN).is_none_or(|end| end / SECTOR > u64::from(u32::MAX)) {
            return Err(Error::Input(format!("a disk of {size} bytes is too large for a VMDK")));
        }
        Ok(Layout { size, tables, redundant_directory, redundant_tables, directory, grain_tables, data })
    }

    fn header(&self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&MAGIC);
        le::put_u32(&mut header, 4, 1);
        le::put_u32(&mut header, 8, NEWLINES | REDUNDANT);
        le::put_u64(&mut header, 12, self.size / SECTOR);
        le::put_u64(&mut header, 20, GRAIN / SECTOR);
        le::put_u64(&mut header, 28, 1);
        le::put_u64(&mut header, 36, DESCRIPTOR);
        le::put_u32(&mut header, 44, ENTRIES as u32);
        le::put_u64(&mut header, 48, self.redundant_directory / SECTOR);
        le::put_u64(&mut header, 56, self.directory / SECTOR);
        le::put_u64(&mut header, 64, self.data / SECTOR);
        header[73..77].copy_from_slice(b"\n \r\n");
        header
    }

    /// Writes everything but the grain tables, which are empty, and the data.
    fn write<S: Storage>(&self, storage: &S, ids: &Ids) -> Result<()> {
        let mut start = self.header().to_vec();
        start.extend(descriptor(self.size, ids, storage.name())?);
        storage.write_at(0, &start)?;
        for (directory, tables) in
            [(self.redundant_directory, self.redundant_tables), (self.directory, self.grain_tables)]
        {
            for first in (0..self.tables).step_by(PIECE as usize) {
                let piece = first..(first + PIECE).min(self.tables);
                let bytes: Vec<u8> = piece
                    .flat_map(|index| (((tables + index * ENTRIES * 4) / SECTOR) as u32).to_le_bytes())
                    .collect();
                storage.write_at(directory + first * 4, &bytes)?;
            }
        }
        Ok(storage.set_len(self.data)?)
    }
}

/// The descriptor's sectors.
fn descriptor(size: u64, ids: &Ids, file: &str) -> Result<Vec<u8>> {
    let name = Path::new(file).file_name().and_then(|name| name.to_str()).unwrap_or("disk.vmdk");
    let (parent_cid, hint) = match &ids.parent {
        Some(parent) => (parent.cid, format!("parentFileNameHint=\"{}\"\n", parent.path)),
        None => (NO_PARENT, String::new()),
    };
    let (parent, parent_modification) =
        ids.parent.as_ref().map_or((Uuid::nil(), Uuid::nil()), |parent| (parent.image, parent.modification));
    // What a PC's firmware makes of any disk of this size; nothing looks at it but very old guests.
    let (heads, sectors) = (16, 63);
    let cylinders = (size / SECTOR / (heads * sectors)).clamp(1, 16383);
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID={cid:08x}\nparentCID={parent_cid:08x}\n\
         createType=\"monolithicSparse\"\n{hint}\n# Extent description\nRW {count} SPARSE \"{name}\"\n\n\
         # The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\nddb.adapterType = \"ide\"\n\
         ddb.geometry.cylinders = \"{cylinders}\"\nddb.geometry.heads = \"{heads}\"\n\
         ddb.geometry.sectors = \"{sectors}\"\nddb.uuid.image = \"{image}\"\nddb.uuid.parent = \"{parent}\"\n\
         ddb.uuid.modification = \"{modification}\"\nddb.uuid.parentmodification = \"{parent_modification}\"\n",
        cid = ids.cid,
        count = size / SECTOR,
        image = ids.image,
        modification = ids.modification,
    );
    let room = (DESCRIPTOR * SECTOR) as usize;
    // A program that changes a line needs some room, and a zero byte ends the text.
    if text.len() > room - SECTOR as usize {
        return Err(Error::Input(format!("the names of the files are too long for a VMDK: {file}")));
    }
    let mut bytes = text.into_bytes();
    bytes.resize(room, 0);
    Ok(bytes)
}

/// A whole disk that is being written.
#[derive(Debug)]
pub(crate) struct Writer<'a, S> {
    storage: &'a S,
    data: Appender<'a, S>,
    tables: [Entries<'a, S>; 2],
}

impl<'a, S: Storage> Writer<'a, S> {
    /// Begins a whole disk of `size` bytes on an empty storage.
    ///
    /// # Errors
    /// The size is no multiple of 512, or too large; the device fails.
    pub fn new(storage: &'a S, size: u64, ids: &Ids) -> Result<Self> {
        Writer::laid_out(storage, &Layout::new(size)?, ids)
    }

    fn laid_out(storage: &'a S, layout: &Layout, ids: &Ids) -> Result<Self> {
        layout.write(storage, ids)?;
        let entries = |start| Entries::new(storage, start, layout.tables * ENTRIES, 0);
        Ok(Writer {
            storage,
            data: Appender::new(storage, layout.data),
            tables: [entries(layout.redundant_tables), entries(layout.grain_tables)],
        })
    }

    /// Writes the grain with this number, which is larger than the one before.
    ///
    /// # Errors
    /// The device fails.
    pub fn put(&mut self, grain: u64, bytes: &[u8]) -> Result<()> {
        let sector = (self.data.end() / SECTOR) as u32;
        for table in &mut self.tables {
            table.set(grain, sector.to_le_bytes())?;
        }
        self.data.put(bytes)?;
        // The last one of the disk may be shorter.
        let rest = self.data.end().next_multiple_of(GRAIN) - self.data.end();
        self.data.put(&vec![0; rest as usize])
    }

    /// Writes the rest and makes all of it durable.
    ///
    /// # Errors
    /// The device fails.
    pub fn finish(mut self) -> Result<()> {
        self.data.finish()?;
        for table in &mut self.tables {
            table.finish()?;
        }
        Ok(self.storage.flush()?)
    }
}

/// Makes a child, named `uuid`, of the whole disk at `parent` (absolute), with these grains by their number, in order.
///
/// # Errors
/// The parent is no VMDK of ours that stands alone; a grain is not on it or not whole; the target exists, or there is no room.
pub fn create_child(target: &Path, uuid: [u8; 16], parent: &Path, grains: &[(u64, &[u8])]) -> Result<()> {
    let (size, parent) = read_parent(parent)?;
    let layout = Layout::new(size)?;
    check_blocks(grains, GRAIN, size)?;
    let storage = FileStorage::create(target)?;
    let ids = Ids::new(uuid, Some(parent));
    let fill = || {
        let mut writer = Writer::laid_out(&storage, &layout, &ids)?;
        grains.iter().try_for_each(|(grain, bytes)| writer.put(*grain, bytes))?;
        writer.finish()
    };
    fill().inspect_err(|_| {
        // The first error is the one that matters.
        let _ = fs_err::remove_file(target);
    })
}

/// The virtual size of a parent, and how a child names it.
fn read_parent(path: &Path) -> Result<(u64, Parent)> {
    let name = path
        .to_str()
        .filter(|name| path.is_absolute() && !name.contains(|c: char| c == '"' || c.is_control()))
        .ok_or_else(|| {
            Error::Input(format!("the parent's path can't be written down: {}", path.display()))
        })?;
    let source = Source::new(FileStorage::open(path, Access::Read)?)?;
    if super::super::detect(&source)? != super::super::Format::Vmdk {
        return Err(source.refuse(Refusal::NotParent));
    }
    let (header, descriptor) = super::read(&source)?;
    match (descriptor.uuid("image"), descriptor.uuid("modification")) {
        (Some(image), Some(modification)) if !descriptor.has_parent() => {
            Ok((header.size, Parent { image, modification, cid: descriptor.cid, path: name.to_owned() }))
        }
        _ => Err(source.refuse(Refusal::NotParent)),
    }
}
