//! What a merge is asked for: pairs of a base and an overlay, and whether that makes sense, before anything is made or
//! changed.

use std::path::{Path, PathBuf};

use pocketvm_disk::qcow2::image::{Image, Role};
use pocketvm_disk::root::BasePath;
use pocketvm_disk::storage::{Access, FileStorage, Storage as _};
use pocketvm_disk::{BaseState, Error as Engine, GenerationId, Overlay, Refusal};

use super::args::MergeArgs;
use super::failure;
use super::record::{Base, Place};
use crate::host::file::canonical;
use crate::{Error, Kind, Result};

/// One base and its overlay.
pub struct Pair {
    /// The base.
    pub base: Base,
    /// The base is a raw disk.
    pub is_raw: bool,
    /// The overlay.
    pub overlay: PathBuf,
    /// What the base must be at.
    pub expected: Option<GenerationId>,
}

/// The pairs of the command line, each base with its place below the record.
///
/// # Errors
/// They are no pairs, or a file can't be opened.
pub fn pairs(args: &MergeArgs, place: &Place) -> Result<Vec<Pair>> {
    let count = args.images.len() / 2;
    if !args.images.len().is_multiple_of(2) {
        return Err(refused(
            format!("a base is named without an overlay: {}", args.images[args.images.len() - 1].display()),
            "name pairs: BASE OVERLAY BASE OVERLAY …",
        ));
    }
    if !args.expect.is_empty() && args.expect.len() != count {
        return Err(refused(
            format!("--expect is given {} times, but the number of bases is {count}", args.expect.len()),
            "use it once for each base, in order, or not at all",
        ));
    }
    let mut pairs: Vec<Pair> = Vec::with_capacity(count);
    for (index, images) in args.images.chunks_exact(2).enumerate() {
        let base = place.base(&images[0])?;
        let overlay = canonical(&images[1]).map_err(|error| {
            Error::new(Kind::Usage, "an overlay can't be opened").safe("nothing was changed").because(error)
        })?;
        if overlay == base.path {
            return Err(refused(
                format!("an image can't be merged into itself: {}", overlay.display()),
                "name the base first, then its overlay",
            ));
        }
        if pairs.iter().any(|pair| pair.base.path == base.path) {
            return Err(refused(
                format!("a base is named twice: {}", base.path.display()),
                "merge its overlays one after the other",
            ));
        }
        pairs.push(Pair { base, is_raw: false, overlay, expected: args.expect.get(index).copied() });
    }
    for raw in &args.raw {
        let path = canonical(raw).ok();
        let named = pairs.iter_mut().find(|pair| Some(&pair.base.path) == path.as_ref());
        let Some(pair) = named else {
            return Err(refused(
                format!("--raw names none of the bases: {}", raw.display()),
                "name the base there as well as in its pair: --raw BASE BASE OVERLAY",
            ));
        };
        pair.is_raw = true;
    }
    Ok(pairs)
}

fn refused(what: String, hint: impl Into<String>) -> Error {
    Error::new(Kind::Usage, what).safe("nothing was changed").hint(hint)
}

/// What a base or overlay is, opened for a look.
///
/// # Errors
/// It can't be read, is damaged or not supported.
pub fn open(path: &Path, role: Role) -> Result<Image<FileStorage>> {
    FileStorage::open(path, Access::Read)
        .and_then(|storage| Image::open(storage, role))
        .map_err(failure::looking)
}

/// Refuses what a merge would refuse.
///
/// # Errors
/// What is wrong with the first pair of which something is.
pub fn look(place: &Place, pairs: &[Pair]) -> Result<()> {
    for pair in pairs {
        let overlay = FileStorage::open(&pair.overlay, Access::Read)
            .and_then(Overlay::open)
            .map_err(failure::looking)?;
        let format = overlay.format_below();
        ensure_format(place, pair, format)?;
        let (of_base, state) =
            if pair.is_raw { raw(place, &pair.base)? } else { qcow2(place, pair, format)? };
        let (of_overlay, image) = (overlay.virtual_size(), pair.base.path.display().to_string());
        if of_overlay < of_base {
            let error = Engine::Shrinks { overlay: of_overlay, base: of_base, image };
            return Err(failure::looking(error));
        }
        let Some(expected) = pair.expected else { continue };
        match state {
            BaseState::At { generation } if generation == expected => {}
            BaseState::Foreign { last } => {
                return Err(failure::looking(Engine::ForeignWriter { last, image }));
            }
            state => {
                let found = state.to_string();
                return Err(failure::looking(Engine::WrongGeneration { expected, found, image }));
            }
        }
    }
    Ok(())
}

