//! Rejecting a line by what it lacks.
//!
//! Every match of `%{SYSLOGBASE} \(%{USER}\)` contains a space, a parenthesis and a character of
//! a user's name in a row. From the program such *features* are derived: eight neighbouring sets
//! of bytes that occur, at some place, in every line that matches. One pass over a line finds
//! out which features of all the expressions of a list it has, however many expressions there are,
//! sixty-four places at a time where the processor can ([`blocks`]); an expression whose features are
//! not there need not be looked at.
//!
//! INVARIANT: a feature is never missing from a line that matches. That one is there says
//! nothing.

mod blocks;
mod requirements;

pub(crate) use self::requirements::{Requirement, requirements};
use self::{
    blocks::Blocks,
    requirements::{Feature, HALF, MAX_REQUIREMENTS, WIDTH},
};
use crate::{program::Address, syntax::EDGE};

/// What to look for in a line, for all the expressions of a list.
#[derive(Debug, Clone)]
pub(crate) struct Prefilter {
    /// For each byte at each place of a feature, the features that it fits.
    rows: Box<[[u32; WIDTH]; 256]>,
    /// The same for what is behind the end of the line.
    edge: [u32; WIDTH],
    /// Finds places that are worth a look.
    blocks: Blocks,
    /// For each expression, features of which it needs one, and of these.
    wanted: Vec<[u32; MAX_REQUIREMENTS]>,
    /// The same the other way round.
    satisfied: Vec<Satisfied>,
    /// For each expression the same with more detail.
    needs: Vec<Vec<Need>>,
}

/// For 64 expressions, those of whose first, second… requirement one of four features is enough: for
/// each of the features' fours, whichever of the four a line has.
type Satisfied = [[[u64; FOUR]; MAX_REQUIREMENTS]; FOURS];
const FOUR: usize = 1 << 4;
const FOURS: usize = u32::BITS as usize / 4;

/// A requirement, once its features are numbered.
#[derive(Debug, Clone)]
struct Need {
    /// As bits.
    features: u32,
    tails: Vec<Tail>,
}

/// Where an expression goes on from a feature.
#[derive(Debug, Clone, Copy)]
struct Tail {
    feature: u32,
    address: Address,
}

/// Features that a line has at a position, as bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Hit {
    features: u32,
    position: usize,
}

/// What a scan found in a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// A bit for each feature.
    features: u32,
    /// The first of the hits. The last place is for those that are too many.
    hits: [Hit; MAX_HITS + 1],
    /// All the hits.
    count: usize,
}

/// Features are told apart by bits, of which the last is always there.
const MAX_FEATURES: usize = u32::BITS as usize - 1;
const ALWAYS: u32 = 1 << MAX_FEATURES;
/// Hits that are kept of a line.
const MAX_HITS: usize = 64;

impl Default for Found {
    fn default() -> Self {
        Self {
            features: ALWAYS,
            hits: [Hit::default(); MAX_HITS + 1],
            count: 0,
        }
    }
}

impl Found {
    /// The hits, unless there were too many.
    fn hits(&self) -> Option<&[Hit]> {
        self.hits[..MAX_HITS].get(..self.count)
    }
}

impl Prefilter {
    /// A prefilter for the first of these expressions, by their requirements: for as many as there is
    /// room for. How many comes with it.
    pub(crate) fn new(expressions: &[&[Requirement]]) -> (Self, usize) {
        let mut features: Vec<Feature> = Vec::new();
        let mut needs: Vec<Vec<Need>> = Vec::new();
        // The best requirement of each first, then others while there is room.
        for own in expressions {
            match own.first().map(|best| need(best, &mut features)) {
                None => needs.push(Vec::new()),
                Some(Some(need)) => needs.push(vec![need]),
                Some(None) => break,
            }
        }
        for rank in 1..MAX_REQUIREMENTS {
            for (own, needs) in expressions.iter().zip(&mut needs) {
                let need = own.get(rank).and_then(|own| need(own, &mut features));
                needs.extend(need);
            }
        }
        let mut rows = Box::new([[0; WIDTH]; 256]);
        let mut edge = [0; WIDTH];
        for (number, feature) in features.iter().enumerate() {
            for (place, set) in feature.0.iter().enumerate() {
                for byte in (0..256).filter(|byte| set.contains(*byte)) {
                    rows[byte][place] |= 1 << number;
                }
                if set.contains(EDGE) {
                    edge[place] |= 1 << number;
                }
            }
        }
        let wanted: Vec<_> = needs.iter().map(|needs| wanted(needs)).collect();
        let prefilter = Self {
            rows,
            edge,
            blocks: Blocks::new(&features),
            satisfied: wanted.chunks(64).map(satisfied).collect(),
            wanted,
            needs,
        };
        let count = prefilter.needs.len();
        (prefilter, count)
    }

