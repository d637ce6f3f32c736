//! Sets of characters, and sets of bytes.
//!
//! A [`CharacterClass`] is what the pattern means; a [`ByteSet`] is what the engines test. Byte
//! sets also hold [`EDGE`], the place before the first and after the last byte, so that "not a
//! digit before this" is one set test at the start of the text as anywhere else.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use regex_syntax::{
    ParserBuilder,
    hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind},
};

/// Stands for the start or the end of the text in a [`ByteSet`].
pub(crate) const EDGE: usize = 256;

/// PERF: Unicode's tables are long, and every path of every pattern names some of these.
static KNOWN_BRACKETS: Mutex<BTreeMap<&str, CharacterClass>> = Mutex::new(BTreeMap::new());

/// A set of characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CharacterClass(ClassUnicode);

impl CharacterClass {
    pub(crate) fn empty() -> Self {
        Self(ClassUnicode::empty())
    }

    pub(crate) fn from_ranges(ranges: &[(char, char)]) -> Self {
        let mut class = Self::empty();
        for (first, last) in ranges {
            class.push(*first, *last);
        }
        class
    }

    pub(crate) fn single(character: char) -> Self {
        Self::from_ranges(&[(character, character)])
    }

    pub(crate) fn any() -> Self {
        Self::from_ranges(&[('\0', char::MAX)])
    }

    pub(crate) fn digit() -> Self {
        Self::from_ranges(&[('0', '9')])
    }

    pub(crate) fn hexadecimal() -> Self {
        Self::from_ranges(&[('0', '9'), ('A', 'F'), ('a', 'f')])
    }

