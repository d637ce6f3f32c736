//! Rejecting a line by what it lacks.
//!
//! Every match of `%{SYSLOGBASE} \(%{USER}\)` contains a space, a parenthesis and a character of
//! a user's name in a row. From the program such *features* are derived: eight neighbouring sets
//! of bytes that occur, at some place, in every line that matches. One pass over a line finds
//! out which features of all the expressions of a list it has, with two table look-ups a byte,
//! independent of each other and of how many expressions there are, and some more where half a
//! feature fits; an expression whose features are not there need not be looked at.
//!
//! INVARIANT: a feature is never missing from a line that matches. That one is there says
//! nothing.

use crate::{
    program::{Address, Instruction, Program},
    syntax::{ByteSet, EDGE},
};

/// Number of neighbouring bytes in a feature.
const WIDTH: usize = 8;
/// Half of that: so many are looked at in every place of a line.
const HALF: usize = 4;
/// Features are told apart by bits, two for each: one for those that begin at an even place of the
/// line, and one for the others. The last bit is always there.
const MAX_FEATURES: usize = u32::BITS as usize - 1;
/// Requirements of one expression that are worth the room.
const MAX_REQUIREMENTS: usize = 2;
/// Features of which one must be there, in a requirement.
const MAX_ALTERNATIVES: usize = 6;
/// Of many places that every match passes, this many are looked at: the rarest bytes, and forks.
const MAX_PLACES: usize = 48;
/// The same inside of a fork.
const MAX_INNER_PLACES: usize = 12;
/// Forks of one expression that are looked into, those inside of others included.
const MAX_FORKS: usize = 64;
/// Looking at features takes time where half of one is there. Those of which a half is at more of a
/// log's places than this are left out,
const MOST_OFTEN: f32 = 1.0 / 80.0;
/// and those at fewer than this are preferred.
const RARE: f32 = 1.0 / 400.0;
/// What is so rare, and in none of the common lines, needs no company.
const TELLING: f32 = 1e-5;

/// Neighbouring sets of bytes, or of [`EDGE`] behind the end of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Feature([ByteSet; WIDTH]);

/// Features of which every line that matches has at least one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Requirement {
    /// Each with the address of its first byte in the program.
    features: Vec<(Feature, Address)>,
    /// About how many places of a log have one, if bytes come independently of each other.
    often: f32,
    /// The common lines that have one.
    common: Lines,
}

/// A bit for each of [`COMMON`].
type Lines = u8;

impl Requirement {
    fn one(feature: &Feature, address: Address) -> Self {
        Self {
            often: product(&feature.0),
            common: feature.common_lines(),
            features: vec![(*feature, address)],
        }
    }

    fn half_often(&self) -> f32 {
        let features = self.features.iter();
        features.map(|(feature, _)| feature.half_often()).sum()
    }

    /// Which tells more, given that it must be one of these common lines; less is better.
    fn compare(&self, other: &Self, lines: Lines) -> std::cmp::Ordering {
        let rank = |requirement: &Self| {
            let features = if requirement.often < TELLING {
                requirement.features.len()
            } else {
                usize::MAX
            };
            let slow = requirement.half_often() > RARE;
            ((requirement.common & lines).count_ones(), slow, features)
        };
        let by_rank = rank(self).cmp(&rank(other));
        by_rank.then(self.often.total_cmp(&other.often))
    }

    fn or(self, other: Self) -> Self {
        Self {
            features: [self.features, other.features].concat(),
            often: self.often + other.often,
            common: self.common | other.common,
        }
    }
}

