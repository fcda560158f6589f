//! What a request costs the flash: the time it takes, and the bytes that are written for it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::{EraseBlocks, Model, Speeds};

/// The unit that a page remembers as written, in bytes.
const SECTOR: u64 = 512;

/// What one request costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// The device is busy for so long.
    pub time: Duration,
    /// Bytes written to the flash: whole pages, and copies.
    pub flash: u64,
}

impl Cost {
    fn moving(bytes: u64, speed: u64) -> Duration {
        // Below 2^64 for every request that can be made: bytes of at most a few MiB.
        Duration::from_nanos(bytes * 1_000_000_000 / speed)
    }
}

/// The flash of one stick.
#[derive(Debug)]
pub struct Flash {
    speeds: Option<Speeds>,
    /// Blocks that can be written, the one that was written last at the end.
    open: VecDeque<OpenBlock>,
}

/// A block that was erased and is being filled.
#[derive(Debug)]
struct OpenBlock {
    index: u64,
    /// Of each page, a bit for each sector that was written since the block was opened.
    written: Vec<u64>,
}

impl OpenBlock {
    fn unwritten_pages(&self) -> u64 {
        self.written.iter().filter(|sectors| **sectors == 0).count() as u64
    }
}

impl Flash {
    /// The flash of a stick of that model, no block open.
    pub fn new(model: Model) -> Self {
        Flash { speeds: model.speeds(), open: VecDeque::new() }
    }

    /// What reading `bytes` in one request costs.
    pub fn read(&self, bytes: u64) -> Cost {
        let time = self.speeds.map_or(Duration::ZERO, |it| it.request + Cost::moving(bytes, it.read));
        Cost { time, flash: 0 }
    }

    /// What a flush costs.
    pub fn flush(&self) -> Cost {
        Cost { time: self.speeds.map_or(Duration::ZERO, |it| it.request), flash: 0 }
    }

    /// Writes `bytes` (not zero) at `offset` in one request.
    pub fn write(&mut self, offset: u64, bytes: u64) -> Cost {
        let Some(speeds) = self.speeds else { return Cost::default() };
        let mut cost = Cost { time: speeds.request, flash: 0 };
        let end = offset + bytes;
        let mut at = offset;
        while at < end {
            let part_end = end.min(at - at % speeds.page + speeds.page);
            if let Some(blocks) = speeds.blocks {
                self.open_for(at, part_end, speeds, blocks, &mut cost);
            }
            cost.time += Cost::moving(speeds.page, speeds.write);
            cost.flash += speeds.page;
            at = part_end;
        }
        cost
    }

    /// Has the block open that `at..end`, a part of one page, is in, and notes that this part is written.
    fn open_for(&mut self, at: u64, end: u64, speeds: Speeds, blocks: EraseBlocks, cost: &mut Cost) {
        let index = at / blocks.size;
        let page = (at % blocks.size / speeds.page) as usize;
        let first = at % speeds.page / SECTOR;
        let count = (end - 1) % speeds.page / SECTOR - first + 1;
        let sectors = (u64::MAX >> (64 - count)) << first;

        let mut block = match self.open.iter().position(|open| open.index == index) {
            Some(position) => {
                // The position was just found.
                let mut block = self.open.remove(position).unwrap_or_else(|| unreachable!());
                // The sectors behind those written are a continuation, which the device's own buffer joins. Over
                // what is written, flash can't write.
                if block.written[page] & sectors != 0 {
                    close(&block, speeds, blocks, cost);
                    block.written.fill(0);
                }
                block
            }
            None => {
                if self.open.len() == blocks.open
                    && let Some(oldest) = self.open.pop_front()
                {
                    close(&oldest, speeds, blocks, cost);
                }
                OpenBlock { index, written: vec![0; (blocks.size / speeds.page) as usize] }
            }
        };
        block.written[page] |= sectors;
        self.open.push_back(block);
    }
}

