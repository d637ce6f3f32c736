//! Reads the text of an expression, and of every pattern it names, into a [`Node`] tree.
//!
//! Each named pattern is read on its own, as the group that it becomes, so that an error can
//! say in which definition it is. INVARIANT: depth and total size are bounded by the options
//! whatever the definitions say.

use std::collections::HashMap;

use super::{Assertion, CharacterClass, Node, RepeatKind};
use crate::{
    CompileError, CompileOptions, PatternSet, Within,
    matcher::{Capture, CaptureKind},
    reference::{Reference, split_type},
};

/// A tree and the groups it holds.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) node: Node,
    /// The captures, in the order in which they open; capture `n` is group `n`.
    pub(crate) captures: Vec<Capture>,
    /// Groups that only back-references look at; they are numbered after the captures.
    pub(crate) hidden_groups: u32,
}

/// Reads an expression against a set of named patterns.
pub(crate) fn parse(
    expression: &str,
    set: &PatternSet,
    options: &CompileOptions,
) -> Result<Parsed, CompileError> {
    let mut shared = Shared {
        set,
        options,
        inline: HashMap::new(),
        names: Vec::new(),
        expanded: 0,
        captures: Vec::new(),
        unnamed: 0,
        references: Vec::new(),
    };
    let mut node = shared.read_text(expression, &Within::Expression)?;
    let named = shared.captures.len() as u32;
    let by_number = shared
        .references
        .iter()
        .find(|reference| reference.name.is_none());
    if let (Some(reference), true) = (by_number, named > 0) {
        return Err(CompileError::Syntax {
            within: reference.within.clone(),
            position: reference.position,
            message: "a group cannot be referred to by number when there are named groups; \
                      use \\k<name>"
                .to_owned(),
        });
    }
    if shared.references.iter().any(|reference| reference.is_call) {
        let whole = node.clone();
        let mut left = options.max_instructions;
        shared.expand_calls(&mut node, &whole, &mut Vec::new(), &mut left)?;
    }
    let keep_unnamed = by_number.is_some_and(|_| {
        let mut others = shared.references.iter();
        others.any(|reference| reference.name.is_none() && !reference.is_call)
    });
    shared.resolve(&mut node, named, keep_unnamed)?;
    Ok(Parsed {
        node,
        captures: shared.captures,
        hidden_groups: if keep_unnamed { shared.unnamed } else { 0 },
    })
}

/// Groups without a name carry this bit until it is known whether anybody refers to them.
pub(super) const UNNAMED: u32 = 1 << 31;
/// A back-reference holds an index into `Shared::references` until the end, marked by this bit.
pub(super) const UNRESOLVED: u32 = 1 << 31;

pub(super) struct PendingReference {
    pub(super) name: Option<String>,
    pub(super) number: u32,
    pub(super) within: Within,
    pub(super) position: usize,
    /// `\g<…>` and not `\k<…>`.
    pub(super) is_call: bool,
}

pub(super) struct Shared<'a> {
    pub(super) set: &'a PatternSet,
    pub(super) options: &'a CompileOptions,
    pub(super) inline: HashMap<String, String>,
    pub(super) names: Vec<String>,
    pub(super) expanded: usize,
    pub(super) captures: Vec<Capture>,
    pub(super) unnamed: u32,
    pub(super) references: Vec<PendingReference>,
}