    /// Whether it cannot reject any line.
    pub(crate) fn is_empty(&self) -> bool {
        self.needs.iter().all(Vec::is_empty)
    }

    /// Looks for the features in a line.
    pub(crate) fn scan(&self, line: &[u8], found: &mut Found) {
        (found.features, found.count) = (ALWAYS, 0);
        let in_blocks = self.blocks.each(line, |positions| {
            for position in positions {
                self.look(line, *position, found);
            }
        });
        if !in_blocks {
            self.scan_bytes(line, found);
        }
    }

    /// The same a byte at a time.
    fn scan_bytes(&self, line: &[u8], found: &mut Found) {
        // Of the features that may have begun at each of the last places, those that fit so far.
        let mut begun = [0; HALF];
        for (position, byte) in line.iter().enumerate() {
            let row = &self.rows[usize::from(*byte)];
            for place in (1..HALF).rev() {
                begun[place] = begun[place - 1] & row[place];
            }
            begun[0] = row[0];
            if begun[HALF - 1] != 0 {
                self.look(line, position + 1 - HALF, found);
            }
        }
        for position in (line.len() + 1).saturating_sub(HALF)..=line.len() {
            self.look(line, position, found);
        }
    }

    /// Notes the features that begin at a position.
    #[inline]
    fn look(&self, line: &[u8], position: usize, found: &mut Found) {
        let rest = &line[position..];
        let mut fits = u32::MAX;
        if let Some(bytes) = rest.first_chunk::<WIDTH>() {
            for (place, byte) in bytes.iter().enumerate() {
                fits &= self.rows[usize::from(*byte)][place];
            }
        } else {
            for (place, edge) in self.edge.iter().enumerate() {
                let byte = rest.get(place);
                fits &= byte.map_or(*edge, |byte| self.rows[usize::from(*byte)][place]);
            }
        }
        // PERF: no branch, whether anything fits cannot be foretold.
        found.features |= fits;
        found.hits[found.count.min(MAX_HITS)] = Hit {
            features: fits,
            position,
        };
        found.count += usize::from(fits != 0);
    }

    /// Bits for the expressions that may match a line in which this was found: for each 64 of them.
    pub(crate) fn passing(&self, found: &Found) -> impl Iterator<Item = u64> {
        self.satisfied.iter().map(|satisfied| {
            // PERF: whatever the line has, the same few steps.
            let mut passing = [0; MAX_REQUIREMENTS];
            for (four, by_rank) in satisfied.iter().enumerate() {
                let there = (found.features >> (4 * four)) as usize % FOUR;
                for (passing, by_features) in passing.iter_mut().zip(by_rank) {
                    *passing |= by_features[there];
                }
            }
            passing.into_iter().fold(u64::MAX, std::ops::BitAnd::bitand)
        })
    }

    /// Whether an expression may match a line in which this was found.
    #[inline]
    pub(crate) fn may_match(&self, expression: usize, found: &Found) -> bool {
        let wanted = self.wanted[expression];
        wanted.iter().all(|any| any & found.features != 0)
    }

