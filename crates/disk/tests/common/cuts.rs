//! What a device may hold after the power was cut: a model of sectors, flushes, orders and lengths.
//!
//! Everything that a file's last flush confirmed is there. Of what came later, each sector holds what it held before, what
//! one of the later writes left, or garbage, whatever the others hold: caches write in any order. The length of a
//! file is any that it had since its flush.
//!
//! Garbage may be a mixture of the old bytes and the new ones. The model has no device that tears a sector and leaves whole
//! bytes of the new content with noise behind them.

use std::collections::BTreeMap;

use pocketvm_disk::storage::memory::{Event, write_into};

use super::Random;

pub type Files = BTreeMap<String, Vec<u8>>;

const SECTOR: usize = 512;

/// What the device holds if all of `events` arrived.
pub fn arrived(before: &Files, events: &[Event]) -> Files {
    let mut files = before.clone();
    for event in events {
        match event {
            Event::Flush { .. } => {}
            // Making and removing a file is durable at once: its folder is flushed.
            Event::SetLen { file, len } => {
                files.entry(file.clone()).or_default().resize(*len as usize, 0);
            }
            Event::Write { file, offset, data } => {
                write_into(files.entry(file.clone()).or_default(), *offset, data);
            }
            Event::Remove { file } => drop(files.remove(file)),
        }
    }
    files
}

/// What the device may hold if the power is cut after some events.
pub struct Pending<'a> {
    durable: Files,
    /// The writes that no flush confirmed, in the order they were made.
    writes: Vec<Write<'a>>,
    /// The sectors that they write to.
    sectors: Vec<Sector<'a>>,
    /// Of each file that they change, the lengths that it had since its last flush.
    lengths: BTreeMap<&'a str, Vec<usize>>,
    /// Garbage may be a mixture.
    mixtures: bool,
}

struct Write<'a> {
    file: &'a str,
    offset: usize,
    data: &'a [u8],
}

struct Sector<'a> {
    file: &'a str,
    start: usize,
    /// Which of the pending writes it takes part in.
    writes: Vec<usize>,
}

/// What became of a sector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It holds what the first so many of its writes left; none of them leaves it as it was.
    Kept(usize),
    /// Something else.
    Garbage,
}

impl<'a> Pending<'a> {
    /// The power is cut after `events`, which began with `before`.
    pub fn after(before: &Files, events: &'a [Event]) -> Self {
        let flush = |name: &str| {
            let last =
                events.iter().rposition(|event| matches!(event, Event::Flush { file } if file == name));
            last.map_or(0, |last| last + 1)
        };
        let mut flushed = BTreeMap::<&str, usize>::new();
        let mut durable = before.clone();
        let (mut writes, mut lengths) = (Vec::new(), BTreeMap::<&str, Vec<usize>>::new());
        for (at, event) in events.iter().enumerate() {
            let file = match event {
                Event::Flush { .. } => continue,
                Event::Remove { file } => {
                    durable.remove(file);
                    writes.retain(|write: &Write<'_>| write.file != file);
                    lengths.remove(&file[..]);
                    continue;
                }
                Event::SetLen { file, .. } | Event::Write { file, .. } => file,
            };
            let bytes = durable.entry(file.clone()).or_default();
            let pending = at >= *flushed.entry(file).or_insert_with(|| flush(file));
            let trace = lengths.entry(file).or_default();
            if !pending {
                trace.clear();
            }
            let length = trace.last().copied().unwrap_or(bytes.len());
            let length = match event {
                Event::SetLen { len, .. } => *len as usize,
                Event::Write { offset, data, .. } => length.max(*offset as usize + data.len()),
                Event::Flush { .. } | Event::Remove { .. } => length,
            };
            match event {
                Event::Write { offset, data, .. } if pending => {
                    writes.push(Write { file, offset: *offset as usize, data });
                }
                Event::Write { offset, data, .. } => write_into(bytes, *offset, data),
                Event::SetLen { len, .. } if !pending => bytes.resize(*len as usize, 0),
                _ => {}
            }
            if pending {
                if trace.is_empty() {
                    trace.push(bytes.len());
                }
                trace.push(length);
            }
        }
        lengths.retain(|_, trace| !trace.is_empty());
        let mut sectors = BTreeMap::<(&str, usize), Vec<usize>>::new();
        for (index, write) in writes.iter().enumerate() {
            for sector in write.offset / SECTOR..(write.offset + write.data.len()).div_ceil(SECTOR) {
                sectors.entry((write.file, sector * SECTOR)).or_default().push(index);
            }
        }
        let sectors =
            sectors.into_iter().map(|((file, start), writes)| Sector { file, start, writes }).collect();
        Pending { durable, writes, sectors, lengths, mixtures: true }
    }

    /// Nothing is mixed: where the old bytes may be garbage, a mixture would be more than the model has.
    #[must_use]
    pub fn in_whole_sectors(self) -> Self {
        Pending { mixtures: false, ..self }
    }

    /// Everything is durable: there is only one way to cut here.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.lengths.is_empty()
    }

    /// How many ways there are for every sector to be old, of any of its writes, or garbage.
    pub fn combinations(&self) -> u64 {
        self.sectors.iter().fold(1, |product, sector| product.saturating_mul(sector.writes.len() as u64 + 2))
    }

