//! MD5 (RFC 1321) and its HMAC (RFC 2104). Broken for security; here because document ids and
//! pseudonyms made with it must stay what they are.

/// Bytes of a block.
const BLOCK: usize = 64;

/// The state of a hash.
pub(super) struct Md5([u32; 4]);

impl Md5 {
    /// The hash of a text.
    pub(super) fn hash(text: &[u8]) -> [u8; 16] {
        Self::hash_parts(&[], text)
    }

    /// The keyed hash of a text.
    pub(super) fn hmac(key: &[u8], text: &[u8]) -> [u8; 16] {
        let mut padded = [0; BLOCK];
        if key.len() > BLOCK {
            padded[..16].copy_from_slice(&Self::hash(key));
        } else {
            padded[..key.len()].copy_from_slice(key);
        }
        let inner = Self::hash_parts(&padded.map(|byte| byte ^ 0x36), text);
        Self::hash_parts(&padded.map(|byte| byte ^ 0x5C), &inner)
    }

    /// The hash of whole blocks with a text behind them.
    fn hash_parts(blocks: &[u8], text: &[u8]) -> [u8; 16] {
        let mut state = Self([0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476]);
        let (of_blocks, _) = blocks.as_chunks::<BLOCK>();
        let (of_text, rest) = text.as_chunks::<BLOCK>();
        for block in of_blocks.iter().chain(of_text) {
            state.add(block);
        }
        // What is left, a one bit, zeros, and the length in bits: one block or two.
        let mut last = [0; 2 * BLOCK];
        last[..rest.len()].copy_from_slice(rest);
        last[rest.len()] = 0x80;
        let end = if rest.len() < BLOCK - 8 {
            BLOCK
        } else {
            2 * BLOCK
        };
        let bits = (blocks.len() as u64)
            .wrapping_add(text.len() as u64)
            .wrapping_mul(8);
        last[end - 8..end].copy_from_slice(&bits.to_le_bytes());
        for block in last[..end].as_chunks::<BLOCK>().0 {
            state.add(block);
        }
        let mut hash = [0; 16];
        for (bytes, word) in hash.chunks_exact_mut(4).zip(state.0) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        hash
    }

    fn add(&mut self, block: &[u8; BLOCK]) {
        let mut words = [0_u32; 16];
        for (word, bytes) in words.iter_mut().zip(block.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        let [mut a, mut b, mut c, mut d] = self.0;
        for step in 0..64 {
            let (mixed, word) = match step / 16 {
                0 => (b & c | !b & d, step),
                1 => (d & b | !d & c, (5 * step + 1) % 16),
                2 => (b ^ c ^ d, (3 * step + 5) % 16),
                _ => (c ^ (b | !d), 7 * step % 16),
            };
            let sum = a
                .wrapping_add(mixed)
                .wrapping_add(SINES[step])
                .wrapping_add(words[word]);
            let turned = sum.rotate_left(TURNS[step / 16][step % 4]);
            (a, d, c, b) = (d, c, b, b.wrapping_add(turned));
        }
        for (word, add) in self.0.iter_mut().zip([a, b, c, d]) {
            *word = word.wrapping_add(add);
        }
    }
}

/// How far each step of a round turns.
const TURNS: [[u32; 4]; 4] = [
    [7, 12, 17, 22],
    [5, 9, 14, 20],
    [4, 11, 16, 23],
    [6, 10, 15, 21],
];

/// `floor(2^32 * abs(sin(step + 1)))`.
static SINES: [u32; 64] = [
    0xD76A_A478,
    0xE8C7_B756,
    0x2420_70DB,
    0xC1BD_CEEE,
    0xF57C_0FAF,
    0x4787_C62A,
    0xA830_4613,
    0xFD46_9501,
    0x6980_98D8,
    0x8B44_F7AF,
    0xFFFF_5BB1,
    0x895C_D7BE,
    0x6B90_1122,
    0xFD98_7193,
    0xA679_438E,
    0x49B4_0821,
    0xF61E_2562,
    0xC040_B340,
    0x265E_5A51,
    0xE9B6_C7AA,
    0xD62F_105D,
    0x0244_1453,
    0xD8A1_E681,
    0xE7D3_FBC8,
    0x21E1_CDE6,
    0xC337_07D6,
    0xF4D5_0D87,
    0x455A_14ED,
    0xA9E3_E905,
    0xFCEF_A3F8,
    0x676F_02D9,
    0x8D2A_4C8A,
    0xFFFA_3942,
    0x8771_F681,
    0x6D9D_6122,
    0xFDE5_380C,
    0xA4BE_EA44,
    0x4BDE_CFA9,
    0xF6BB_4B60,
    0xBEBF_BC70,
    0x289B_7EC6,
    0xEAA1_27FA,
    0xD4EF_3085,
    0x0488_1D05,
    0xD9D4_D039,
    0xE6DB_99E5,
    0x1FA2_7CF8,
    0xC4AC_5665,
    0xF429_2244,
    0x432A_FF97,
    0xAB94_23A7,
    0xFC93_A039,
    0x655B_59C3,
    0x8F0C_CC92,
    0xFFEF_F47D,
    0x8584_5DD1,
    0x6FA8_7E4F,
    0xFE2C_E6E0,
    0xA301_4314,
    0x4E08_11A1,
    0xF753_7E82,
    0xBD3A_F235,
    0x2AD7_D2BB,
    0xEB86_D391,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: [u8; 16]) -> String {
        format!("{:032x}", u128::from_be_bytes(bytes))
    }

    #[test]
    fn vectors_of_the_standards() {
        for (text, expected) in [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "57edf4a22be3c955ac49da2e2107b67a",
            ),
        ] {
            assert_eq!(hex(Md5::hash(text.as_bytes())), expected);
        }
        let what = Md5::hmac(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex(what), "750c783e6ab0b503eaa86e310a5db738");
        let long = Md5::hmac(
            &[0xAA; 80],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
        );
        assert_eq!(hex(long), "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd");
    }

    #[test]
    fn every_length_of_the_last_block() {
        // A sum over all lengths, checked against another implementation.
        let text = [b'x'; 200];
        let mut all = Vec::new();
        for length in 0..200 {
            all.extend(Md5::hash(&text[..length]));
        }
        assert_eq!(hex(Md5::hash(&all)), "236291006a2f1dc7b00bd978802ff8c6");
    }
}