/// What every match of a program has, the most telling first.
pub(crate) fn requirements(program: &Program) -> Vec<Requirement> {
    let matched = program
        .instructions
        .iter()
        .position(|instruction| *instruction == Instruction::Match);
    let Some(end) = matched else {
        return Vec::new();
    };
    let mut search = Search {
        program,
        frequencies: program.sets.iter().map(|set| frequency(*set)).collect(),
        seen: vec![0; program.instructions.len()],
        before: vec![Address::MAX; program.instructions.len()],
        place_of: vec![usize::MAX; program.instructions.len()],
        generation: 0,
        forks: MAX_FORKS,
    };
    let mut found = search.between(program.start, end as Address, MAX_ALTERNATIVES);
    found.retain(|(_, requirement)| requirement.half_often() < MOST_OFTEN);
    // Those come first that together leave the fewest of the common lines.
    let mut chosen: Vec<(usize, Requirement)> = Vec::new();
    let mut left = Lines::MAX;
    while chosen.len() < MAX_REQUIREMENTS {
        let best = found
            .iter()
            .min_by(|one, other| one.1.compare(&other.1, left));
        let Some((place, requirement)) = best.cloned() else {
            break;
        };
        // One that leaves all the lines that the others leave tells nothing.
        if !chosen.is_empty() && left & requirement.common == left {
            break;
        }
        left &= requirement.common;
        // Neighbours tell the same thing twice, and more of what takes time is not worth it.
        found.retain(|(other, requirement)| {
            other.abs_diff(place) >= HALF && requirement.half_often() < RARE
        });
        chosen.push((place, requirement));
    }
    chosen
        .into_iter()
        .map(|(_, requirement)| requirement)
        .collect()
}

/// Finds what all the ways from one place of a program to another have in common.
struct Search<'p> {
    program: &'p Program,
    /// Of the program's sets.
    frequencies: Vec<f32>,
    seen: Vec<u32>,
    generation: u32,
    /// For each place that the search for a way has come to, the one before it. Between searches
    /// nothing is set here, nor in `place_of`.
    before: Vec<Address>,
    /// The number of each place on the way.
    place_of: Vec<usize>,
    /// Forks that may still be looked into.
    forks: usize,
}

