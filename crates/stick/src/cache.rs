//! What is on the stick: durable bytes, those of its volatile write cache, and what a power cut leaves of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::random::Random;

/// The smallest thing that is read or written.
pub const SECTOR: usize = 512;
/// What a power cut keeps or loses as a whole, unless it tears it.
const PAGE: usize = 4096;

/// What a power cut does to pages that were written since the last flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Each is as before or as written.
    Whole,
    /// Some are torn: a part of their sectors is as before, a part as written.
    Torn,
    /// Some are torn, and what was written of some is random bytes.
    Garbage,
}

/// A power cut to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// It comes when so many more bytes have been written. The write that reaches this fails.
    pub after: u64,
    /// What it does to what is not durable.
    pub fate: Fate,
    /// Decides which pages are kept.
    pub seed: u64,
}

/// Pages of which some sectors are there.
#[derive(Debug, Default)]
struct Pages(BTreeMap<u64, Page>);

#[derive(Debug)]
struct Page {
    bytes: Box<[u8; PAGE]>,
    /// A bit for each sector that is there.
    sectors: u8,
    /// Of all bytes that were written, the last one that came here.
    stamp: u64,
}

impl Page {
    fn new() -> Self {
        Page { bytes: Box::new([0; PAGE]), sectors: 0, stamp: 0 }
    }

    /// The sectors that are there, as offsets in the page.
    fn present(&self) -> impl Iterator<Item = usize> + use<> {
        let sectors = self.sectors;
        (0..PAGE / SECTOR).filter(move |sector| sectors & (1 << sector) != 0).map(|sector| sector * SECTOR)
    }
}

impl Pages {
    /// Takes `data` in; offset and length are multiples of a sector.
    fn put(&mut self, offset: u64, data: &[u8], stamp: u64) {
        for (index, sector) in data.chunks(SECTOR).enumerate() {
            let at = offset + (index * SECTOR) as u64;
            let page = self.0.entry(at / PAGE as u64).or_insert_with(Page::new);
            let within = (at % PAGE as u64) as usize;
            page.bytes[within..within + SECTOR].copy_from_slice(sector);
            page.sectors |= 1 << (within / SECTOR);
            page.stamp = stamp;
        }
    }

    /// Lays what is there over `buf`, which was read at `offset`.
    fn overlay(&self, offset: u64, buf: &mut [u8]) {
        let end = offset + buf.len() as u64;
        for (index, page) in self.0.range(offset / PAGE as u64..end.div_ceil(PAGE as u64)) {
            for within in page.present() {
                let at = index * PAGE as u64 + within as u64;
                if at >= offset && at < end {
                    let to = (at - offset) as usize;
                    buf[to..to + SECTOR].copy_from_slice(&page.bytes[within..within + SECTOR]);
                }
            }
        }
    }
}

/// The bytes of a stick.
#[derive(Debug)]
pub struct Store {
    file: File,
    /// Durable as well, but in memory, so that it can be taken back. `None`: the file is changed.
    held: Option<Pages>,
    /// The write cache. `None`: what is written is durable.
    volatile: Option<Pages>,
    /// A flush leaves so many of the bytes that were written last in the cache.
    lie: u64,
    /// Bytes written so far.
    written: u64,
    /// The cut to come, and the value of `written` at which it does.
    armed: Option<(u64, Cut)>,
    pulled: bool,
}

impl Store {
    /// What is in `file`; without a cache.
    pub fn new(file: File) -> Self {
        Store { file, held: None, volatile: None, lie: 0, written: 0, armed: None, pulled: false }
    }

