//! Bodies and files as gzip.

use libdeflater::Compressor;

/// The bytes as one gzip member. None if they cannot be packed, which the bound that libdeflate gives rules out by
/// contract: whoever asks goes on with the plain bytes then.
pub(super) fn gzip(compressor: &mut Compressor, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut packed = vec![0; compressor.gzip_compress_bound(bytes.len())];
    let length = compressor.gzip_compress(bytes, &mut packed).ok()?;
    packed.truncate(length);
    Some(packed)
}