impl Search<'_> {
    /// Requirements of the ways between two places, each with its place on the way.
    fn between(
        &mut self,
        start: Address,
        end: Address,
        alternatives: usize,
    ) -> Vec<(usize, Requirement)> {
        let way = self.inevitable(start, end);
        let (mut bytes, mut forks) = (Vec::new(), Vec::new());
        for (place, address) in way.iter().enumerate() {
            match self.program.instructions[*address as usize] {
                Instruction::Byte { set, .. } => {
                    bytes.push((self.frequencies[set as usize], place));
                }
                Instruction::Split { first, second } if place + 1 < way.len() => {
                    forks.push((place, first, second, way[place + 1]));
                }
                _ => {}
            }
        }
        bytes.sort_by(|left, right| left.0.total_cmp(&right.0));
        bytes.truncate(if alternatives == MAX_ALTERNATIVES {
            MAX_PLACES
        } else {
            MAX_INNER_PLACES
        });
        let mut found: Vec<(usize, Requirement)> = bytes
            .into_iter()
            .filter_map(|(_, place)| Some((place, self.feature(way[place])?)))
            .collect();
        // What no common line has is enough.
        let enough = |(_, requirement): &(usize, Requirement)| requirement.common == 0;
        for (place, first, second, end) in forks {
            if alternatives < 2 || self.forks == 0 || found.iter().any(enough) {
                break;
            }
            self.forks -= 1;
            let Some(one) = self.best(first, end, alternatives - 1) else {
                continue;
            };
            let left = alternatives.saturating_sub(one.features.len());
            if let Some(other) = self.best(second, end, left) {
                found.push((place, one.or(other)));
            }
        }
        found
    }

    /// The most telling requirement of the ways between two places.
    fn best(&mut self, start: Address, end: Address, alternatives: usize) -> Option<Requirement> {
        if start == end || alternatives == 0 {
            return None;
        }
        let found = self.between(start, end, alternatives);
        let requirements = found.into_iter().map(|(_, requirement)| requirement);
        requirements.min_by(|one, other| one.compare(other, Lines::MAX))
    }

    /// The feature that begins at a place where a byte is consumed, unless half of it is there
    /// too often.
    fn feature(&mut self, address: Address) -> Option<Requirement> {
        let mut feature = Feature([ByteSet::default(); WIDTH]);
        let mut places = vec![address];
        for place in 0..WIDTH {
            // PERF: most features end here, which is half of the work.
            if place == HALF + 1 && feature.half_often() >= MOST_OFTEN {
                return None;
            }
            feature.0[place] = self.step(&mut places);
        }
        Some(Requirement::one(&feature, address))
    }

    /// The bytes that can come next from these places on, and steps over them.
    fn step(&mut self, places: &mut Vec<Address>) -> ByteSet {
        self.generation += 1;
        let mut set = ByteSet::default();
        let mut stack = std::mem::take(places);
        while let Some(address) = stack.pop() {
            let seen = &mut self.seen[address as usize];
            if std::mem::replace(seen, self.generation) == self.generation {
                continue;
            }
            match self.program.instructions[address as usize] {
                Instruction::Byte { set: bytes, next } => {
                    set = set.union(self.program.sets[bytes as usize]);
                    places.push(next);
                }
                Instruction::Match
                | Instruction::Look { .. }
                | Instruction::Atomic { .. }
                | Instruction::BackReference { .. } => {
                    // Anything may follow from here on.
                    *places = vec![address];
                    return ByteSet::default().complement();
                }
                other => {
                    let [first, second] = successors(other);
                    stack.extend(first);
                    stack.extend(second);
                }
            }
        }
        set
    }

    /// The addresses that every way from one to the other passes, in order, both included; none
    /// if there is no way.
    fn inevitable(&mut self, start: Address, end: Address) -> Vec<Address> {
        let way = self.shortest_way(start, end);
        for (place, address) in way.iter().enumerate() {
            self.place_of[*address as usize] = place;
        }
        // Whatever can be reached around a place on the way makes that place avoidable.
        self.generation += 1;
        let mut stack = Vec::new();
        let mut reached = 0;
        let mut found = Vec::new();
        for (place, address) in way.iter().enumerate() {
            if reached <= place {
                found.push(*address);
            }
            stack.push(*address);
            while let Some(address) = stack.pop() {
                let instruction = self.program.instructions[address as usize];
                for next in successors(instruction).into_iter().flatten() {
                    let place = self.place_of[next as usize];
                    let seen = &mut self.seen[next as usize];
                    if place != usize::MAX {
                        reached = reached.max(place);
                    } else if std::mem::replace(seen, self.generation) != self.generation {
                        stack.push(next);
                    }
                }
            }
        }
        for address in way {
            self.place_of[address as usize] = usize::MAX;
        }
        found
    }

    /// A way from one place to another with as few instructions as there can be; empty when there
    /// is none.
    fn shortest_way(&mut self, start: Address, end: Address) -> Vec<Address> {
        self.before[start as usize] = start;
        let mut reached = vec![start];
        let mut way = Vec::new();
        let mut next = 0;
        while let Some(address) = reached.get(next).copied() {
            next += 1;
            if address == end {
                way.push(address);
                let mut at = address;
                while at != start {
                    at = self.before[at as usize];
                    way.push(at);
                }
                way.reverse();
                break;
            }
            let instruction = self.program.instructions[address as usize];
            for after in successors(instruction).into_iter().flatten() {
                if self.before[after as usize] == Address::MAX {
                    self.before[after as usize] = address;
                    reached.push(after);
                }
            }
        }
        for address in reached {
            self.before[address as usize] = Address::MAX;
        }
        way
    }
}