    pub(crate) fn word() -> Self {
        Self::from_ranges(&[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')])
    }

    pub(crate) fn space() -> Self {
        Self::from_ranges(&[('\t', '\r'), (' ', ' ')])
    }

    /// What belongs to the character before it, for `\X`.
    pub(crate) fn mark() -> Self {
        Self::from_definition(r"[\p{M}\u{200C}\u{200D}]").unwrap_or_else(Self::empty)
    }

    /// A POSIX bracket such as `alpha`. These know Unicode, unlike `\w` and its like.
    pub(crate) fn posix(name: &str) -> Option<Self> {
        let definition = match name {
            "alnum" => r"[\p{Alphabetic}\p{Nd}]",
            "alpha" => r"\p{Alphabetic}",
            "ascii" => r"[\x00-\x7F]",
            "blank" => r"[\t\p{Zs}]",
            "cntrl" => r"\p{Cc}",
            "digit" => r"\p{Nd}",
            "graph" => r"[^\p{White_Space}\p{Cc}\p{Cn}]",
            "lower" => r"\p{Lowercase}",
            "print" => r"[[^\p{White_Space}\p{Cc}\p{Cn}]\p{Zs}]",
            "punct" => r"[\p{P}$+<=>^`|~]",
            "space" => r"\p{White_Space}",
            "upper" => r"\p{Uppercase}",
            "word" => r"[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]",
            "xdigit" => return Some(Self::hexadecimal()),
            _ => return None,
        };
        let mut known = KNOWN_BRACKETS
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(class) = known.get(definition) {
            return Some(class.clone());
        }
        let class = Self::from_definition(definition)?;
        known.insert(definition, class.clone());
        Some(class)
    }

    /// A Unicode property such as `Greek` or `Lu`, or a POSIX name (Oniguruma takes both).
    pub(crate) fn property(name: &str) -> Option<Self> {
        let folded: String = name
            .chars()
            .filter(|c| !matches!(c, ' ' | '_' | '-'))
            .collect::<String>();
        let lower = folded.to_ascii_lowercase();
        if lower == "any" {
            return Some(Self::any());
        }
        if let Some(class) = Self::posix(&lower) {
            return Some(class);
        }
        if name.is_empty()
            || !name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_- =:".contains(c))
        {
            return None;
        }
        Self::from_definition(&format!("\\p{{{name}}}"))
    }

    fn from_definition(definition: &str) -> Option<Self> {
        let parsed = ParserBuilder::new()
            .utf8(false)
            .build()
            .parse(definition)
            .ok()?;
        match parsed.into_kind() {
            HirKind::Class(Class::Unicode(class)) => Some(Self(class)),
            HirKind::Class(Class::Bytes(class)) => {
                let ranges: Vec<(char, char)> = class
                    .ranges()
                    .iter()
                    .map(|range| (char::from(range.start()), char::from(range.end())))
                    .collect();
                Some(Self::from_ranges(&ranges))
            }
            HirKind::Literal(literal) => {
                let text = std::str::from_utf8(&literal.0).ok()?;
                Some(Self::single(text.chars().next()?))
            }
            _ => None,
        }
    }

    pub(crate) fn push(&mut self, first: char, last: char) {
        self.0.push(ClassUnicodeRange::new(first, last));
    }

    pub(crate) fn union(&mut self, other: &Self) {
        self.0.union(&other.0);
    }

    pub(crate) fn intersect(&mut self, other: &Self) {
        self.0.intersect(&other.0);
    }

    pub(crate) fn negate(&mut self) {
        self.0.negate();
    }

    pub(crate) fn negated(mut self) -> Self {
        self.negate();
        self
    }

    /// Adds the other case of every letter.
    pub(crate) fn fold_case(&mut self) {
        // Only fails when the Unicode tables were left out of the build.
        if self.0.try_case_fold_simple().is_err() {
            let ranges: Vec<(char, char)> = self.ranges().collect();
            for (first, last) in ranges {
                for character in first..=last {
                    if character.is_ascii_alphabetic() {
                        let other = (character as u8 ^ 0x20) as char;
                        self.push(other, other);
                    }
                    if !character.is_ascii() {
                        break;
                    }
                }
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.ranges().is_empty()
    }

    pub(crate) fn ranges(&self) -> impl Iterator<Item = (char, char)> {
        self.0
            .ranges()
            .iter()
            .map(|range| (range.start(), range.end()))
    }

    /// The only member, when there is one only.
    pub(crate) fn single_member(&self) -> Option<char> {
        let mut ranges = self.ranges();
        match (ranges.next(), ranges.next()) {
            (Some((first, last)), None) if first == last => Some(first),
            _ => None,
        }
    }

    /// The members below 128, as bytes.
    pub(crate) fn ascii(&self) -> ByteSet {
        let mut set = ByteSet::default();
        for (first, last) in self.ranges() {
            if first.is_ascii() {
                set.insert_range(first as u8, last.min('\x7F') as u8);
            }
        }
        set
    }

    /// The members from 128 up.
    pub(crate) fn above_ascii(&self) -> Vec<(char, char)> {
        self.ranges()
            .filter(|(_, last)| !last.is_ascii())
            .map(|(first, last)| (first.max('\u{80}'), last))
            .collect()
    }

    /// Whether every character from 128 up is a member. Such a class also takes bytes that are
    /// not UTF-8: no byte of a line is ever out of reach of `.` or `[^"]`.
    pub(crate) fn has_all_above_ascii(&self) -> bool {
        self.ranges()
            .last()
            .is_some_and(|(first, last)| first <= '\u{80}' && last == char::MAX)
    }

    /// The bytes that decide about membership, when one byte can: that is when the characters
    /// from 128 up are all in or all out.
    pub(crate) fn as_bytes(&self) -> Option<ByteSet> {
        let mut set = self.ascii();
        if self.has_all_above_ascii() {
            set.insert_range(0x80, 0xFF);
        } else if !self.above_ascii().is_empty() {
            return None;
        }
        Some(set)
    }
}

/// A set of bytes and of [`EDGE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct ByteSet([u64; 5]);

impl ByteSet {
    pub(crate) fn from_range(first: u8, last: u8) -> Self {
        let mut set = Self::default();
        set.insert_range(first, last);
        set
    }

    pub(crate) fn insert_range(&mut self, first: u8, last: u8) {
        let (first, last) = (usize::from(first), usize::from(last));
        for (index, word) in self.0[..4].iter_mut().enumerate() {
            let (from, to) = (first.max(64 * index), last.min(64 * index + 63));
            if from <= to {
                *word |= (u64::MAX >> (63 - (to - from))) << (from % 64);
            }
        }
    }

    pub(crate) fn insert(&mut self, unit: usize) {
        self.0[unit / 64] |= 1 << (unit % 64);
    }

    pub(crate) fn contains(&self, unit: usize) -> bool {
        self.0[unit / 64] & (1 << (unit % 64)) != 0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0 == [0; 5]
    }

    /// The members in order.
    pub(crate) fn units(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().enumerate().flat_map(|(index, word)| {
            let mut left = word;
            std::iter::from_fn(move || {
                let unit = 64 * index + left.trailing_zeros() as usize;
                (left != 0).then(|| {
                    left &= left - 1;
                    unit
                })
            })
        })
    }

    pub(crate) fn union(mut self, other: Self) -> Self {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine |= theirs;
        }
        self
    }

    pub(crate) fn intersects(self, other: Self) -> bool {
        self.0
            .iter()
            .zip(other.0)
            .any(|(mine, theirs)| mine & theirs != 0)
    }

    pub(crate) fn is_subset(self, other: Self) -> bool {
        self.0
            .iter()
            .zip(other.0)
            .all(|(mine, theirs)| mine & !theirs == 0)
    }

    /// Everything that is not in the set; [`EDGE`] is treated as any other member.
    pub(crate) fn complement(mut self) -> Self {
        for word in &mut self.0[..4] {
            *word = !*word;
        }
        self.0[4] ^= 1;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negated_class_takes_all_above_ascii() {
        let class = CharacterClass::single('"').negated();
        assert!(class.has_all_above_ascii());
        assert!(
            class
                .as_bytes()
                .is_some_and(|set| set.contains(0xFF) && !set.contains(0x22))
        );
        assert!(CharacterClass::single('é').as_bytes().is_none());
    }

    #[test]
    fn every_bracket_is_known() {
        for name in [
            "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print",
            "punct", "space", "upper", "word", "xdigit",
        ] {
            assert!(CharacterClass::posix(name).is_some(), "{name}");
        }
        assert!(!CharacterClass::mark().is_empty());
    }

    #[test]
    fn ranges_hold_their_bytes_and_no_others() {
        for (first, last) in [(0, 0), (0, 255), (63, 64), (65, 127), (200, 255), (9, 13)] {
            let set = ByteSet::from_range(first, last);
            for byte in 0..=255 {
                let inside = (first..=last).contains(&byte);
                assert_eq!(set.contains(usize::from(byte)), inside, "{byte}");
            }
            assert!(!set.contains(EDGE));
        }
    }

    #[test]
    fn the_complement_swaps_the_edge_too() {
        let digits = ByteSet::from_range(b'0', b'9');
        assert!(!digits.contains(EDGE) && digits.complement().contains(EDGE));
        assert_eq!(digits.complement().complement(), digits);
    }

    #[test]
    fn properties_and_brackets_are_known_by_oniguruma_names() {
        for name in ["Alnum", "Greek", "Lu", "Letter", "XDigit", "Any", "Han"] {
            assert!(CharacterClass::property(name).is_some(), "{name}");
        }
        assert!(CharacterClass::property("NoSuchThing").is_none());
        let alnum = CharacterClass::posix("alnum").expect("a known bracket");
        assert!(!alnum.above_ascii().is_empty());
        assert!(alnum.ascii().contains(usize::from(b'z')) && !alnum.ascii().contains(0x5F));
    }
}
