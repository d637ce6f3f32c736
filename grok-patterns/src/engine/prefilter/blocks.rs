//! Sixty-four places of a line at once.
//!
//! A set of bytes is nearly the product of a set of upper halves and one of lower halves of a byte:
//! `0` to `9` is 3 with 0 to 9. With a table of sixteen bytes for each half, one instruction looks up
//! 32 halves, and each bit of the answer stands for a *bucket* of features (the idea is that of Teddy,
//! by Geoffrey Langdale). Where the first places of a bucket fit, the features are compared one by
//! one.
//!
//! INVARIANT: a place at which a feature begins is always found. Others are found, too.

use super::requirements::{Feature, product};
use crate::syntax::{ByteSet, EDGE};

/// Places of a feature that are compared.
const PLACES: usize = 4;
/// Buckets of features, one for each bit of a byte in this many tables.
const SETS: usize = 2;
const BUCKETS: usize = SETS * u8::BITS as usize;
/// Bytes of a vector.
const VECTOR: usize = 32;
/// Positions that are looked at together: those of two vectors, so that a table is read for both.
const BLOCK: usize = 2 * VECTOR;
/// The bytes that takes.
const BLOCK_BYTES: usize = BLOCK + PLACES - 1;
/// What stands for the end of the line.
const PADDING: u8 = 0;

/// For each place of a feature, tables for the lower and the upper half of the byte there: the
/// buckets that it fits.
#[derive(Debug, Clone)]
pub(super) struct Blocks {
    tables: [[[[u8; VECTOR]; 2]; SETS]; PLACES],
}

impl Blocks {
    pub(super) fn new(features: &[Feature]) -> Self {
        let mut blocks = Self {
            tables: [[[[0; VECTOR]; 2]; SETS]; PLACES],
        };
        for (number, bucket) in buckets(features).iter().enumerate() {
            let (set, bit) = (number / 8, 1 << (number % 8));
            for (place, bytes) in bucket.iter().enumerate() {
                for unit in bytes.units() {
                    let byte = if unit == EDGE { PADDING } else { unit as u8 };
                    let [lower, upper] = &mut blocks.tables[place][set];
                    for half in [0, VECTOR / 2] {
                        lower[half + usize::from(byte & 0xf)] |= bit;
                        upper[half + usize::from(byte >> 4)] |= bit;
                    }
                }
            }
        }
        blocks
    }