fn successors(instruction: Instruction) -> [Option<Address>; 2] {
    match instruction {
        Instruction::Split { first, second } | Instruction::LoopEnd { first, second, .. } => {
            [Some(first), Some(second)]
        }
        Instruction::Byte { next, .. }
        | Instruction::Tag { next, .. }
        | Instruction::Ahead { next, .. }
        | Instruction::Behind { next, .. }
        | Instruction::Word { next, .. }
        | Instruction::AheadSequence { next, .. }
        | Instruction::LoopStart { next, .. }
        | Instruction::Look { next, .. }
        | Instruction::BackReference { next, .. }
        // What is inside of an atomic group is not followed; the relaxed program has none.
        | Instruction::Atomic { next, .. } => [Some(next), None],
        Instruction::Match | Instruction::Fail => [None, None],
    }
}

impl Feature {
    fn half_often(&self) -> f32 {
        let even = product(&self.0[..HALF]);
        let odd = product(&self.0[1..=HALF]).min(product(&self.0[..HALF - 1]));
        even.max(odd)
    }

    /// The sets as they are seen from the even place of the line by which a feature is found that
    /// begins at an odd one, and whether that is the place after it, and not the one before:
    /// whichever is rarer. One set is out of sight.
    fn odd(&self) -> ([ByteSet; WIDTH], bool) {
        let mut sets = [ByteSet::default().complement(); WIDTH];
        let after = product(&self.0[1..=HALF]) < product(&self.0[..HALF - 1]);
        if after {
            sets[..WIDTH - 1].copy_from_slice(&self.0[1..]);
        } else {
            sets[1..].copy_from_slice(&self.0[..WIDTH - 1]);
        }
        (sets, after)
    }

    fn common_lines(&self) -> Lines {
        let lines = COMMON.iter().enumerate();
        lines.fold(0, |all, (index, line)| {
            all | Lines::from(self.is_in(line.as_bytes())) << index
        })
    }

    fn is_in(&self, line: &[u8]) -> bool {
        (0..line.len()).any(|position| self.is_at(line, position))
    }

    fn is_at(&self, line: &[u8], position: usize) -> bool {
        let unit = |position: usize| line.get(position).map_or(EDGE, |byte| usize::from(*byte));
        let mut places = self.0.iter().enumerate();
        places.all(|(place, set)| set.contains(unit(position + place)))
    }
}

/// Lines as most logs have them; a feature that is in many of them tells little.
const COMMON: [&str; Lines::BITS as usize] = [
    "192.0.2.7 - alice [14/Nov/2023:22:13:20 +0000] \"GET /a/b?id=12 HTTP/1.1\" 200 1234 \"-\" \
     \"Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0\"",
    "Nov 14 22:13:20 web1 sshd[1234]: Accepted publickey for alice from 192.0.2.7 port 50122 ssh2",
    "2023-11-14T22:13:20.123Z INFO [main] com.example.App - started in 12.5 s, 3 of 4 done",
    "2023-11-14 22:13:20,123 ERROR example.worker: job 42 failed: (timeout) after 30.0s",
    "ts=2023-11-14T22:13:20.123Z level=info caller=main.go:42 msg=\"request done\" status=200 ms=12",
    "{\"time\":\"2023-11-14T22:13:20Z\",\"level\":\"info\",\"message\":\"done\",\"id\":12}",
    "[Tue Nov 14 22:13:20 2023] [error] [client 192.0.2.7:50122] File does not exist: /var/www/a",
    "<34>1 2023-11-14T22:13:20.003Z host.example.com app 1234 ID47 - connection from 192.0.2.7 closed",
];

/// How often bytes of these sets follow each other, if they come independently.
fn product(sets: &[ByteSet]) -> f32 {
    sets.iter().map(|set| frequency(*set)).product()
}

/// About how many of a log's bytes are in a set.
fn frequency(set: ByteSet) -> f32 {
    set.units().map(|unit| FREQUENCIES[unit]).sum()
}

