//! Compressed clusters.

use std::io::Read;

use super::header::Compression;

/// Unpacks one cluster; `packed` may have bytes behind the end of the compressed stream.
///
/// # Errors
/// The stream is broken or does not fill the cluster.
pub(super) fn unpack(method: Compression, packed: &[u8], cluster: &mut [u8]) -> std::io::Result<()> {
    match method {
        Compression::Zlib => flate2::read::DeflateDecoder::new(packed).read_exact(cluster),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(packed)?;
            // A frame may ask for any window; a cluster has 2 MiB at most.
            decoder.window_log_max(22)?;
            decoder.read_exact(cluster)
        }
    }
}
