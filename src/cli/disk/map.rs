//! `disk map`: where each part of an image's disk comes from, streamed.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use pocketvm_disk::qcow2::entry::Run;
use pocketvm_disk::qcow2::image::{Image, Role, TableCache};
use pocketvm_disk::storage::{Access, FileStorage};
use serde::Serialize;

use super::args::ImageArgs;
use super::{Desk, failure, look};
use crate::Result;
use crate::cli::json;

/// A part of a disk that comes from one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Extent {
    /// The guest's first byte.
    pub start: u64,
    /// Bytes.
    pub length: u64,
    /// What is there.
    pub kind: Source,
    /// For data: the image file's byte that `start` is at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<u64>,
}

/// Where guest bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// From the image file as they are.
    Data,
    /// Known to be zero.
    Zero,
    /// From compressed clusters.
    Compressed,
    /// From the backing file; zero without one.
    Absent,
}

impl Source {
    fn word(self) -> &'static str {
        match self {
            Source::Data => "data",
            Source::Zero => "zero",
            Source::Compressed => "compressed",
            Source::Absent => "absent",
        }
    }
}

impl Extent {
    fn new(start: u64, end: u64, run: Run) -> Extent {
        let (kind, host) = match run {
            Run::Absent => (Source::Absent, None),
            Run::Zero => (Source::Zero, None),
            Run::Data { host } => (Source::Data, Some(host)),
            Run::Compressed { .. } => (Source::Compressed, None),
        };
        Extent { start, length: end - start, kind, host }
    }

    /// Takes in what follows, if it only continues this one.
    fn absorb(&mut self, next: &Extent) -> bool {
        let continues = self.kind == next.kind
            && self.start + self.length == next.start
            && next.host == self.host.map(|host| host + self.length);
        if continues {
            self.length += next.length;
        }
        continues
    }
}

/// Shows the extents of an image, each as soon as its end is known.
///
/// # Errors
/// It can't be read, is damaged or not supported.
pub fn map(args: &ImageArgs, desk: &Desk<'_>) -> Result<u8> {
    look::settle(args, desk)?;
    let image = FileStorage::open(&args.image, Access::Read)
        .and_then(|storage| Image::open(storage, Role::Overlay))
        .map_err(failure::looking)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut shown = if desk.output.json { Ok(()) } else { headline(&mut out) };
    let mut extents = 0u64;
    let walked = for_each_extent(&image, |extent| {
        extents += 1;
        // A reader that went away is no failure, but there is no use in going on.
        shown = if desk.output.json { json_line(&mut out, extent) } else { text_line(&mut out, extent) };
        shown.is_ok()
    });
    if walked.is_ok() && desk.output.json && shown.is_ok() {
        let end = End { event: "disk-map", image: &args.image, size: image.header().size, extents };
        let _ = json::write(&mut out, &end);
    }
    // What was found goes out before the error that ended it.
    let _ = out.flush();
    walked.map_err(failure::looking)?;
    Ok(0)
}

/// Calls `each` with every extent in order, neighbours joined, until it wants no more.
fn for_each_extent(
    image: &Image<FileStorage>,
    mut each: impl FnMut(&Extent) -> bool,
) -> pocketvm_disk::Result<()> {
    let header = image.header();
    let mut cache = TableCache::default();
    let mut last: Option<Extent> = None;
    let mut at = 0;
    let mut goes_on = true;
    while goes_on && at < header.size {
        let next = image.next_present(&mut cache, at)?.unwrap_or(header.size);
        let end = if next > at { next } else { (at + header.cluster_size()).min(header.size) };
        let mut found = |start, end, run| {
            let extent = Extent::new(start, end, run);
            let is_joined = last.as_mut().is_some_and(|last| last.absorb(&extent));
            if !is_joined && let Some(done) = last.replace(extent) {
                goes_on = goes_on && each(&done);
            }
        };
        if next > at {
            found(at, next, Run::Absent);
        } else {
            image.runs(&mut cache, at, end, found)?;
        }
        at = end;
    }
    if let Some(last) = last.filter(|_| goes_on) {
        each(&last);
    }
    Ok(())
}

fn json_line(out: &mut impl Write, extent: &Extent) -> io::Result<()> {
    #[derive(Serialize)]
    struct Named<'a> {
        event: &'static str,
        #[serde(flatten)]
        extent: &'a Extent,
    }
    json::write(out, &Named { event: "disk-extent", extent })
}

/// The last line of JSON, by which a reader knows that nothing is missing.
#[derive(Serialize)]
struct End<'a> {
    event: &'static str,
    image: &'a Path,
    size: u64,
    extents: u64,
}

fn headline(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{:>18} {:>18}  {:<10} {:>18}", "start", "length", "kind", "host")
}

fn text_line(out: &mut impl Write, extent: &Extent) -> io::Result<()> {
    let Extent { start, length, kind, host } = extent;
    match host {
        Some(host) => writeln!(out, "{start:>#18x} {length:>#18x}  {:<10} {host:>#18x}", kind.word()),
        None => writeln!(out, "{start:>#18x} {length:>#18x}  {}", kind.word()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_continues_an_extent_only_where_the_file_continues_too() {
        let data = |start, host| Extent::new(start, start + 10, Run::Data { host });
        let mut extent = data(0, 100);
        assert!(extent.absorb(&data(10, 110)));
        assert!(!extent.absorb(&data(20, 130)), "elsewhere in the file");
        assert!(!extent.absorb(&data(30, 120)), "a gap on the disk");
        assert!(!extent.absorb(&Extent::new(20, 30, Run::Zero)), "another kind");
        assert_eq!((extent.start, extent.length, extent.host), (0, 20, Some(100)));
    }

    #[test]
    fn compressed_clusters_are_one_extent_wherever_they_are_in_the_file() {
        let packed = |start, host| Extent::new(start, start + 10, Run::Compressed { host, length: 3 });
        let mut extent = packed(0, 77);
        assert!(extent.absorb(&packed(10, 5)));
        assert_eq!((extent.length, extent.host), (20, None));
    }
}
