//! Lines that match, and lines that nearly do.

use skidder_grok::Samples;

/// Numbers that look random and are the same in every run (`SplitMix64`).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn piece(&mut self) -> &'static str {
        PIECES[self.below(PIECES.len())]
    }
}

const PIECES: &[&str] = &[
    "\"",
    "\\",
    " ",
    "-",
    ".",
    ":",
    "/",
    "[",
    "]",
    "0",
    "9",
    "255",
    "a",
    "Z",
    "_",
    "\n",
    "\u{e9}",
    "\u{2014}",
    "\u{1f600}",
    "'",
    "`",
    "1.5",
    "Jan",
    "10.0.0.1",
    "::",
    "@",
    "%",
    "(",
    ")",
    "+",
    "=",
    ",",
    "<",
    ">",
    "x",
    "host",
    "\t",
    "1e",
    "0x1F",
];

/// A line about the expression that the samples are of; every second one is damaged.
pub(crate) fn line(random: &mut Random, samples: &mut [Samples], real: &[&str]) -> String {
    let mut line = source(random, samples, real);
    match random.below(6) {
        0 => line.insert_str(0, random.piece()),
        1 => line.push_str(random.piece()),
        _ => {}
    }
    if random.below(2) == 0 {
        for _ in 0..=random.below(3) {
            damage(random, &mut line, samples, real);
        }
    }
    line
}

fn source(random: &mut Random, samples: &mut [Samples], real: &[&str]) -> String {
    if !real.is_empty() && random.below(6) == 0 {
        return real[random.below(real.len())].to_owned();
    }
    let index = random.below(samples.len());
    samples[index].text()
}

fn damage(random: &mut Random, line: &mut String, samples: &mut [Samples], real: &[&str]) {
    let at = boundary(line, random.below(line.len() + 1));
    let near = boundary(line, (at + random.below(5)).min(line.len()));
    let far = boundary(line, at + random.below(line.len() - at + 1));
    match random.below(9) {
        0 => line.replace_range(at..near, ""),
        1 => line.truncate(at),
        2 => line.replace_range(..at, ""),
        3 => line.insert_str(at, random.piece()),
        4 => line.replace_range(at..near, random.piece()),
        5 => {
            // A bit of one byte.
            if let Some(byte) = line.as_bytes().get(at).filter(|byte| byte.is_ascii()) {
                let flipped = (byte ^ (1 << random.below(7))) as char;
                line.replace_range(at..=at, flipped.encode_utf8(&mut [0; 4]));
            }
        }
        6 => {
            let other = source(random, samples, real);
            let from = boundary(&other, random.below(other.len() + 1));
            line.replace_range(at.., &other[from..]);
        }
        7 => {
            let part = line[at..far].repeat(1 + random.below(3));
            line.insert_str(at, &part);
        }
        _ => {
            let character = char::from_u32(random.below(0x3000) as u32).unwrap_or('\u{fffd}');
            line.insert(at, character);
        }
    }
    let end = boundary(line, line.len().min(4_000));
    line.truncate(end);
}

fn boundary(line: &str, mut at: usize) -> usize {
    while !line.is_char_boundary(at) {
        at -= 1;
    }
    at
}