    /// Reads. Offset and length are multiples of a sector.
    ///
    /// # Errors
    /// EIO after a cut; EINVAL for a part of a sector; the file can't be read.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.ready(offset, buf.len())?;
        self.file.read_exact_at(buf, offset)?;
        for pages in self.held.iter().chain(&self.volatile) {
            pages.overlay(offset, buf);
        }
        Ok(())
    }

    /// Writes. Offset and length are multiples of a sector.
    ///
    /// # Errors
    /// As [`Store::read`], and EIO from the write that meets the cut.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.ready(offset, data.len())?;
        let met = self.armed.filter(|(at, _)| self.written + data.len() as u64 >= *at);
        let Some((at, cut)) = met else { return self.take(offset, data) };
        let unit = if cut.fate == Fate::Whole { PAGE as u64 } else { SECTOR as u64 };
        let end = offset + at.saturating_sub(self.written).min(data.len() as u64);
        self.take(offset, &data[..(end - end % unit).saturating_sub(offset) as usize])?;
        self.cut(cut.fate, cut.seed)?;
        Err(pulled())
    }

    fn take(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.written += data.len() as u64;
        match &mut self.volatile {
            Some(pages) => pages.put(offset, data, self.written),
            None => keep(&self.file, &mut self.held, offset, data, self.written)?,
        }
        Ok(())
    }

    /// Makes what was written durable, as far as this device is honest.
    ///
    /// # Errors
    /// EIO after a cut; the file can't be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.ready(0, 0)?;
        let honest_until = self.written.saturating_sub(self.lie);
        let Some(volatile) = &mut self.volatile else { return Ok(()) };
        for (index, page) in volatile.0.extract_if(.., |_, page| page.stamp <= honest_until) {
            keep_page(&self.file, &mut self.held, index, &page)?;
        }
        Ok(())
    }

    /// The power fails now: a random choice of what is in the cache becomes durable, the rest is lost.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn cut(&mut self, fate: Fate, seed: u64) -> io::Result<()> {
        self.armed = None;
        self.pulled = true;
        let Some(volatile) = &mut self.volatile else { return Ok(()) };
        let mut random = Random(seed);
        // Some cuts lose nearly everything, some nearly nothing.
        let kept = [0, 10, 50, 90, 100][random.below(5) as usize];
        let (torn, garbage) = match fate {
            Fate::Whole => (0, 0),
            Fate::Torn => (20, 0),
            Fate::Garbage => (10, 10),
        };
        for (index, mut page) in std::mem::take(&mut volatile.0) {
            if random.percent(torn) {
                page.sectors &= random.number() as u8;
            } else if random.percent(garbage) {
                random.fill(&mut page.bytes[..]);
            } else if !random.percent(kept) {
                continue;
            }
            keep_page(&self.file, &mut self.held, index, &page)?;
        }
        Ok(())
    }

    /// Arms a cut; any earlier one is forgotten.
    pub fn arm(&mut self, cut: Cut) {
        self.armed = Some((self.written + cut.after, cut));
    }

    /// Forgets a cut that did not come.
    pub fn disarm(&mut self) {
        self.armed = None;
    }

    /// Whether the power failed and it was not plugged in again.
    pub fn is_pulled(&self) -> bool {
        self.pulled
    }

    /// Plugs it in again.
    pub fn plug_in(&mut self) {
        self.pulled = false;
    }

    /// From now on, what is not flushed is lost by a cut. A device that lies keeps the last `lie` bytes in its cache
    /// even when it is flushed. What was written before is durable.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn cache(&mut self, lie: u64) -> io::Result<()> {
        self.write_through()?;
        self.lie = lie;
        self.volatile = Some(Pages::default());
        Ok(())
    }

    /// From now on, and for what was written before: durable at once.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write_through(&mut self) -> io::Result<()> {
        for (index, page) in self.volatile.take().unwrap_or_default().0 {
            keep_page(&self.file, &mut self.held, index, &page)?;
        }
        Ok(())
    }

    /// Remembers the durable state, to go back to it.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn remember(&mut self) -> io::Result<()> {
        for (index, page) in self.held.take().unwrap_or_default().0 {
            keep_page(&self.file, &mut None, index, &page)?;
        }
        self.held = Some(Pages::default());
        Ok(())
    }

    /// Goes back to the state that was remembered, plugged in.
    pub fn go_back(&mut self) {
        for pages in self.held.iter_mut().chain(&mut self.volatile) {
            pages.0.clear();
        }
        self.armed = None;
        self.pulled = false;
    }

    fn ready(&self, offset: u64, len: usize) -> io::Result<()> {
        if self.pulled {
            return Err(pulled());
        }
        if !offset.is_multiple_of(SECTOR as u64) || !len.is_multiple_of(SECTOR) {
            return Err(rustix::io::Errno::INVAL.into());
        }
        Ok(())
    }
}

