//! Seeded numbers for the generators of lines: the same seed gives the same lines everywhere.

/// A `SplitMix64` sequence.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A sequence that depends on nothing but the seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number of the `SplitMix64` sequence.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to one below the limit (the bias of the remainder is of no interest here).
    pub fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit
    }

    /// One of the words, each as likely as the others.
    pub fn one_of(&mut self, words: &[&'static str]) -> &'static str {
        words[self.below(words.len() as u64) as usize]
    }

    /// One of the words, whose weights in percent add up to 100.
    pub fn weighted(&mut self, words: &[(&'static str, u64)]) -> &'static str {
        let mut left = self.below(100);
        for (word, weight) in words {
            if left < *weight {
                return word;
            }
            left -= weight;
        }
        unreachable!("the weights add up to 100")
    }
}

/// Appends a number in decimal digits.
pub fn decimal(output: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    output.extend_from_slice(&digits[start..]);
}
