//! What a base and the layers below it store of the guest's disk, and reading it in the order of the files.

use super::base::Layer;
use crate::error::Result;
use crate::qcow2::entry::Run;
use crate::qcow2::image::TableCache;
use crate::storage::Storage;

/// A run of guest bytes that a layer stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// The first guest byte.
    pub from: u64,
    /// The one behind the last.
    pub to: u64,
    layer: usize,
    /// Data, compressed or not.
    run: Run,
}

impl Stored {
    fn host(&self) -> u64 {
        match self.run {
            Run::Data { host } | Run::Compressed { host, .. } => host,
            Run::Absent | Run::Zero => 0,
        }
    }

    /// Whether `next` goes on where this one ends, in the file as well.
    fn goes_on_in(&self, next: &Stored) -> bool {
        let Run::Data { host } = self.run else { return false };
        let behind = Run::Data { host: host + (self.to - self.from) };
        next.layer == self.layer && next.from == self.to && next.run == behind
    }
}

/// Reads a base and the layers below it: what is stored at all, and in the order of the files.
#[derive(Debug)]
pub struct Reader<'a, S> {
    layers: &'a [Layer<S>],
    caches: Vec<TableCache>,
    /// Of each layer: where it was looked from for the next byte that it stores, and where that is.
    known: Vec<Option<(u64, Option<u64>)>>,
}

impl<'a, S: Storage> Reader<'a, S> {
    /// Reads these layers, the top first.
    pub fn new(layers: &'a [Layer<S>]) -> Self {
        let caches = layers.iter().map(|_| TableCache::default()).collect();
        Reader { layers, caches, known: vec![None; layers.len()] }
    }

    /// As [`Reader::new`], with the tables that another reader of these layers read last.
    pub fn with_caches(layers: &'a [Layer<S>], caches: Vec<TableCache>) -> Self {
        Reader { layers, caches, known: vec![None; layers.len()] }
    }

    /// The tables that were read last.
    pub fn into_caches(self) -> Vec<TableCache> {
        self.caches
    }

    /// Bytes that the guest sees.
    ///
    /// # Errors
    /// The device fails.
    pub fn size(&self) -> Result<u64> {
        match self.layers.first() {
            None => Ok(0),
            Some(Layer::Qcow2(image)) => Ok(image.header().size),
            Some(Layer::Raw(file)) => Ok(file.len()?),
        }
    }

    /// The first guest byte at or after `start` that a layer may store; none if there is none.
    ///
    /// # Errors
    /// A layer is damaged, or the device fails.
    pub fn next_present(&mut self, start: u64) -> Result<Option<u64>> {
        let mut first: Option<u64> = None;
        for ((layer, cache), known) in self.layers.iter().zip(&mut self.caches).zip(&mut self.known) {
            // A layer that stores little is not searched again for every step through one that stores much.
            let still =
                known.filter(|&(from, found)| from <= start && found.is_none_or(|found| found >= start));
            let (from, found) = match (still, layer) {
                (Some(still), _) => still,
                (None, Layer::Qcow2(image)) => (start, image.next_present(cache, start)?),
                (None, Layer::Raw(file)) => {
                    let len = file.len()?;
                    (start, Some(start).filter(|&start| start < len))
                }
            };
            *known = Some((from, found));
            first = first.into_iter().chain(found).min();
        }
        let size = self.size()?;
        Ok(first.filter(|&at| at < size))
    }

    /// What of `start..end` is stored, in guest order.
    ///
    /// # Errors
    /// A layer is damaged, or the device fails.
    pub fn stored(&mut self, start: u64, end: u64) -> Result<Vec<Stored>> {
        let mut found = Vec::new();
        stored(self.layers, &mut self.caches, 0, start, end, &mut found)?;
        Ok(found)
    }

    /// Tells the drive that these will be read.
    pub fn announce(&self, runs: &[Stored]) {
        for run in runs {
            let storage = match &self.layers[run.layer] {
                Layer::Qcow2(image) => image.storage(),
                Layer::Raw(file) => file,
            };
            let len = match run.run {
                Run::Compressed { length, .. } => length,
                _ => run.to - run.from,
            };
            storage.will_read(run.host(), len);
        }
    }

    /// Reads the runs of [`Reader::stored`] into `buf`, which begins at guest byte `start`, in the order in which they lie
    /// in the files: a stick reads small pieces slowly.
    ///
    /// # Errors
    /// A layer is damaged, or the device fails.
    pub fn read_stored(&self, start: u64, runs: &[Stored], buf: &mut [u8]) -> Result<()> {
        let mut runs = runs.to_vec();
        runs.sort_by_key(|run| (run.layer, run.host(), run.from));
        let mut joined: Vec<Stored> = Vec::with_capacity(runs.len());
        for run in runs {
            match joined.last_mut() {
                Some(last) if last.goes_on_in(&run) => last.to = run.to,
                _ => joined.push(run),
            }
        }
        for run in joined {
            let part = &mut buf[(run.from - start) as usize..(run.to - start) as usize];
            match &self.layers[run.layer] {
                Layer::Qcow2(image) => image.read_run(run.from, run.run, part)?,
                Layer::Raw(file) => file.read_at(run.from, part)?,
            }
        }
        Ok(())
    }
}

fn stored<S: Storage>(
    layers: &[Layer<S>],
    caches: &mut [TableCache],
    depth: usize,
    start: u64,
    end: u64,
    found: &mut Vec<Stored>,
) -> Result<()> {
    let (Some((layer, deeper)), Some((cache, caches))) = (layers.split_first(), caches.split_first_mut())
    else {
        return Ok(());
    };
    match layer {
        Layer::Raw(file) => {
            let to = end.min(file.len()?);
            if start < to {
                found.push(Stored { from: start, to, layer: depth, run: Run::Data { host: start } });
            }
        }
        Layer::Qcow2(image) => {
            let mut runs = Vec::new();
            image.runs(cache, start, end, |from, to, run| runs.push((from, to, run)))?;
            for (from, to, run) in runs {
                match run {
                    Run::Data { .. } | Run::Compressed { .. } => {
                        found.push(Stored { from, to, layer: depth, run });
                    }
                    Run::Absent if from < image.header().size => {
                        stored(deeper, caches, depth + 1, from, to, found)?;
                    }
                    Run::Absent | Run::Zero => {}
                }
            }
        }
    }
    Ok(())
}