    /// The combination with this number, below [`Pending::combinations`].
    pub fn combination(&self, mut number: u64, random: &mut Random) -> Files {
        let fates = self.sectors.iter().map(|sector| {
            let ways = sector.writes.len() as u64 + 2;
            let way = (number % ways) as usize;
            number /= ways;
            if way > sector.writes.len() { Fate::Garbage } else { Fate::Kept(way) }
        });
        let fates: Vec<Fate> = fates.collect();
        self.build(&fates, random)
    }

    /// How many ways there are for one sector to be unlike all others.
    pub fn outliers(&self) -> u64 {
        self.sectors.len() as u64 * 4
    }

    /// All sectors are old, or all are new, except for one.
    pub fn outlier(&self, number: u64, random: &mut Random) -> Files {
        let all = |sector: &Sector<'_>| Fate::Kept(if number & 1 == 0 { 0 } else { sector.writes.len() });
        let mut fates: Vec<Fate> = self.sectors.iter().map(all).collect();
        let at = (number / 4) as usize;
        fates[at] = match (fates[at], number & 2 == 0) {
            (_, true) => Fate::Garbage,
            (Fate::Kept(0), false) => Fate::Kept(self.sectors[at].writes.len()),
            _ => Fate::Kept(0),
        };
        self.build(&fates, random)
    }

    /// Each sector on its own.
    pub fn scattered(&self, random: &mut Random) -> Files {
        // Some cuts lose most, some little, some are clean.
        let (lost, torn) = [(8, 0), (1, 0), (15, 1), (4, 4), (0, 1)][random.below(5) as usize];
        let fates: Vec<Fate> = self
            .sectors
            .iter()
            .map(|sector| match random.below(16) {
                dice if dice < lost => Fate::Kept(random.below(sector.writes.len() as u64) as usize),
                dice if dice < lost + torn => Fate::Garbage,
                _ => Fate::Kept(sector.writes.len()),
            })
            .collect();
        self.build(&fates, random)
    }

    /// The writes arrived one by one in any order, the last one in part.
    pub fn reordered(&self, random: &mut Random) -> Files {
        let mut order: Vec<usize> = (0..self.writes.len()).collect();
        for at in (1..order.len()).rev() {
            order.swap(at, random.below(at as u64 + 1) as usize);
        }
        let whole = random.below(order.len() as u64 + 1) as usize;
        let half = order.get(whole).map(|&write| (write, random.below(3)));
        let fates: Vec<Fate> = self
            .sectors
            .iter()
            .map(|sector| {
                // What lies in the sector is of whichever of its writes arrived last.
                let last =
                    order[..whole].iter().rev().find_map(|write| sector.writes.binary_search(write).ok());
                match half {
                    Some((write, kind)) if sector.writes.contains(&write) && random.below(2) == 0 => {
                        match sector.writes.binary_search(&write) {
                            Ok(at) if kind > 0 => Fate::Kept(at + 1),
                            _ => Fate::Garbage,
                        }
                    }
                    _ => Fate::Kept(last.map_or(0, |at| at + 1)),
                }
            })
            .collect();
        self.build(&fates, random)
    }

    fn build(&self, fates: &[Fate], random: &mut Random) -> Files {
        let mut files = self.durable.clone();
        for (sector, fate) in self.sectors.iter().zip(fates) {
            let count = match fate {
                Fate::Kept(count) => *count,
                Fate::Garbage => sector.writes.len(),
            };
            if count == 0 {
                continue;
            }
            let file = files.get_mut(sector.file).unwrap();
            let old =
                file.get(sector.start..(sector.start + SECTOR).min(file.len())).unwrap_or_default().to_vec();
            for &write in &sector.writes[..count] {
                let write = &self.writes[write];
                let from = sector.start.max(write.offset);
                let to = (sector.start + SECTOR).min(write.offset + write.data.len());
                write_into(file, from as u64, &write.data[from - write.offset..to - write.offset]);
            }
            if *fate == Fate::Garbage {
                let end = (sector.start + SECTOR).min(file.len());
                spoil(&mut file[sector.start..end], self.mixtures.then_some(&old), random);
            }
        }
        for (file, lengths) in &self.lengths {
            let file = files.get_mut(*file).unwrap();
            // A file that only grew may be as long as what arrived of it.
            if random.below(2) == 0 || !lengths.is_sorted() {
                file.resize(lengths[random.below(lengths.len() as u64) as usize], 0);
            }
        }
        files
    }
}

/// Makes garbage of a sector: noise, an erased or a blank page, or the new bytes with the old ones or noise behind.
fn spoil(bytes: &mut [u8], old: Option<&[u8]>, random: &mut Random) {
    match (random.below(7), old) {
        (0, _) => bytes.fill(0xff),
        (1, _) => bytes.fill(0),
        (3, _) => {
            let from = random.below(bytes.len() as u64) as usize;
            bytes[from..].fill_with(|| random.next() as u8);
        }
        (2, Some(old)) => {
            let from = random.below(bytes.len() as u64) as usize;
            for (at, byte) in bytes.iter_mut().enumerate().skip(from) {
                *byte = old.get(at).copied().unwrap_or_default();
            }
        }
        _ => bytes.fill_with(|| random.next() as u8),
    }
}