impl Shared<'_> {
    fn read_text(&mut self, text: &str, within: &Within) -> Result<Node, CompileError> {
        self.expanded += text.len() + 1;
        if self.expanded > self.options.max_expanded_bytes {
            return Err(CompileError::TooLarge {
                what: "the text of the expression with all its patterns".to_owned(),
                option: "max_expanded_bytes",
                limit: self.options.max_expanded_bytes,
            });
        }
        let mut parser = Parser {
            shared: self,
            text,
            at: 0,
            within,
            nesting: 0,
            flags: Flags {
                ignore_case: false,
                dot_all: true,
                extended: false,
            },
        };
        let node = parser.alternation()?;
        if parser.at < text.len() {
            return Err(parser.error("this closing parenthesis has no opening one"));
        }
        Ok(node)
    }

    fn read_pattern(&mut self, name: &str, within: &Within) -> Result<Node, CompileError> {
        if let Some(start) = self.names.iter().position(|known| known == name) {
            let mut cycle = self.names[start..].to_vec();
            cycle.push(name.to_owned());
            return Err(CompileError::Recursion { cycle });
        }
        if self.names.len() >= self.options.max_expansion_depth {
            return Err(CompileError::TooLarge {
                what: format!("the depth at which %{{{name}}} is used"),
                option: "max_expansion_depth",
                limit: self.options.max_expansion_depth,
            });
        }
        let definition = match self.inline.get(name) {
            Some(definition) => definition.clone(),
            None => match self.set.definition(name) {
                Some(definition) => definition.to_owned(),
                None => {
                    return Err(CompileError::UnknownPattern {
                        name: name.to_owned(),
                        within: within.clone(),
                        nearest: self.set.nearest(name),
                    });
                }
            },
        };
        self.names.push(name.to_owned());
        let node = self.read_text(&definition, &Within::Pattern(name.to_owned()))?;
        self.names.pop();
        Ok(node)
    }

    fn open_capture(&mut self, name: String, kind: CaptureKind, pattern: Option<&str>) -> u32 {
        self.captures.push(Capture {
            name,
            kind,
            pattern: pattern.map(str::to_owned),
        });
        self.captures.len() as u32 - 1
    }
}

#[derive(Clone, Copy)]
pub(super) struct Flags {
    pub(super) ignore_case: bool,
    pub(super) dot_all: bool,
    pub(super) extended: bool,
}

pub(super) struct Parser<'p, 'a> {
    pub(super) shared: &'p mut Shared<'a>,
    pub(super) text: &'p str,
    pub(super) at: usize,
    pub(super) within: &'p Within,
    pub(super) nesting: usize,
    pub(super) flags: Flags,
}