/// About how many of a log's bytes are this one.
const FREQUENCIES: [f32; EDGE + 1] = {
    let mut frequencies = [0.005; EDGE + 1];
    let mut unit = 0;
    while unit < EDGE {
        frequencies[unit] = match unit as u8 {
            b' ' => 0.12,
            b'0'..=b'9' => 0.022,
            b'a'..=b'z' => 0.015,
            b'.' | b'/' | b'-' | b':' | b'"' => 0.02,
            b'=' | b'_' | b',' => 0.01,
            b'A'..=b'Z' | b'[' | b']' | b'(' | b')' => 0.004,
            128.. => 0.0002,
            _ => 0.001,
        };
        unit += 1;
    }
    frequencies
};

/// What to look for in a line, for all the expressions of a list.
#[derive(Debug, Clone)]
pub(crate) struct Prefilter {
    features: Vec<Feature>,
    /// The features that begin at odd places and are found by the even one after that.
    after: u32,
    /// For each byte at each place from an even one on, the features that it fits: in the lower
    /// half of the word those that begin at that even place, in the upper half those that begin
    /// at the odd one before or after it.
    rows: Box<[[u64; WIDTH]; 256]>,
    /// The same for what is behind the end of the line.
    edge: [u64; WIDTH],
    /// For each expression, features of which it needs one, and of these.
    wanted: Vec<[u32; MAX_REQUIREMENTS]>,
    /// For each expression the same with more detail.
    needs: Vec<Vec<Need>>,
}

/// The bit that is always there.
const ALWAYS: u32 = 1 << MAX_FEATURES;
/// Features at odd places have the upper half of a word.
const ODD: usize = u32::BITS as usize;

/// A requirement, once its features are numbered.
#[derive(Debug, Clone)]
struct Need {
    tails: Vec<Tail>,
}

/// Where an expression goes on from a feature.
#[derive(Debug, Clone, Copy)]
struct Tail {
    feature: u32,
    address: Address,
}

/// A feature that a line has, and where.
#[derive(Debug, Clone, Copy)]
struct Hit {
    feature: u32,
    position: usize,
}

/// What a scan found in a line.
#[derive(Debug)]
pub(crate) struct Found {
    /// A bit for each feature.
    features: u32,
    hits: Vec<Hit>,
    /// There were more hits than are kept.
    overflow: bool,
}

/// Hits that are kept of a line.
const MAX_HITS: usize = 64;

impl Default for Found {
    fn default() -> Self {
        Self {
            features: ALWAYS,
            hits: Vec::new(),
            overflow: false,
        }
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
        let mut prefilter = Self {
            features,
            after: 0,
            rows: Box::new([[0; WIDTH]; 256]),
            edge: [0; WIDTH],
            wanted: needs.iter().map(|needs| wanted(needs)).collect(),
            needs,
        };
        for (number, feature) in prefilter.features.iter().enumerate() {
            let (odd, after) = feature.odd();
            prefilter.after |= u32::from(after) << number;
            for (place, sets) in feature.0.iter().zip(odd).enumerate() {
                for (bit, set) in [(number, *sets.0), (number + ODD, sets.1)] {
                    for byte in (0..256).filter(|byte| set.contains(*byte)) {
                        prefilter.rows[byte][place] |= 1 << bit;
                    }
                    if set.contains(EDGE) {
                        prefilter.edge[place] |= 1 << bit;
                    }
                }
            }
        }
        let count = prefilter.needs.len();
        (prefilter, count)
    }

    /// Whether it cannot reject any line.
    pub(crate) fn is_empty(&self) -> bool {
        self.features.is_empty()
    }

