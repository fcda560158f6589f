//! An open base with the layers below it: a base may have backing files, as long as all of them lie on the drive.

use std::path::Path;

use crate::error::{Error, Refusal, Result};
use crate::generation::GenerationId;
use crate::qcow2::entry::Run;
use crate::qcow2::extensions::HashRoot;
use crate::qcow2::image::{Image, Role, TableCache};
use crate::root::{BasePath, Folder, Root};
use crate::storage::{Access, Storage, read_padded};

/// More layers than this are a mistake, or a circle.
const MAX_LAYERS: usize = 16;

/// A layer below a base; only ever read.
#[derive(Debug)]
pub enum Layer<S> {
    /// A qcow2 image.
    Qcow2(Box<Image<S>>),
    /// The guest's bytes as they are.
    Raw(S),
}

/// An open base.
#[derive(Debug)]
pub struct Base<S> {
    /// The base itself.
    pub image: Image<S>,
    /// What shows through it, the next layer first.
    pub below: Vec<Layer<S>>,
    /// Where each of these is.
    pub names: Vec<LayerName>,
}

/// Where a layer is, and in which format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerName {
    /// The path, below the root.
    pub path: BasePath,
    /// `qcow2` or `raw`.
    pub format: &'static str,
}

/// Where the layer below `image` is, which lies at `path`. None if it stands alone.
///
/// The name is text from a drive that may be anybody's: it has to be a relative path that stays inside the root, and
/// the format has to be named, as a guessed one would be the guest's choice.
pub fn below<S: Storage>(path: &BasePath, image: &Image<S>) -> Result<Option<LayerName>> {
    let Some(name) = image.backing() else { return Ok(None) };
    let refuse = |why| Error::Refused { why, image: image.storage().name().to_owned() };
    let path = path.sibling(name).map_err(|_| refuse(Refusal::BackingOutside))?;
    let format = match image.extensions().backing_format.as_deref() {
        Some("qcow2") => "qcow2",
        Some("raw") => "raw",
        _ => return Err(refuse(Refusal::BackingFormat)),
    };
    Ok(Some(LayerName { path, format }))
}

/// The layers below the qcow2 base at `base` (relative to `root`), the next one first; none if it stands alone. Reads only.
///
/// What a merge would refuse is refused here: a base or layer that is damaged or has a feature that is not handled, a layer
/// outside of `root` or without a named format, a base whose header block has no room for what a merge puts there. So a
/// caller who gives the layers to another program has them from a base that can be merged into, and that program need not
/// follow a name in an image.
///
/// # Errors
/// As above; a file can't be read, or another program writes to a layer.
pub fn layers(root: &Path, base: &str) -> Result<Vec<LayerName>> {
    let Base { image, names, .. } = Base::open(&Folder::new(root), &BasePath::new(base)?, Access::Read)?;
    let mut header = image.header().clone();
    header.upgrade();
    let mut extensions = image.extensions().clone();
    extensions.generation.get_or_insert_with(GenerationId::random);
    extensions.hashes.get_or_insert(HashRoot { offset: 0, chunks: 0, digest: [0; 16] });
    header
        .encode(&extensions, image.backing())
        .map_err(|why| Error::Refused { why, image: image.storage().name().to_owned() })?;
    Ok(names)
}

impl<S: Storage> Base<S> {
    /// Opens the base at `path` and every layer below it.
    ///
    /// # Errors
    /// One of them can't be opened, is damaged, has a feature that is not handled or lies outside of the root.
    pub fn open<R: Root<File = S>>(root: &R, path: &BasePath, access: Access) -> Result<Self> {
        let image = Image::open(root.open(path, access)?, Role::Base)?;
        let (mut layers, mut names) = (Vec::new(), Vec::new());
        let mut next = below(path, &image)?;
        while let Some(name) = next {
            let LayerName { path, format } = name.clone();
            names.push(name);
            if layers.len() == MAX_LAYERS {
                let why = Refusal::BackingDepth(MAX_LAYERS);
                return Err(Error::Refused { why, image: image.storage().name().to_owned() });
            }
            let file = root.open(&path, Access::ReadStable)?;
            if format == "raw" {
                layers.push(Layer::Raw(file));
                break;
            }
            let layer = Image::open(file, Role::Overlay)?;
            next = below(&path, &layer)?;
            layers.push(Layer::Qcow2(Box::new(layer)));
        }
        Ok(Base { image, below: layers, names })
    }

    /// The base itself and every layer below it, the top first.
    pub fn into_layers(self) -> Vec<Layer<S>> {
        let mut layers = vec![Layer::Qcow2(Box::new(self.image))];
        layers.extend(self.below);
        layers
    }

    /// Reads what shows through the base.
    pub fn reader_below(&self) -> Below<'_, S> {
        Below { layers: &self.below, caches: self.below.iter().map(|_| TableCache::default()).collect() }
    }

    /// Bytes that the guest sees of the next layer; none if there is none.
    ///
    /// # Errors
    /// The device fails.
    pub fn size_below(&self) -> Result<Option<u64>> {
        Ok(match self.below.first() {
            None => None,
            Some(Layer::Qcow2(image)) => Some(image.header().size),
            Some(Layer::Raw(file)) => Some(file.len()?),
        })
    }
}

/// Reads the layers below a base, each with the table that it used last.
#[derive(Debug)]
pub struct Below<'a, S> {
    layers: &'a [Layer<S>],
    caches: Vec<TableCache>,
}

impl<S: Storage> Below<'_, S> {
    /// Whether there is nothing below.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Reads guest bytes; what no layer has reads as zeroes.
    ///
    /// # Errors
    /// A layer is damaged, or the device fails.
    pub fn read(&mut self, start: u64, buf: &mut [u8]) -> Result<()> {
        read(self.layers, &mut self.caches, start, buf)
    }
}

fn read<S: Storage>(
    layers: &[Layer<S>],
    caches: &mut [TableCache],
    start: u64,
    buf: &mut [u8],
) -> Result<()> {
    let (Some((layer, deeper)), Some((cache, caches))) = (layers.split_first(), caches.split_first_mut())
    else {
        buf.fill(0);
        return Ok(());
    };
    match layer {
        Layer::Raw(file) => Ok(read_padded(file, start, buf)?),
        Layer::Qcow2(image) => {
            let mut runs = Vec::new();
            image.runs(cache, start, start + buf.len() as u64, |from, to, run| runs.push((from, to, run)))?;
            for (from, to, run) in runs {
                let part = &mut buf[(from - start) as usize..(to - start) as usize];
                if run == Run::Absent && from < image.header().size {
                    read(deeper, caches, from, part)?;
                } else {
                    image.read_run(from, run, part)?;
                }
            }
            Ok(())
        }
    }
}
