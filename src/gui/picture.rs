//! The machine's picture. It comes from a stick that could be anybody's: bounded before and while it is decoded.

use std::io::Cursor;

use eframe::egui::{ColorImage, Context, TextureHandle, TextureOptions};
use image::{ImageFormat, ImageReader, Limits};

/// Most points in each direction.
const MOST: u32 = 1024;

/// Most bytes that decoding may take.
const MOST_BYTES: u64 = 16 << 20;

/// A picture that can be drawn; none if the bytes are no PNG image of ours.
pub fn load(context: &Context, bytes: &[u8]) -> Option<TextureHandle> {
    let image = decode(bytes).map_err(|error| tracing::warn!(%error, "the picture can't be shown")).ok()?;
    Some(context.load_texture("picture", image, TextureOptions::LINEAR))
}

fn decode(bytes: &[u8]) -> image::ImageResult<ColorImage> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), ImageFormat::Png);
    let mut limits = Limits::default();
    limits.max_image_width = Some(MOST);
    limits.max_image_height = Some(MOST);
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    let image = reader.decode()?.into_rgba8();
    let size = [image.width() as usize, image.height() as usize];
    Ok(ColorImage::from_rgba_unmultiplied(size, image.as_raw()))
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, RgbaImage};

    use super::*;

    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = Cursor::new(vec![]);
        DynamicImage::from(RgbaImage::new(width, height)).write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn a_picture_of_a_fair_size_is_taken_and_nothing_else() {
        assert_eq!(decode(&png(64, 48)).unwrap().size, [64, 48]);
        assert!(decode(&png(MOST + 1, 1)).is_err(), "too wide");
        assert!(decode(b"GIF89a").is_err());
        assert!(decode(&[]).is_err());
        let whole = png(300, 300);
        for cut in (0..whole.len()).step_by(17) {
            assert!(decode(&whole[..cut]).is_err(), "cut at {cut}");
        }
    }
}
