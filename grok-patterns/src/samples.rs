//! Made-up texts that an expression is about.
//!
//! They come from a walk through the tree of the expression: a branch here, a few rounds of a
//! loop there. Conditions (`\b`, look-around) are not looked at, so that most texts match, not
//! all. What it is for: lines for tests and for measuring, and to show what a pattern takes.

use crate::{
    CompileError, CompileOptions, PatternSet,
    syntax::{CharacterClass, Node, RepeatKind, parse},
};

/// An endless source of texts that an expression is about; see [`PatternSet::samples`].
///
/// ```
/// use skidder_grok::{CompileOptions, PatternSet};
///
/// let mut samples = PatternSet::legacy().samples("%{IPV4}", &CompileOptions::default(), 1)?;
/// let text = samples.text();
/// assert_eq!(text.matches('.').count(), 3, "{text}");
/// # Ok::<(), skidder_grok::CompileError>(())
/// ```
#[derive(Debug)]
pub struct Samples {
    node: Node,
    random: u64,
}

/// A text is not lengthened by loops beyond this.
const LONG_TEXT: usize = 2_000;
/// Characters that loops over nearly everything take, as ordinary lines have them.
const ORDINARY: &[char] = &[
    'a', 'b', 'e', 'i', 'n', 'o', 'r', 's', 't', 'x', 'A', 'F', 'Z', '0', '1', '2', '5', '9', '-',
    '.', '_', ' ', ':', '/', ',', '=', '"', '\'', '\\', '[', ']', '(', ')', '\u{e4}',
];

impl PatternSet {
    /// Texts that an expression is about; the same seed gives the same ones.
    ///
    /// ```
    /// use skidder_grok::{CompileOptions, PatternSet};
    ///
    /// let options = CompileOptions::default();
    /// let one = PatternSet::legacy().samples("%{UUID}", &options, 7)?.text();
    /// let same = PatternSet::legacy().samples("%{UUID}", &options, 7)?.text();
    /// assert_eq!(one, same);
    /// # Ok::<(), skidder_grok::CompileError>(())
    /// ```
    pub fn samples(
        &self,
        expression: &str,
        options: &CompileOptions,
        seed: u64,
    ) -> Result<Samples, CompileError> {
        Ok(Samples {
            node: parse(expression, self, options)?.node,
            random: seed,
        })
    }
}

impl Samples {
    /// The next text. Most of them match.
    ///
    /// ```
    /// use skidder_grok::{CompileOptions, PatternSet};
    ///
    /// let mut samples = PatternSet::legacy().samples("[ab]{3}", &CompileOptions::default(), 1)?;
    /// assert_eq!(samples.text().len(), 3);
    /// # Ok::<(), skidder_grok::CompileError>(())
    /// ```
    pub fn text(&mut self) -> String {
        let mut text = String::new();
        let mut random = self.random;
        write(&self.node, &mut random, &mut text);
        self.random = random;
        text
    }
}

fn below(random: &mut u64, limit: usize) -> usize {
    // SplitMix64.
    *random = random.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *random;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((mixed ^ (mixed >> 31)) % limit as u64) as usize
}

fn write(node: &Node, random: &mut u64, text: &mut String) {
    match node {
        Node::Empty | Node::Assertion(_) | Node::Look { .. } | Node::BackReference { .. } => {}
        Node::Class(class) => text.extend(member(class, random)),
        Node::Concat(nodes) => {
            for node in nodes {
                write(node, random, text);
            }
        }
        Node::Alternate(nodes) => write(&nodes[below(random, nodes.len())], random, text),
        Node::Repeat {
            node,
            min,
            max,
            kind,
        } => {
            let wanted = match (*max, kind) {
                (Some(max), _) if max - min <= 3 => below(random, (max - min) as usize + 1) as u32,
                // A lazy one stops soon; long ones show that the others do not.
                (_, RepeatKind::Lazy) => below(random, 6) as u32,
                _ if below(random, 8) == 0 => below(random, 40) as u32,
                _ => below(random, 7) as u32,
            };
            let most = max.unwrap_or(u32::MAX);
            let count = min.saturating_add(wanted).min(most);
            for round in 0..count {
                if round >= *min && text.len() > LONG_TEXT {
                    break;
                }
                write(node, random, text);
            }
        }
        Node::Group { node, .. } | Node::Atomic(node) => write(node, random, text),
    }
}

/// A character of a class, an ordinary one when there are many.
fn member(class: &CharacterClass, random: &mut u64) -> Option<char> {
    let ranges: Vec<(char, char)> = class.ranges().collect();
    let count: usize = ranges
        .iter()
        .map(|(first, last)| *last as usize - *first as usize + 1)
        .sum();
    if count > 100 && below(random, 50) > 0 {
        let ordinary: Vec<char> = ORDINARY
            .iter()
            .copied()
            .filter(|c| {
                ranges
                    .iter()
                    .any(|(first, last)| (first..=last).contains(&c))
            })
            .collect();
        if !ordinary.is_empty() {
            return Some(ordinary[below(random, ordinary.len())]);
        }
    }
    let (first, last) = *ranges.get(below(random, ranges.len().max(1)))?;
    let steps = last as usize - first as usize + 1;
    // The gap of the surrogates is stepped over by taking the first of the range.
    char::from_u32(first as u32 + below(random, steps) as u32).or(Some(first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Slots;

    #[test]
    fn most_texts_of_most_patterns_match() {
        for set in [PatternSet::legacy(), PatternSet::ecs_v1()] {
            let (mut texts, mut matches) = (0, 0);
            for name in set.names() {
                let expression = format!("%{{{name}}}");
                let options = CompileOptions::default();
                let matcher = set.compile(&expression, &options).expect("it compiles");
                let mut samples = set.samples(&expression, &options, 3).expect("it parses");
                let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
                for _ in 0..8 {
                    let text = samples.text();
                    let found = matcher.find(text.as_bytes(), &mut scratch, &mut slots);
                    texts += 1;
                    matches += usize::from(found == Ok(true));
                }
            }
            assert!(matches * 10 > texts * 8, "{matches} of {texts} match");
        }
    }

    #[test]
    fn a_seed_gives_the_same_texts_again() {
        let text = |seed| {
            let samples = PatternSet::legacy().samples("%{IP}", &CompileOptions::default(), seed);
            samples.expect("it parses").text()
        };
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
    }
}
