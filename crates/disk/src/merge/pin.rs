//! Keeping a generation readable for somebody who reads it, for instance a running guest: no merge uses its clusters
//! until it is unpinned.

use super::CommitFile;
use super::history::{MAX_PINS, Pinned};
use crate::error::{Error, Result};
use crate::generation::GenerationId;
use crate::qcow2::header::HeaderBlock;
use crate::qcow2::image::{Image, Role};
use crate::root::{BasePath, Root};
use crate::storage::{Access, Storage};

/// Pins the generations that `bases` (relative to the record's root) are at now, under a name of the caller's choice.
/// Returns them. Durable when this returns; what the name pinned before is let go.
///
/// # Errors
/// A base can't be read, or has no generation; too many names.
pub fn pin<R: Root, C: Storage>(
    commit: &CommitFile<R, C>,
    name: &str,
    bases: &[&str],
) -> Result<Vec<GenerationId>> {
    let mut history = commit.load()?;
    history.ensure_settled(commit.slots.name())?;
    let mut generations = Vec::with_capacity(bases.len());
    let mut pinned = Vec::with_capacity(bases.len());
    for path in bases {
        let base = BasePath::new(path)?;
        let image = Image::open(commit.root.open(&base, Access::Read)?, Role::Base)?;
        let generation = image.state().generation().ok_or_else(|| {
            Error::Input(format!("a base without a generation of its own can't be pinned: {base}"))
        })?;
        generations.push(generation);
        pinned.push(Pinned { base, header: HeaderBlock(*image.block()) });
    }
    if history.pins.len() >= MAX_PINS && !history.pins.contains_key(name) {
        return Err(Error::Input(format!("more than {MAX_PINS} names can't pin generations")));
    }
    history.pins.insert(name.chars().take(256).collect(), pinned);
    commit.save(&mut history)?;
    Ok(generations)
}

/// Lets go of what `name` pinned; `false` if that was nothing.
///
/// # Errors
/// The record can't be read or written.
pub fn unpin<R: Root, C: Storage>(commit: &CommitFile<R, C>, name: &str) -> Result<bool> {
    let mut history = commit.load()?;
    let found = history.pins.remove(name).is_some();
    if found {
        commit.save(&mut history)?;
    }
    Ok(found)
}