impl<'p> Parser<'p, '_> {
    pub(super) fn rest(&self) -> &'p str {
        &self.text[self.at..]
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += character.len_utf8();
        Some(character)
    }

    pub(super) fn take(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    pub(super) fn error(&self, message: impl Into<String>) -> CompileError {
        CompileError::Syntax {
            within: self.within.clone(),
            position: self.at,
            message: message.into(),
        }
    }

    pub(super) fn deeper(&mut self) -> Result<(), CompileError> {
        self.nesting += 1;
        if self.nesting > self.shared.options.max_nesting {
            return Err(CompileError::TooLarge {
                what: format!("the nesting of groups in {}", self.within),
                option: "max_nesting",
                limit: self.shared.options.max_nesting,
            });
        }
        Ok(())
    }

    /// Everything up to the end of the text or the parenthesis that closes this group.
    fn alternation(&mut self) -> Result<Node, CompileError> {
        self.deeper()?;
        let flags = self.flags;
        let mut branches = Vec::new();
        loop {
            branches.push(self.concatenation()?);
            if !self.take("|") {
                break;
            }
        }
        self.flags = flags;
        self.nesting -= 1;
        Ok(if branches.len() == 1 {
            branches.remove(0)
        } else {
            Node::Alternate(branches)
        })
    }

    fn concatenation(&mut self) -> Result<Node, CompileError> {
        let mut nodes = Vec::new();
        loop {
            if self.flags.extended {
                self.skip_extended();
            }
            let Some(character) = self.peek() else { break };
            if matches!(character, '|' | ')') {
                break;
            }
            let node = match self.atom()? {
                Atom::Node(node) => node,
                Atom::Nothing => continue,
                // `(?i)` holds to the end of the group, later branches included.
                Atom::RestOfGroup(flags) => {
                    self.flags = flags;
                    nodes.push(self.alternation()?);
                    break;
                }
            };
            nodes.push(self.quantifiers(node)?);
        }
        Ok(match nodes.len() {
            0 => Node::Empty,
            1 => nodes.remove(0),
            _ => Node::Concat(nodes),
        })
    }

    fn skip_extended(&mut self) {
        while let Some(character) = self.peek() {
            if character.is_ascii_whitespace() || character == '\x0B' {
                self.at += 1;
            } else if character == '#' {
                self.at += self.rest().find('\n').unwrap_or(self.rest().len());
            } else {
                break;
            }
        }
    }

    fn quantifiers(&mut self, mut node: Node) -> Result<Node, CompileError> {
        loop {
            if self.flags.extended {
                self.skip_extended();
            }
            let (min, max, braces) = match self.peek() {
                Some('*') => (0, None, false),
                Some('+') => (1, None, false),
                Some('?') => (0, Some(1), false),
                Some('{') => match self.interval()? {
                    Some((min, max)) => (min, max, true),
                    None => return Ok(node),
                },
                _ => return Ok(node),
            };
            if !braces {
                self.at += 1;
            }
            let mut kind = RepeatKind::Greedy;
            if self.peek() == Some('?') {
                // COMPAT: in Ruby's dialect `x{n}?` is `(?:x{n})?`.
                if !(braces && max == Some(min)) {
                    self.at += 1;
                    kind = RepeatKind::Lazy;
                }
            } else if self.peek() == Some('+') && !braces {
                self.at += 1;
                kind = RepeatKind::Possessive;
            }
            self.deeper()?;
            node = Node::Repeat {
                node: Box::new(node),
                min,
                max,
                kind,
            };
            self.nesting -= 1;
        }
    }

    /// `{n}`, `{n,}`, `{n,m}` or `{,m}`; anything else after a brace is no quantifier.
    fn interval(&mut self) -> Result<Option<(u32, Option<u32>)>, CompileError> {
        let rest = &self.rest()[1..];
        let Some(end) = rest.find('}') else {
            return Ok(None);
        };
        let inside = &rest[..end];
        let number = |text: &str| -> Option<u32> {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().unwrap_or(u32::MAX))
        };
        let (min, max) = match inside.split_once(',') {
            None => match number(inside) {
                Some(count) => (count, Some(count)),
                None => return Ok(None),
            },
            Some(("", max)) => match number(max) {
                Some(max) => (0, Some(max)),
                None => return Ok(None),
            },
            Some((min, "")) => match number(min) {
                Some(min) => (min, None),
                None => return Ok(None),
            },
            Some((min, max)) => match (number(min), number(max)) {
                (Some(min), Some(max)) => (min, Some(max)),
                _ => return Ok(None),
            },
        };
        let limit = self.shared.options.max_repetition;
        if min.max(max.unwrap_or(0)) > limit {
            return Err(CompileError::TooLarge {
                what: format!("the count in {{{inside}}} of {}", self.within),
                option: "max_repetition",
                limit: limit as usize,
            });
        }
        if max.is_some_and(|max| max < min) {
            return Err(self.error("the counts of this quantifier are the wrong way round"));
        }
        self.at += 1 + end + 1;
        Ok(Some((min, max)))
    }

    fn atom(&mut self) -> Result<Atom, CompileError> {
        if let Some(reference) = Reference::read(self.rest()) {
            return self.named_pattern(&reference).map(Atom::Node);
        }
        let Some(character) = self.next() else {
            return Ok(Atom::Nothing);
        };
        let node = match character {
            '(' => return self.group(),
            '[' => Node::Class(self.class()?),
            '.' => {
                let mut class = CharacterClass::any();
                if !self.flags.dot_all {
                    class = CharacterClass::single('\n').negated();
                }
                Node::Class(class)
            }
            '^' => Node::Assertion(Assertion::LineStart),
            '$' => Node::Assertion(Assertion::LineEnd),
            '\\' => self.escape()?,
            '*' | '+' | '?' => {
                self.at -= 1;
                return Err(self.error("there is nothing before this quantifier to repeat"));
            }
            _ => self.literal(character),
        };
        Ok(Atom::Node(node))
    }

    fn literal(&self, character: char) -> Node {
        Node::Class(self.folded(CharacterClass::single(character)))
    }

    pub(super) fn folded(&self, mut class: CharacterClass) -> CharacterClass {
        if self.flags.ignore_case {
            class.fold_case();
        }
        class
    }

    fn named_pattern(&mut self, reference: &Reference<'_>) -> Result<Node, CompileError> {
        if let Some(definition) = reference.definition {
            self.shared
                .inline
                .insert(reference.name.to_owned(), definition.to_owned());
        }
        let group = match reference.field {
            Some(field) => {
                let (field, kind) = split_type(field);
                Some(self.shared.open_capture(
                    field.to_owned(),
                    CaptureKind::from_name(kind),
                    Some(reference.name),
                ))
            }
            None if !self.shared.options.named_captures_only => Some(self.shared.open_capture(
                reference.name.to_owned(),
                CaptureKind::Text,
                Some(reference.name),
            )),
            None => None,
        };
        let node = self.shared.read_pattern(reference.name, self.within)?;
        self.at += reference.length;
        Ok(match group {
            Some(group) => Node::Group {
                group,
                node: Box::new(node),
            },
            None => node,
        })
    }

    fn group(&mut self) -> Result<Atom, CompileError> {
        if !self.take("?") {
            let number = self.shared.unnamed;
            self.shared.unnamed += 1;
            let node = self.group_body()?;
            return Ok(Atom::Node(Node::Group {
                group: number | UNNAMED,
                node: Box::new(node),
            }));
        }
        for (opening, ahead, negative) in [
            ("=", true, false),
            ("!", true, true),
            ("<=", false, false),
            ("<!", false, true),
        ] {
            if self.take(opening) {
                let node = Box::new(self.group_body()?);
                return Ok(Atom::Node(Node::Look {
                    ahead,
                    negative,
                    node,
                }));
            }
        }
        if self.take("#") {
            let Some(end) = self.rest().find(')') else {
                return Err(self.error("this comment is not closed"));
            };
            self.at += end + 1;
            return Ok(Atom::Nothing);
        }
        for (opening, instead) in [
            (
                "~",
                "the absent operator (?~…) is not supported; write (?:(?!…).)*",
            ),
            (
                "(",
                "conditions (?(…)…|…) are not supported; write both cases as alternatives",
            ),
            ("&", "(?&name) is not supported; write \\g<name>"),
            ("P>", "(?P>name) is not supported; write \\g<name>"),
            ("P=", "(?P=name) is not supported; write \\k<name>"),
            (
                "R",
                "recursion is not supported; write out as many levels as there are",
            ),
            (
                "|",
                "(?|…) is not supported; give the groups of all branches the same name",
            ),
        ] {
            if self.rest().starts_with(opening) {
                return Err(self.error(instead));
            }
        }
        if self.take(":") {
            return self.group_body().map(Atom::Node);
        }
        if self.take(">") {
            return Ok(Atom::Node(Node::Atomic(Box::new(self.group_body()?))));
        }
        for (opening, closing) in [("<", '>'), ("P<", '>'), ("'", '\'')] {
            if self.take(opening) {
                let name = self.group_name(closing)?;
                // COMPAT: `(?<num:int>…)` is read as `%{num:int}` would be: the field is `int`.
                let (field, kind) = match name.split_once(':') {
                    None => (name, None),
                    Some((_, rest)) => split_type(rest),
                };
                let kind = CaptureKind::from_name(kind);
                let group = self.shared.open_capture(field.to_owned(), kind, None);
                let node = Box::new(self.group_body()?);
                return Ok(Atom::Node(Node::Group { group, node }));
            }
        }
        self.flag_group()
    }

    fn group_name(&mut self, closing: char) -> Result<&'p str, CompileError> {
        let Some(end) = self.rest().find(closing) else {
            return Err(self.error("the name of this group is not closed"));
        };
        let name = &self.rest()[..end];
        if name.is_empty() {
            return Err(self.error("the name of this group is empty"));
        }
        self.at += end + closing.len_utf8();
        Ok(name)
    }

    /// The inside of a group, and its closing parenthesis.
    fn group_body(&mut self) -> Result<Node, CompileError> {
        let opened = self.at;
        let node = self.alternation()?;
        if !self.take(")") {
            self.at = opened;
            return Err(self.error("this group is not closed"));
        }
        Ok(node)
    }

    fn flag_group(&mut self) -> Result<Atom, CompileError> {
        let mut flags = self.flags;
        let mut on = true;
        loop {
            match self.next() {
                Some('-') => on = false,
                Some('i') => flags.ignore_case = on,
                Some('m') => flags.dot_all = on,
                Some('x') => flags.extended = on,
                // Ruby's `a`, `d`, `u` choose what `\w` means; ours is ASCII throughout.
                Some('a' | 'd' | 'u') if on => {}
                Some(')') => return Ok(Atom::RestOfGroup(flags)),
                Some(':') => {
                    let outer = self.flags;
                    self.flags = flags;
                    let node = self.group_body();
                    self.flags = outer;
                    return node.map(Atom::Node);
                }
                Some(other) => {
                    self.at -= other.len_utf8();
                    return Err(self.error(format!("`(?{other}` does not open any known group")));
                }
                None => return Err(self.error("this group is not closed")),
            }
        }
    }

    fn escape(&mut self) -> Result<Node, CompileError> {
        let start = self.at;
        let Some(character) = self.next() else {
            return Err(self.error("the expression ends in a backslash"));
        };
        let node = match character {
            'b' => Node::Assertion(Assertion::WordBoundary),
            'B' => Node::Assertion(Assertion::NotWordBoundary),
            // `\G` is where the search starts, which is the start of the text.
            'A' | 'G' => Node::Assertion(Assertion::TextStart),
            'z' => Node::Assertion(Assertion::TextEnd),
            'Z' => Node::Assertion(Assertion::TextEndOrLastNewline),
            // One character as people see it: no more than Unicode's marks and joiners are known.
            'X' => Node::Atomic(Box::new(Node::Alternate(vec![
                Node::Concat(vec![
                    Node::Class(CharacterClass::single('\r')),
                    Node::Class(CharacterClass::single('\n')),
                ]),
                Node::Concat(vec![
                    Node::Class(CharacterClass::any()),
                    Node::Repeat {
                        node: Box::new(Node::Class(CharacterClass::mark())),
                        min: 0,
                        max: None,
                        kind: RepeatKind::Greedy,
                    },
                ]),
            ]))),
            // It moves where the match begins, and nobody is told that.
            'K' => Node::Empty,
            'R' => Node::Atomic(Box::new(Node::Alternate(vec![
                Node::Concat(vec![
                    Node::Class(CharacterClass::single('\r')),
                    Node::Class(CharacterClass::single('\n')),
                ]),
                Node::Class(CharacterClass::from_ranges(&[
                    ('\n', '\r'),
                    ('\u{85}', '\u{85}'),
                    ('\u{2028}', '\u{2029}'),
                ])),
            ]))),
            'g' => return self.call(start),
            'k' => return self.reference_by_name(start),
            '1'..='9' => {
                let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
                let text = &self.text[start..self.at + digits];
                let number = text.parse().unwrap_or(u32::MAX);
                // COMPAT: a number that no group before it has is an octal character.
                if number > 9 && number > self.shared.unnamed && character < '8' {
                    self.at = start;
                    let class = self.class_escape()?;
                    return Ok(Node::Class(self.folded(class)));
                }
                self.at += digits;
                return Ok(self.pending_reference(None, number, start));
            }
            _ => {
                self.at = start;
                let class = self.class_escape()?;
                // Folding `\W` would add the letters that fold to `ſ` and its like.
                Node::Class(if class.single_member().is_some() {
                    self.folded(class)
                } else {
                    class
                })
            }
        };
        Ok(node)
    }

    fn reference_by_name(&mut self, start: usize) -> Result<Node, CompileError> {
        let closing = match self.next() {
            Some('<') => '>',
            Some('\'') => '\'',
            _ => return Err(self.error("\\k is followed by the name of a group: \\k<name>")),
        };
        let name = self.group_name(closing)?;
        self.reference_to(name, start)
    }

    /// `\g<name>`: what a group holds, once more.
    fn call(&mut self, start: usize) -> Result<Node, CompileError> {
        let closing = match self.next() {
            Some('<') => '>',
            Some('\'') => '\'',
            _ => return Err(self.error("\\g is followed by the name of a group: \\g<name>")),
        };
        let name = self.group_name(closing)?;
        let node = self.reference_to(name, start)?;
        if let Some(reference) = self.shared.references.last_mut() {
            reference.is_call = true;
        }
        Ok(node)
    }

    /// A name, a number, or `-1` for the group that was opened last.
    fn reference_to(&mut self, name: &str, start: usize) -> Result<Node, CompileError> {
        let Ok(number) = name.parse::<i64>() else {
            return Ok(self.pending_reference(Some(name.to_owned()), 0, start));
        };
        let number = if number < 0 {
            i64::from(self.shared.unnamed) + 1 + number
        } else {
            number
        };
        match u32::try_from(number) {
            Ok(number) if number > 0 => Ok(self.pending_reference(None, number, start)),
            _ => {
                self.at = start;
                Err(self.error("there is no group of this number"))
            }
        }
    }

    fn pending_reference(&mut self, name: Option<String>, number: u32, position: usize) -> Node {
        let within = self.within.clone();
        let index = self.shared.references.len() as u32;
        self.shared.references.push(PendingReference {
            name,
            number,
            within,
            position,
            is_call: false,
        });
        Node::BackReference {
            groups: vec![index | UNRESOLVED],
            ignore_case: self.flags.ignore_case,
        }
    }
}

enum Atom {
    Node(Node),
    Nothing,
    RestOfGroup(Flags),
}