    /// The same, looking closer: at one of the places where a feature is, the expression must be
    /// able to go on from there. `goes_on` tells, for an address and a position.
    pub(crate) fn may_match_closely(
        &self,
        expression: usize,
        found: &Found,
        mut goes_on: impl FnMut(Address, usize) -> bool,
    ) -> bool {
        let Some(hits) = found.hits() else {
            return true;
        };
        // PERF: plain loops; adaptors of iterators cost several times as much here.
        'needs: for need in &self.needs[expression] {
            for hit in hits {
                if hit.features & need.features == 0 {
                    continue;
                }
                for tail in &need.tails {
                    let is_there = hit.features & 1 << tail.feature != 0;
                    if is_there && goes_on(tail.address, hit.position) {
                        continue 'needs;
                    }
                }
            }
            return false;
        }
        true
    }
}

/// The features of some needs, as bits.
fn wanted(needs: &[Need]) -> [u32; MAX_REQUIREMENTS] {
    let mut wanted = [ALWAYS; MAX_REQUIREMENTS];
    for (wanted, need) in wanted.iter_mut().zip(needs) {
        *wanted = need.features;
    }
    wanted
}

/// Turns round what up to 64 expressions want.
fn satisfied(wanted: &[[u32; MAX_REQUIREMENTS]]) -> Satisfied {
    let mut satisfied = [[[0; FOUR]; MAX_REQUIREMENTS]; FOURS];
    for (expression, wanted) in wanted.iter().enumerate() {
        for (four, by_rank) in satisfied.iter_mut().enumerate() {
            for (any, by_features) in wanted.iter().zip(by_rank) {
                let any = (any >> (4 * four)) as usize;
                for (there, expressions) in by_features.iter_mut().enumerate() {
                    *expressions |= u64::from(any & there != 0) << expression;
                }
            }
        }
    }
    satisfied
}