/// Compares what the command line says of a base's format with what others have said. The content is not asked: on a raw
/// disk, that is the guest's.
fn ensure_format(place: &Place, pair: &Pair, by_overlay: Option<&str>) -> Result<()> {
    let (base, overlay) = (&pair.base, pair.overlay.display());
    let add = || format!("if that is right, add: --raw {}", base.path.display());
    match by_overlay {
        Some("raw") if !pair.is_raw => {
            return Err(refused(format!("the overlay says that its base is a raw disk: {overlay}"), add()));
        }
        Some(format) if pair.is_raw && format != "raw" => {
            return Err(refused(
                format!("the overlay says that its base is not a raw disk but {format}: {overlay}"),
                "leave out --raw, or make the overlay with: qemu-img create -F raw",
            ));
        }
        _ => {}
    }
    if !pair.is_raw && place.raw_generation(base)?.is_some() {
        return Err(refused(
            format!("the record has this base as a raw disk: {}", base.path.display()),
            add(),
        ));
    }
    Ok(())
}

/// Size and state of a raw base. Whether another program wrote to it is for the engine to find out.
fn raw(place: &Place, base: &Base) -> Result<(u64, BaseState)> {
    let storage = FileStorage::open(&base.path, Access::Read).map_err(failure::looking)?;
    let size = storage.len()?;
    if let Some(generation) = place.raw_generation(base)? {
        return Ok((size, BaseState::At { generation }));
    }
    // Only we write a generation into a header: whoever did so took the base for what it is.
    if Image::open(storage, Role::Overlay).is_ok_and(|image| image.state() != BaseState::Fresh) {
        return Err(refused(
            format!("the base is no raw disk, but a qcow2 image with a generation: {}", base.path.display()),
            "leave out --raw",
        ));
    }
    Ok((size, BaseState::Fresh))
}

/// Size and state of a qcow2 base.
fn qcow2(place: &Place, pair: &Pair, by_overlay: Option<&str>) -> Result<(u64, BaseState)> {
    let Pair { base, overlay, .. } = pair;
    let opened =
        FileStorage::open(&base.path, Access::Read).and_then(|storage| Image::open(storage, Role::Base));
    let image = opened.map_err(|error| {
        let may_be_raw =
            by_overlay.is_none() && matches!(error, Engine::Refused { why: Refusal::NotQcow2, .. });
        let told = failure::looking(error);
        if may_be_raw {
            told.hint(
                "convert it with `qemu-img convert -O qcow2`; or, if it is a raw disk, say so with --raw",
            )
        } else {
            told
        }
    })?;
    let (size, state) = (image.header().size, image.state());
    if is_below(place, base, image, overlay) {
        return Err(refused(
            format!("the overlay is a layer below the base {}: {}", base.name, overlay.display()),
            "name the base first, then its overlay",
        ));
    }
    Ok((size, state))
}

/// Whether `overlay` is what shows through `base`: then the two are the wrong way round.
fn is_below(place: &Place, base: &Base, mut image: Image<FileStorage>, overlay: &Path) -> bool {
    let mut name = BasePath::new(&base.name);
    // What a chain may be is the engine's matter; this looks at as many layers as it would.
    for _ in 0..16 {
        let Some(backing) = image.backing() else { break };
        if Path::new(backing) == overlay {
            return true;
        }
        let Some(next) = name.as_ref().ok().and_then(|name| name.sibling(backing).ok()) else { break };
        // A layer that is not there, or leads elsewhere, is for the engine to refuse.
        let path = canonical(&place.path_of(next.as_str())).ok();
        let Some(path) = path.filter(|path| path.starts_with(&place.root)) else { break };
        if path == overlay {
            return true;
        }
        let Ok(layer) = open(&path, Role::Overlay) else { break };
        (image, name) = (layer, Ok(next));
    }
    false
}
