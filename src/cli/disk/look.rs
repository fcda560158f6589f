//! `disk info` and `disk check`: what an image says about itself, and whether that holds.

use std::path::{Path, PathBuf};

use pocketvm_disk::qcow2::check::check_image;
use pocketvm_disk::qcow2::image::{Image, Role};
use pocketvm_disk::storage::{Access, FileStorage};
use pocketvm_disk::{CheckReport, ImageInfo, Refusal};
use serde::Serialize;

use super::args::ImageArgs;
use super::record::Place;
use super::{Desk, failure, text};
use crate::{Kind, Result};

/// The answer of `disk info`.
#[derive(Serialize)]
pub struct Info {
    /// The image.
    pub image: PathBuf,
    /// What it says.
    #[serde(flatten)]
    pub info: ImageInfo,
}

/// The answer of `disk check`.
#[derive(Serialize)]
pub struct Checked {
    /// The image.
    pub image: PathBuf,
    /// What was found.
    #[serde(flatten)]
    pub report: CheckReport,
}

/// Shows what an image says about itself.
///
/// # Errors
/// It can't be read or is not supported.
pub fn info(args: &ImageArgs, desk: &Desk<'_>) -> Result<u8> {
    settle(args, desk)?;
    let info = pocketvm_disk::inspect(&args.image).map_err(failure::looking)?;
    desk.answer("disk-info", &Info { image: args.image.clone(), info }, text::info);
    Ok(0)
}

/// Checks an image's tables.
///
/// # Errors
/// It can't be read or is not supported. What is wrong with its tables is the answer.
pub fn check(args: &ImageArgs, desk: &Desk<'_>) -> Result<u8> {
    settle(args, desk)?;
    let report = report(&args.image).map_err(failure::looking)?;
    let is_good = report.error_count == 0;
    desk.answer("disk-check", &Checked { image: args.image.clone(), report }, text::check);
    Ok(if is_good { 0 } else { Kind::Disk.exit_code() })
}

/// Held to what is asked of a base, unless it has a backing file.
fn report(path: &Path) -> pocketvm_disk::Result<CheckReport> {
    let image = Image::open(FileStorage::open(path, Access::Read)?, Role::Overlay)?;
    if image.backing().is_none() {
        return pocketvm_disk::check(path);
    }
    if image.header().dirty() {
        // Its counts were not written yet, so that there is nothing to compare with.
        return Err(pocketvm_disk::Error::Refused { why: Refusal::Dirty, image: path.display().to_string() });
    }
    check_image(&image)
}

/// Recovers what was interrupted in the record of an image, if it has one.
pub fn settle(args: &ImageArgs, desk: &Desk<'_>) -> Result<()> {
    Place::find(args.record.record.as_deref(), Some(&args.image))?.settle(desk.view)
}
