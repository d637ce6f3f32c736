//! What every line that matches has: found out from the program, before any line is there.

use crate::{
    program::{Address, Instruction, Program},
    syntax::{ByteSet, EDGE},
};

/// Number of neighbouring bytes in a feature.
pub(super) const WIDTH: usize = 8;
/// Half of that: so many are looked at in every place of a line where there are no vectors.
pub(super) const HALF: usize = 4;
/// Requirements of one expression that are worth the room.
pub(super) const MAX_REQUIREMENTS: usize = 2;
/// Features of which one must be there, in a requirement.
const MAX_ALTERNATIVES: usize = 6;
/// Of many places that every match passes, this many are looked at: the rarest bytes, and forks.
const MAX_PLACES: usize = 48;
/// The same inside of a fork.
const MAX_INNER_PLACES: usize = 12;
/// Forks of one expression that are looked into, those inside of others included.
const MAX_FORKS: usize = 64;
/// Places that are gone back over, at most, to see what byte is before a feature.
const MAX_BACK: usize = 32;
/// Looking at features takes time where half of one is there. Those of which a half is at more of a
/// log's places than this are left out,
const MOST_OFTEN: f32 = 1.0 / 80.0;
/// and those at fewer than this are preferred.
const RARE: f32 = 1.0 / 400.0;
/// A further requirement of an expression has to be rarer still.
const COMPANY: f32 = 1.0 / 1000.0;
/// What is so rare, and in none of the common lines, needs no company.
const TELLING: f32 = 1e-5;

/// Neighbouring sets of bytes, or of [`EDGE`] behind the end of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Feature(pub(super) [ByteSet; WIDTH]);

/// Features of which every line that matches has at least one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Requirement {
    /// Each with the address of its first byte in the program.
    pub(super) features: Vec<(Feature, Address)>,
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
            other.abs_diff(place) >= HALF && requirement.half_often() < COMPANY
        });
        chosen.push((place, requirement));
    }
    let chosen = chosen.into_iter().map(|(_, requirement)| requirement);
    chosen
        .map(|requirement| {
            if requirement.half_often() > RARE {
                search.with_what_is_before(requirement)
            } else {
                requirement
            }
        })
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

    /// The same with one byte more before each feature, where there is no choice of how it was come to.
    fn with_what_is_before(&mut self, mut requirement: Requirement) -> Requirement {
        for (feature, address) in &mut requirement.features {
            if let Some((before, set)) = self.byte_before(*address) {
                feature.0.rotate_right(1);
                (feature.0[0], *address) = (set, before);
            }
        }
        requirement
    }

    /// The instruction that consumes the byte before a place, if it is one and the same on all ways to
    /// there; with what it consumes.
    fn byte_before(&mut self, address: Address) -> Option<(Address, ByteSet)> {
        self.generation += 1;
        let mut stack = vec![address];
        let mut found = None;
        let mut steps = 0..MAX_BACK;
        while let Some(after) = stack.pop() {
            if after == self.program.start || steps.next().is_none() {
                return None;
            }
            for (before, instruction) in (0..).zip(&self.program.instructions) {
                if !successors(*instruction).contains(&Some(after)) {
                    continue;
                }
                match instruction {
                    Instruction::Byte { set, .. } => {
                        if found.is_some_and(|(other, _)| other != before) {
                            return None;
                        }
                        found = Some((before, self.program.sets[*set as usize]));
                    }
                    // Bytes may be consumed inside.
                    Instruction::Look { .. }
                    | Instruction::Atomic { .. }
                    | Instruction::BackReference { .. } => return None,
                    _ => {
                        let seen = &mut self.seen[before as usize];
                        if std::mem::replace(seen, self.generation) != self.generation {
                            stack.push(before);
                        }
                    }
                }
            }
        }
        found
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
        product(&self.0[..HALF])
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
pub(super) fn product(sets: &[ByteSet]) -> f32 {
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