fn pulled() -> io::Error {
    rustix::io::Errno::IO.into()
}

fn keep_page(file: &File, held: &mut Option<Pages>, index: u64, page: &Page) -> io::Result<()> {
    for within in page.present() {
        let at = index * PAGE as u64 + within as u64;
        keep(file, held, at, &page.bytes[within..within + SECTOR], page.stamp)?;
    }
    Ok(())
}

/// Makes `data` durable.
fn keep(file: &File, held: &mut Option<Pages>, offset: u64, data: &[u8], stamp: u64) -> io::Result<()> {
    match held {
        Some(pages) => {
            pages.put(offset, data, stamp);
            Ok(())
        }
        None => file.write_all_at(data, offset),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SIZE: u64 = 1 << 20;
    const PAGES: u64 = SIZE / PAGE as u64;

    fn store() -> Store {
        let file = tempfile::tempfile().unwrap();
        file.set_len(SIZE).unwrap();
        Store::new(file)
    }

    fn page(byte: u8) -> Vec<u8> {
        vec![byte; PAGE]
    }

    fn read(store: &Store, page: u64) -> Vec<u8> {
        let mut bytes = vec![0; PAGE];
        store.read(page * PAGE as u64, &mut bytes).unwrap();
        bytes
    }

    fn fill(store: &mut Store, byte: u8) {
        for index in 0..PAGES {
            store.write(index * PAGE as u64, &page(byte)).unwrap();
        }
    }

    /// Everything is 1 and durable, then written as 2 and not flushed.
    fn half_written() -> Store {
        let mut store = store();
        store.cache(0).unwrap();
        fill(&mut store, 1);
        store.flush().unwrap();
        fill(&mut store, 2);
        store
    }

    #[test]
    fn what_is_flushed_survives_every_cut() {
        for seed in 0..50 {
            let mut store = store();
            store.cache(0).unwrap();
            fill(&mut store, 7);
            store.flush().unwrap();
            store.cut(Fate::Garbage, seed).unwrap();
            store.plug_in();
            for index in 0..PAGES {
                assert_eq!(read(&store, index), page(7));
            }
        }
    }

    #[test]
    fn of_what_is_not_flushed_each_page_is_old_or_new_and_both_occur() {
        let (mut old, mut new) = (0, 0);
        for seed in 0..50 {
            let mut store = half_written();
            store.cut(Fate::Whole, seed).unwrap();
            store.plug_in();
            for index in 0..PAGES {
                match read(&store, index) {
                    bytes if bytes == page(1) => old += 1,
                    bytes if bytes == page(2) => new += 1,
                    other => panic!("neither old nor new: {:?}", &other[..8]),
                }
            }
        }
        assert!(old > 1000 && new > 1000, "{old} old, {new} new");
    }

    #[test]
    fn a_torn_page_is_old_or_new_in_each_sector() {
        let mut torn = 0;
        for seed in 0..20 {
            let mut store = half_written();
            store.cut(Fate::Torn, seed).unwrap();
            store.plug_in();
            for index in 0..PAGES {
                let bytes = read(&store, index);
                for sector in bytes.chunks(SECTOR) {
                    assert!(sector.iter().all(|byte| *byte == sector[0]) && [1, 2].contains(&sector[0]));
                }
                torn += u32::from(bytes.contains(&1) && bytes.contains(&2));
            }
        }
        assert!(torn > 100, "{torn} torn pages");
    }

    #[test]
    fn garbage_is_neither_old_nor_new() {
        let mut store = half_written();
        store.cut(Fate::Garbage, 3).unwrap();
        store.plug_in();
        let spoiled =
            (0..PAGES).filter(|index| !read(&store, *index).iter().all(|byte| [1, 2].contains(byte)));
        assert!(spoiled.count() > 5);
    }

    #[test]
    fn the_same_seed_keeps_the_same_pages() {
        let state = |seed| {
            let mut store = half_written();
            store.cut(Fate::Garbage, seed).unwrap();
            store.plug_in();
            (0..PAGES).flat_map(|index| read(&store, index)).collect::<Vec<_>>()
        };
        assert!(state(5) == state(5));
        assert!(state(5) != state(6));
    }

    #[test]
    fn the_write_that_meets_the_cut_arrives_up_to_it_and_everything_after_it_fails() {
        let mut store = store();
        store.arm(Cut { after: 5000, fate: Fate::Torn, seed: 1 });
        store.write(0, &page(1)).unwrap();
        assert_eq!(store.write(4096, &page(1)).unwrap_err().raw_os_error(), Some(5));
        assert!(store.is_pulled());
        let mut bytes = page(0);
        assert_eq!(store.read(0, &mut bytes).unwrap_err().raw_os_error(), Some(5));
        assert_eq!(store.write(0, &bytes).unwrap_err().raw_os_error(), Some(5));
        assert_eq!(store.flush().unwrap_err().raw_os_error(), Some(5));
        store.plug_in();
        let second = read(&store, 1);
        assert_eq!((&second[..512], &second[512..]), (&page(1)[..512], &page(0)[512..]));
    }

    #[test]
    fn a_cut_that_tears_nothing_keeps_whole_pages_of_the_write_that_meets_it() {
        let mut store = store();
        store.arm(Cut { after: 5000, fate: Fate::Whole, seed: 1 });
        store.write(512, &page(1).repeat(2)).unwrap_err();
        store.plug_in();
        assert_eq!(read(&store, 0)[512..], page(1)[512..]);
        assert_eq!(read(&store, 1), page(0));
    }

    #[test]
    fn a_lying_flush_keeps_the_last_bytes_volatile_and_makes_the_rest_durable() {
        let mut lost = 0;
        for seed in 0..20 {
            let mut store = store();
            store.cache(10 * PAGE as u64).unwrap();
            fill(&mut store, 9);
            store.flush().unwrap();
            store.cut(Fate::Whole, seed).unwrap();
            store.plug_in();
            for index in 0..PAGES - 10 {
                assert_eq!(read(&store, index), page(9));
            }
            lost += (PAGES - 10..PAGES).filter(|index| read(&store, *index) == page(0)).count();
        }
        assert!(lost > 20, "{lost} pages lost");
    }

    #[test]
    fn what_is_in_the_cache_is_read_sector_by_sector_over_what_is_durable() {
        let mut store = store();
        store.write(0, &page(1)).unwrap();
        store.cache(0).unwrap();
        store.write(512, &page(2)[..1024]).unwrap();
        let mut bytes = vec![0; 2048];
        store.read(512, &mut bytes).unwrap();
        assert_eq!((&bytes[..1024], &bytes[1024..]), (&page(2)[..1024], &page(1)[..1024]));
    }

    #[test]
    fn going_back_takes_back_what_was_written_flushed_and_cut_since() {
        let mut store = half_written();
        store.write_through().unwrap();
        store.remember().unwrap();
        store.cache(0).unwrap();
        fill(&mut store, 3);
        store.flush().unwrap();
        fill(&mut store, 4);
        store.cut(Fate::Garbage, 1).unwrap();
        store.go_back();
        for index in 0..PAGES {
            assert_eq!(read(&store, index), page(2));
        }
    }

    #[test]
    fn remembering_again_moves_the_state_to_go_back_to() {
        let mut store = store();
        store.remember().unwrap();
        fill(&mut store, 3);
        store.remember().unwrap();
        fill(&mut store, 4);
        store.go_back();
        assert_eq!(read(&store, 0), page(3));
        let mut bytes = page(0);
        store.file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(bytes, page(3));
    }
}
