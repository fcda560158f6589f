//! Gives bases their first generation, or a new one after another program wrote to them.

use super::base::Base;
use super::digest::Digest;
use super::history::{Change, Kind, Point};
use super::{CommitFile, flip, work};
use crate::error::{Error, Refusal, Result};
use crate::generation::{BaseState, GenerationId};
use crate::qcow2::check::check_image;
use crate::qcow2::header::{AUTOCLEAR_FENCE, HeaderBlock};
use crate::qcow2::image::Image;
use crate::root::{BasePath, Root};
use crate::storage::{Access, Storage};

/// Makes sure that each of `bases` (relative to the record's root) is at a generation, and says which.
///
/// A base that nobody stamped yet, or that another program wrote to, is checked in full first: from then on the
/// fence proves that its reference counts are right, on which the next merge relies. Version 2 becomes version 3,
/// which has the fence. All bases change as one step.
///
/// # Errors
/// A base is damaged, in use or has a feature that is not handled; nothing was changed then.
pub fn stamp<R: Root, C: Storage>(commit: &CommitFile<R, C>, bases: &[&str]) -> Result<Vec<GenerationId>> {
    let mut history = commit.load()?;
    history.ensure_settled(commit.slots.name())?;
    work::give_up(commit, &mut history)?;
    let mut generations = Vec::with_capacity(bases.len());
    let (mut changes, mut images) = (Vec::new(), Vec::new());
    for path in bases {
        let base = BasePath::new(path)?;
        if changes.iter().any(|change: &Change| change.base == base) {
            return Err(Error::Input(format!("the base is named twice: {base}")));
        }
        let Base { image, .. } = Base::open(&commit.root, &base, Access::Write)?;
        if let BaseState::At { generation } = image.state() {
            generations.push(generation);
            continue;
        }
        let refuse = |why| Error::Refused { why, image: image.storage().name().to_owned() };
        let report = check_image(&image)?;
        if report.error_count > 0 {
            return Err(refuse(Refusal::Inconsistent(report.error_count)));
        }
        let generation = GenerationId::random();
        let mut header = image.header().clone();
        header.upgrade();
        // As every writer must, we clear the autoclear bits that we do not know.
        header.autoclear = AUTOCLEAR_FENCE;
        let mut extensions = image.extensions().clone();
        let from = extensions.generation.replace(generation);
        // Another program may have changed any cluster, and used the manifest's own.
        extensions.hashes = None;
        let block = header.encode(&extensions, image.backing()).map_err(refuse)?;
        // The tables stay, so there are none that only one side has.
        let tables = Digest::new().finish();
        changes.push(Change {
            name: base.as_str().to_owned(),
            base,
            changed: 0,
            from: Point { generation: from, header: HeaderBlock(*image.block()), tables },
            to: Point { generation: Some(generation), header: HeaderBlock(block), tables },
        });
        images.push(image);
        generations.push(generation);
    }
    if !changes.is_empty() {
        let files: Vec<&R::File> = images.iter().map(Image::storage).collect();
        flip::perform(commit, &mut history, Kind::Stamp, changes, &files, Vec::new(), &[])?;
    }
    Ok(generations)
}