    /// Looks for the features in a line.
    pub(crate) fn scan(&self, line: &[u8], found: &mut Found) {
        found.features = ALWAYS;
        found.hits.clear();
        found.overflow = false;
        // PERF: half a feature takes two pairs; each pair is read once, as the second half of it
        // and as the first half of the next. Four pairs together mostly have nothing.
        let (eights, rest) = line.as_chunks::<8>();
        let (mut before, mut position) = (0, 0);
        for &[b0, b1, b2, b3, b4, b5, b6, b7] in eights {
            let f0 = self.pair(&mut before, [b0, b1]);
            let f1 = self.pair(&mut before, [b2, b3]);
            let f2 = self.pair(&mut before, [b4, b5]);
            let f3 = self.pair(&mut before, [b6, b7]);
            if f0 | f1 | f2 | f3 != 0 {
                for (index, fits) in [f0, f1, f2, f3].into_iter().enumerate() {
                    if fits != 0 {
                        self.look(line, position + 2 * index - 2, fits, found);
                    }
                }
            }
            position += 8;
        }
        for pair in rest.as_chunks::<2>().0 {
            let fits = self.pair(&mut before, *pair);
            if fits != 0 {
                self.look(line, position - 2, fits, found);
            }
            position += 2;
        }
        // What goes beyond the end.
        position = position.saturating_sub(2);
        while position <= line.len() {
            let places = 0..HALF;
            let fits = places.fold(u64::MAX, |fits, place| {
                fits & self.at(line, position, place)
            });
            if fits != 0 {
                self.look(line, position, fits, found);
            }
            position += 2;
        }
    }

    /// The features of which two pairs are there with this one. In `before` are those of which
    /// one is.
    #[inline]
    fn pair(&self, before: &mut u64, [left, right]: [u8; 2]) -> u64 {
        let (left, right) = (
            &self.rows[usize::from(left)],
            &self.rows[usize::from(right)],
        );
        let fits = *before & left[2] & right[3];
        *before = left[0] & right[1];
        fits
    }

    /// The features that fit so far after a position.
    fn at(&self, line: &[u8], position: usize, place: usize) -> u64 {
        match line.get(position + place) {
            Some(byte) => self.rows[usize::from(*byte)][place],
            None => self.edge[place],
        }
    }

    /// Notes the features that are seen from an even place, of which the first pairs are there.
    fn look(&self, line: &[u8], position: usize, mut fits: u64, found: &mut Found) {
        for place in HALF..WIDTH {
            fits &= self.at(line, position, place);
            if fits == 0 {
                return;
            }
        }
        while fits != 0 {
            let bit = fits.trailing_zeros();
            fits &= fits - 1;
            let feature = bit % u32::BITS;
            // Of a feature at an odd place, one set was out of sight.
            let (position, unseen) = match (bit / u32::BITS, position.checked_sub(1)) {
                (0, _) => (position, None),
                (_, _) if self.after & 1 << feature == 0 => (position + 1, Some(WIDTH - 1)),
                (_, Some(before)) => (before, Some(0)),
                (_, None) => continue,
            };
            if let Some(place) = unseen {
                let set = self.features[feature as usize].0[place];
                let byte = line.get(position + place);
                if !set.contains(byte.map_or(EDGE, |byte| usize::from(*byte))) {
                    continue;
                }
            }
            found.features |= 1 << feature;
            if found.hits.len() < MAX_HITS {
                found.hits.push(Hit { feature, position });
            } else {
                found.overflow = true;
            }
        }
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
        if found.overflow {
            return true;
        }
        self.needs[expression].iter().all(|need| {
            found.hits.iter().any(|hit| {
                let mut tails = need.tails.iter();
                tails.any(|tail| tail.feature == hit.feature && goes_on(tail.address, hit.position))
            })
        })
    }
}

/// The features of some needs, as bits.
fn wanted(needs: &[Need]) -> [u32; MAX_REQUIREMENTS] {
    let mut wanted = [ALWAYS; MAX_REQUIREMENTS];
    for (wanted, need) in wanted.iter_mut().zip(needs) {
        let features = need.tails.iter();
        *wanted = features.fold(0, |any, tail| any | 1 << tail.feature);
    }
    wanted
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
    Some(Need { tails })
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