    /// Calls with the positions at which a feature may begin, in order, a few at a time. False if the
    /// processor cannot do it: then nothing was called.
    #[inline]
    pub(super) fn each(&self, line: &[u8], look: impl FnMut(&[usize])) -> bool {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi1") {
            // SAFETY: the processor has what this asks for.
            #[allow(
                unsafe_code,
                reason = "a quarter of the time of a list of twenty expressions"
            )]
            unsafe {
                self.each_with_avx2(line, look);
            }
            return true;
        }
        let _ = (line, look);
        false
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256i, _mm256_and_si256, _mm256_cmpeq_epi8, _mm256_movemask_epi8, _mm256_or_si256,
        _mm256_set_epi64x, _mm256_set1_epi8, _mm256_setzero_si256, _mm256_shuffle_epi8,
        _mm256_srli_epi16,
    };

    use super::{BLOCK, BLOCK_BYTES, Blocks, PADDING, PLACES, SETS, VECTOR};

    /// Positions that are handed on together, at most.
    const TOGETHER: usize = 16;
    /// Positions that are taken from a block without asking whether there are as many.
    const AT_ONCE: usize = 4;

    impl Blocks {
        #[target_feature(enable = "avx2,bmi1")]
        pub(super) fn each_with_avx2(&self, line: &[u8], mut look: impl FnMut(&[usize])) {
            // PERF: how many there are in a block nobody can foretell. So they are put aside without
            // a branch, and looked at in one loop.
            let mut positions = [0; TOGETHER + AT_ONCE];
            let mut count = 0;
            let mut start = 0;
            while start <= line.len() {
                let rest = &line[start..];
                let mut candidates = match rest.first_chunk() {
                    Some(bytes) => self.block(bytes),
                    None => {
                        let mut padded = [PADDING; BLOCK_BYTES];
                        padded[..rest.len()].copy_from_slice(rest);
                        let within = u64::MAX >> (BLOCK - 1 - rest.len().min(BLOCK - 1));
                        self.block(&padded) & within
                    }
                };
                while candidates != 0 {
                    let more = candidates.count_ones() as usize;
                    for position in &mut positions[count..count + AT_ONCE] {
                        *position = start + candidates.trailing_zeros() as usize;
                        candidates &= candidates.wrapping_sub(1);
                    }
                    count += more.min(AT_ONCE);
                    if count >= TOGETHER {
                        look(&positions[..count]);
                        count = 0;
                    }
                }
                start += BLOCK;
            }
            look(&positions[..count]);
        }

        /// A bit for each position at which a feature may begin.
        #[target_feature(enable = "avx2")]
        #[inline]
        fn block(&self, bytes: &[u8; BLOCK_BYTES]) -> u64 {
            let mut fits = [[_mm256_set1_epi8(-1); SETS]; 2];
            for place in 0..PLACES {
                let halves = [halves(bytes, place), halves(bytes, place + VECTOR)];
                for (set, tables) in self.tables[place].iter().enumerate() {
                    let [for_lower, for_upper] = [load(tables[0]), load(tables[1])];
                    for (fits, [lower, upper]) in fits.iter_mut().zip(halves) {
                        let both = _mm256_and_si256(
                            _mm256_shuffle_epi8(for_lower, lower),
                            _mm256_shuffle_epi8(for_upper, upper),
                        );
                        fits[set] = _mm256_and_si256(fits[set], both);
                    }
                }
            }
            u64::from(any(fits[0])) | u64::from(any(fits[1])) << VECTOR
        }
    }

    /// The lower and the upper halves of the bytes.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn halves(bytes: &[u8; BLOCK_BYTES], at: usize) -> [__m256i; 2] {
        let bytes = load(std::array::from_fn(|index| bytes[at + index]));
        let half = _mm256_set1_epi8(0xf);
        let upper = _mm256_srli_epi16::<4>(bytes);
        [_mm256_and_si256(bytes, half), _mm256_and_si256(upper, half)]
    }

    /// A bit for each place at which a bucket of one of the sets fits.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn any(fits: [__m256i; SETS]) -> u32 {
        let any = _mm256_or_si256(fits[0], fits[1]);
        let none = _mm256_cmpeq_epi8(any, _mm256_setzero_si256());
        !_mm256_movemask_epi8(none).cast_unsigned()
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn load(bytes: [u8; VECTOR]) -> __m256i {
        let words = bytes.as_chunks().0;
        let [w0, w1, w2, w3] = [0, 1, 2, 3].map(|index| i64::from_le_bytes(words[index]));
        _mm256_set_epi64x(w3, w2, w1, w0)
    }
}

/// Puts the features into buckets so that as few places as possible fit one.
fn buckets(features: &[Feature]) -> [[ByteSet; PLACES]; BUCKETS] {
    let mut buckets = [[ByteSet::default(); PLACES]; BUCKETS];
    let start = |feature: &Feature| std::array::from_fn(|place| feature.0[place]);
    let mut features: Vec<[ByteSet; PLACES]> = features.iter().map(start).collect();
    // Those that are there most often take company worst: each gets a bucket of its own.
    features.sort_by(|left, right| product(right).total_cmp(&product(left)));
    for (number, feature) in features.iter().enumerate() {
        let with = |bucket: &[ByteSet; PLACES]| -> [ByteSet; PLACES] {
            std::array::from_fn(|place| bucket[place].union(feature[place]))
        };
        let growth =
            |bucket: &usize| product(&with(&buckets[*bucket])) - product(&buckets[*bucket]);
        let least = || (0..BUCKETS).min_by(|left, right| growth(left).total_cmp(&growth(right)));
        let best = if number < BUCKETS {
            Some(number)
        } else {
            least()
        };
        if let Some(best) = best {
            buckets[best] = with(&buckets[best]);
        }
    }
    buckets
}