/// A requirement with numbers for its features, new ones if need be and there is room.
fn need(requirement: &Requirement, features: &mut Vec<Feature>) -> Option<Need> {
    let count = features.len();
    let mut tails = Vec::new();
    for (feature, address) in &requirement.features {
        let known = features.iter().position(|known| known == feature);
        let index = known.unwrap_or_else(|| {
            features.push(*feature);
            features.len() - 1
        });
        if index >= MAX_FEATURES {
            features.truncate(count);
            return None;
        }
        tails.push(Tail {
            feature: index as u32,
            address: *address,
        });
    }
    Some(Need {
        features: tails.iter().fold(0, |all, tail| all | 1 << tail.feature),
        tails,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CompileOptions, PatternSet, program::build_relaxed, syntax::parse};

    fn requirements_of(expression: &str) -> Vec<Requirement> {
        let options = CompileOptions::default();
        let parsed = parse(expression, &PatternSet::legacy(), &options).expect("it is right");
        requirements(&build_relaxed(&parsed, &options).expect("it is small"))
    }

    fn may_match(expressions: &[&str], line: &str) -> Vec<bool> {
        let all: Vec<Vec<Requirement>> = expressions
            .iter()
            .map(|each| requirements_of(each))
            .collect();
        let all: Vec<&[Requirement]> = all.iter().map(Vec::as_slice).collect();
        let (prefilter, count) = Prefilter::new(&all);
        assert_eq!(count, expressions.len());
        let mut found = Found::default();
        prefilter.scan(line.as_bytes(), &mut found);
        (0..count)
            .map(|index| prefilter.may_match(index, &found))
            .collect()
    }

    #[test]
    fn a_literal_is_looked_for_wherever_it_is() {
        for before in 0..20 {
            for after in 0..12 {
                let line = format!("{}failed{}", "x".repeat(before), "y".repeat(after));
                assert_eq!(
                    may_match(&["failed", "refused"], &line),
                    [true, false],
                    "{line}"
                );
            }
        }
        assert_eq!(may_match(&["failed"], "faile"), [false]);
        assert_eq!(may_match(&["failed"], ""), [false]);
    }

    /// ` "` is in many lines, and often. After a number it is not.
    #[test]
    fn what_is_often_there_is_looked_for_with_the_byte_before_it() {
        let expression = ["%{INT} \"%{DATA}"];
        assert_eq!(may_match(&expression, "a \"quoted\" \"text\""), [false]);
        assert_eq!(may_match(&expression, "a 7 \"text\""), [true]);
        assert_eq!(may_match(&expression, "7 \""), [true]);
        // Here the byte before may be one of several, or none.
        let expression = ["(?:%{INT}|-|) \"%{DATA}"];
        assert_eq!(may_match(&expression, "a \"text\""), [true]);
        assert_eq!(may_match(&expression, " \""), [true]);
    }

    #[test]
    fn what_may_end_with_the_line_is_found_at_its_end() {
        assert_eq!(may_match(&["ab$"], "xxab"), [true]);
        assert_eq!(may_match(&["QZ"], "xxxQZ"), [true]);
        assert_eq!(may_match(&["QZ"], "xxxQ"), [false]);
    }

    #[test]
    fn of_alternatives_one_is_enough() {
        let expression = ["%{WORD} (?:accepted|refused) by %{IP}"];
        assert_eq!(may_match(&expression, "x accepted by 192.0.2.1"), [true]);
        assert_eq!(may_match(&expression, "x refused by 192.0.2.1"), [true]);
        assert_eq!(may_match(&expression, "x dropped by"), [false]);
    }

    #[test]
    fn what_can_be_left_out_is_not_required() {
        assert_eq!(may_match(&["a(?:bcdefgh)?i"], "ai"), [true]);
        assert_eq!(may_match(&["%{GREEDYDATA:all}"], ""), [true]);
    }

    #[test]
    fn an_expression_that_goes_on_nowhere_is_rejected_closely() {
        let options = CompileOptions::default();
        let set = PatternSet::legacy();
        let matcher = set
            .compile("job %{INT} done", &options)
            .expect("it is right");
        let (prefilter, _) = Prefilter::new(&[matcher.requirements()]);
        for (line, wanted) in [("job 12 done", true), ("job x, job 12 gone", false)] {
            let mut found = Found::default();
            prefilter.scan(line.as_bytes(), &mut found);
            let mut scratch = matcher.scratch();
            let closely = prefilter.may_match(0, &found)
                && matcher.may_match_closely(
                    (&prefilter, 0),
                    &found,
                    line.as_bytes(),
                    &mut scratch,
                );
            assert_eq!(closely, wanted, "{line}");
        }
    }

    /// The two ways to read a line find the same, whatever the lengths and wherever the features are.
    #[test]
    fn blocks_and_bytes_find_the_same() {
        let expressions = [
            "%{SYSLOGBASE} \\(%{USER}\\)",
            "%{COMBINEDAPACHELOG}",
            "failed|refused",
            "ab$",
            "\\bend(?!.)",
        ];
        let all = expressions.map(requirements_of);
        let (prefilter, _) = Prefilter::new(&all.each_ref().map(Vec::as_slice));
        let pieces: [&[u8]; 12] = [
            b"ab",
            b"end",
            b"failed",
            b"refused",
            b" (root)",
            b"192.0.2.7 - - [14/Nov/2023:22:13:20 +0000] \"GET / HTTP/1.1\" 200 1 \"-\" \"-\"",
            b"Nov 14 22:13:20 web1 sshd[12]: ",
            b"\0\xff",
            b" ",
            b"xxxxxxx",
            b"0",
            b"\0",
        ];
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        for round in 0..4000 {
            let mut line = Vec::new();
            for _ in 0..round % 40 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                line.extend_from_slice(pieces[(random % 12) as usize]);
            }
            let (mut in_blocks, mut in_bytes) = (Found::default(), Found::default());
            prefilter.scan(&line, &mut in_blocks);
            prefilter.scan_bytes(&line, &mut in_bytes);
            assert_eq!(in_blocks.features, in_bytes.features, "{line:?}");
            assert_eq!(in_blocks.count, in_bytes.count, "{line:?}");
            assert_eq!(in_blocks.hits(), in_bytes.hits(), "{line:?}");
        }
    }

    #[test]
    fn there_is_no_room_for_any_number_of_expressions() {
        let many: Vec<Vec<Requirement>> = (0..100)
            .map(|number| requirements_of(&format!("message number {number} of many")))
            .collect();
        let all: Vec<&[Requirement]> = many.iter().map(Vec::as_slice).collect();
        let (_, count) = Prefilter::new(&all);
        assert!((1..=100).contains(&count), "{count}");
    }
}