/// Copies what was not written of the block, so that another one can be opened.
fn close(block: &OpenBlock, speeds: Speeds, blocks: EraseBlocks, cost: &mut Cost) {
    let rest = block.unwritten_pages() * speeds.page;
    if rest > 0 {
        cost.time += Cost::moving(rest, blocks.copy) + blocks.close;
        cost.flash += rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const PAGE: u64 = 16 << 10;
    const BLOCK: u64 = 4 << 20;

    fn millis(cost: Cost) -> f64 {
        cost.time.as_secs_f64() * 1000.0
    }

    #[test]
    fn a_random_write_of_four_kibibytes_takes_a_cheap_stick_73_milliseconds() {
        let mut flash = Flash::new(Model::Cheap);
        let mut random = Random(1);
        let mut total = Cost::default();
        for _ in 0..1000 {
            let cost = flash.write(random.below(1 << 21) * 4096, 4096);
            total.time += cost.time;
            total.flash += cost.flash;
        }
        let each = millis(total) / 1000.0;
        assert!((72.0..74.0).contains(&each), "{each} ms");
        assert!(total.flash > 990 * BLOCK, "nearly each copies a whole block: {}", total.flash);
    }

    #[test]
    fn writing_on_and_on_has_the_full_speed_and_copies_nothing() {
        let mut flash = Flash::new(Model::Cheap);
        let total: f64 = (0..400).map(|n| flash.write(n << 20, 1 << 20)).map(millis).sum();
        let speed = 400.0 * 1.048_576 / (total / 1000.0);
        assert!((29.0..30.0).contains(&speed), "{speed} MB/s");
        assert_eq!(flash.write(400 << 20, 1 << 20).flash, 1 << 20);
    }

    #[test]
    fn a_part_of_a_page_costs_a_page_and_a_write_across_two_costs_both() {
        let mut flash = Flash::new(Model::Good);
        assert_eq!(flash.write(0, 512).flash, PAGE);
        assert_eq!(flash.write(PAGE - 512, 1024).flash, 2 * PAGE);
        assert_eq!(flash.write(PAGE, 2 * PAGE), flash.write(0, 2 * PAGE));
    }

    #[test]
    fn five_places_can_be_written_in_turn_and_a_sixth_closes_the_one_that_waited_longest() {
        let mut flash = Flash::new(Model::Cheap);
        for page in 0..3 {
            for block in 0..5 {
                assert_eq!(flash.write(block * BLOCK + page * PAGE, PAGE).flash, PAGE);
            }
        }
        // Block 0 has three pages and is the oldest.
        assert_eq!(flash.write(5 * BLOCK, PAGE).flash, PAGE + BLOCK - 3 * PAGE);
        // Block 1 goes next, not block 5; and 2 is spared since it was written meanwhile.
        assert_eq!(flash.write(2 * BLOCK + 3 * PAGE, PAGE).flash, PAGE);
        assert_eq!(flash.write(6 * BLOCK, PAGE).flash, PAGE + BLOCK - 3 * PAGE);
        assert_eq!(flash.write(2 * BLOCK + 4 * PAGE, PAGE).flash, PAGE);
    }

    #[test]
    fn a_page_is_written_over_only_by_copying_its_block() {
        let mut flash = Flash::new(Model::Cheap);
        flash.write(0, PAGE);
        flash.write(PAGE, 4096);
        let again = flash.write(PAGE, 4096);
        assert_eq!(again.flash, BLOCK - 2 * PAGE + PAGE);
        assert!(millis(again) > 70.0);
        // Opened anew: what follows is written as before.
        assert_eq!(flash.write(2 * PAGE, PAGE).flash, PAGE);
    }

    #[test]
    fn the_rest_of_a_page_may_follow_in_its_own_request() {
        let mut flash = Flash::new(Model::Cheap);
        for part in 0..4 {
            assert_eq!(flash.write(part * 4096, 4096).flash, PAGE);
        }
        assert!(flash.write(3 * 4096, 512).flash > PAGE);
    }

    #[test]
    fn a_block_that_was_filled_is_closed_for_nothing() {
        let mut flash = Flash::new(Model::Cheap);
        flash.write(0, BLOCK);
        for block in 1..5 {
            flash.write(block * BLOCK, PAGE);
        }
        assert_eq!(flash.write(5 * BLOCK, PAGE).flash, PAGE);
    }

    #[test]
    fn reading_and_flushing_write_nothing() {
        let flash = Flash::new(Model::Cheap);
        assert_eq!(flash.read(1_000_000).time, Duration::from_micros(10_400));
        assert_eq!(flash.flush().time, Duration::from_micros(400));
        assert_eq!((flash.read(4096).flash, flash.flush().flash), (0, 0));
    }

    #[test]
    fn without_a_model_nothing_takes_time() {
        let mut flash = Flash::new(Model::Instant);
        assert_eq!(flash.write(4096, 1 << 20), Cost::default());
        assert_eq!((flash.read(4096), flash.flush()), (Cost::default(), Cost::default()));
    }
}
