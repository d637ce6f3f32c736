//! The reader against a plain transcription of the official grammar.
//!
//! Logstash's grammar is a parsing expression grammar: ordered choices, no look at indentation,
//! no recovery. Written down as one function a rule it can only say yes or no, slowly, and that
//! is what makes it a good second opinion: for damaged configurations of all kinds both must
//! agree whether the text follows the grammar.
//!
//! Two things the grammar allows can never run and are refused by our reader at once: function
//! calls in conditions, and (in some places) plugins named `if` or `else`. So our reader must
//! accept what the grammar without those accepts, and nothing that the full grammar refuses.

use std::collections::HashMap;

use proptest::prelude::*;
use skidder_pipeline::language::{Diagnostics, ParseOptions, SourceMap, Stage, parse};

/// A rule reads from an offset and says where it ended.
type Read = Option<usize>;
type Rule<'t> = fn(&mut Grammar<'t>, usize) -> Read;

struct Grammar<'t> {
    text: &'t [u8],
    /// Without functions and without plugins named `if` or `else`.
    runnable: bool,
    read: HashMap<(&'static str, usize), Read>,
}

impl<'t> Grammar<'t> {
    fn accepts(text: &'t str, runnable: bool) -> bool {
        let mut grammar = Grammar {
            text: text.as_bytes(),
            runnable,
            read: HashMap::new(),
        };
        grammar.config() == text.len()
    }

    /// Rules that are tried again at the same place remember what came out.
    fn once(&mut self, name: &'static str, at: usize, rule: Rule<'t>) -> Read {
        if let Some(&read) = self.read.get(&(name, at)) {
            return read;
        }
        let read = rule(self, at);
        self.read.insert((name, at), read);
        read
    }

    fn literal(&self, at: usize, word: &str) -> Read {
        self.text[at..]
            .starts_with(word.as_bytes())
            .then_some(at + word.len())
    }

    fn one_of(&self, at: usize, words: &[&str]) -> Read {
        words.iter().find_map(|word| self.literal(at, word))
    }

    fn while_byte(&self, at: usize, fits: impl Fn(u8) -> bool) -> usize {
        at + self.text[at..]
            .iter()
            .take_while(|&&byte| fits(byte))
            .count()
    }

    fn at_least_one(&self, at: usize, fits: impl Fn(u8) -> bool) -> Read {
        let end = self.while_byte(at, fits);
        (end > at).then_some(end)
    }

    fn white(&self, at: usize) -> Read {
        self.at_least_one(at, |byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
    }

    fn comment(&self, at: usize) -> Read {
        let start = self.literal(self.white(at).unwrap_or(at), "#")?;
        let end = self.while_byte(start, |byte| !matches!(byte, b'\r' | b'\n'));
        let line_end = self
            .literal(end, "\r\n")
            .or_else(|| self.literal(end, "\n"));
        line_end.or_else(|| (end == self.text.len()).then_some(end))
    }

    /// `cs`: white space and comments, or nothing.
    fn space(&self, mut at: usize) -> usize {
        while let Some(end) = self.comment(at).or_else(|| self.white(at)) {
            at = end;
        }
        at
    }

    fn quoted(&self, at: usize, quote: &str) -> Read {
        let mut at = self.literal(at, quote)?;
        let escaped = format!("\\{quote}");
        loop {
            if let Some(end) = self.literal(at, &escaped) {
                at = end;
            } else if let Some(end) = self.literal(at, quote) {
                return Some(end);
            } else if at < self.text.len() {
                at += 1;
            } else {
                return None;
            }
        }
    }

    fn string(&self, at: usize) -> Read {
        self.quoted(at, "\"").or_else(|| self.quoted(at, "'"))
    }

    fn regexp(&self, at: usize) -> Read {
        self.quoted(at, "/")
    }

    fn number(&self, at: usize) -> Read {
        let sign = self.literal(at, "-").unwrap_or(at);
        let whole = self.at_least_one(sign, |byte| byte.is_ascii_digit())?;
        let Some(point) = self.literal(whole, ".") else {
            return Some(whole);
        };
        Some(self.while_byte(point, |byte| byte.is_ascii_digit()))
    }

    fn bareword(&self, at: usize) -> Read {
        let first = self.text.get(at)?;
        let rest = (first.is_ascii_alphabetic() || *first == b'_').then_some(at + 1)?;
        self.at_least_one(rest, |byte| byte.is_ascii_alphanumeric() || byte == b'_')
    }

    fn name(&self, at: usize) -> Read {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        self.at_least_one(at, is_part).or_else(|| self.string(at))
    }

    /// `first (separator first)*`, with space around the separator.
    fn list(&mut self, at: usize, separator: &str, item: Rule<'t>) -> Read {
        let mut at = item(self, at)?;
        loop {
            let next = self.space(at);
            let next = if separator.is_empty() {
                Some(next)
            } else {
                self.literal(next, separator).map(|end| self.space(end))
            };
            match next.and_then(|next| item(self, next)) {
                Some(end) => at = end,
                None => return Some(at),
            }
        }
    }

    /// `open space items? space close`.
    fn enclosed(
        &mut self,
        at: usize,
        (open, close): (&str, &str),
        items: impl FnOnce(&mut Self, usize) -> Read,
    ) -> Read {
        let at = self.literal(at, open)?;
        let at = self.space(at);
        let at = items(self, at).unwrap_or(at);
        self.literal(self.space(at), close)
    }

    fn config(&mut self) -> usize {
        let mut at = 0;
        loop {
            let start = self.space(at);
            let body = self
                .one_of(start, &["input", "filter", "output"])
                .map(|end| self.space(end))
                .and_then(|start| self.body(start));
            match body {
                Some(end) => at = end,
                None => return self.space(at),
            }
        }
    }

    fn body(&mut self, at: usize) -> Read {
        self.enclosed(at, ("{", "}"), |grammar, at| {
            grammar.list(at, "", Self::statement)
        })
    }

    fn statement(&mut self, at: usize) -> Read {
        self.once("statement", at, |grammar, at| {
            let branch = grammar.branch(at);
            branch.or_else(|| {
                let word = grammar.name(at).map(|end| &grammar.text[at..end]);
                let reserved = matches!(word, Some(b"if" | b"else"));
                if grammar.runnable && reserved {
                    None
                } else {
                    grammar.plugin(at)
                }
            })
        })
    }

    fn branch(&mut self, at: usize) -> Read {
        let mut at = self.guarded(self.literal(at, "if")?)?;
        loop {
            let next = self.literal(self.space(at), "else");
            let next = next.and_then(|end| self.literal(self.space(end), "if"));
            match next.and_then(|end| self.guarded(end)) {
                Some(end) => at = end,
                None => break,
            }
        }
        let otherwise = self.literal(self.space(at), "else");
        let otherwise = otherwise.and_then(|end| self.body(self.space(end)));
        Some(otherwise.unwrap_or(at))
    }

    fn guarded(&mut self, at: usize) -> Read {
        let at = self.condition(self.space(at))?;
        self.body(self.space(at))
    }

    fn plugin(&mut self, at: usize) -> Read {
        self.once("plugin", at, |grammar, at| {
            let at = grammar.name(at)?;
            let at = grammar.space(at);
            grammar.enclosed(at, ("{", "}"), |grammar, at| {
                let mut at = grammar.attribute(at)?;
                while let Some(space) = grammar.white(at) {
                    match grammar.attribute(grammar.space(space)) {
                        Some(end) => at = end,
                        None => break,
                    }
                }
                Some(at)
            })
        })
    }

    fn arrow_and_value(&mut self, at: usize) -> Read {
        let at = self.literal(self.space(at), "=>")?;
        self.value(self.space(at))
    }

    fn attribute(&mut self, at: usize) -> Read {
        let at = self.name(at)?;
        self.arrow_and_value(at)
    }

    fn value(&mut self, at: usize) -> Read {
        self.once("value", at, |grammar, at| {
            grammar
                .plugin(at)
                .or_else(|| grammar.bareword(at))
                .or_else(|| grammar.string(at))
                .or_else(|| grammar.number(at))
                .or_else(|| grammar.array(at))
                .or_else(|| grammar.hash(at))
        })
    }

    fn array(&mut self, at: usize) -> Read {
        self.enclosed(at, ("[", "]"), |grammar, at| {
            grammar.list(at, ",", Self::value)
        })
    }

    fn hash(&mut self, at: usize) -> Read {
        self.enclosed(at, ("{", "}"), |grammar, at| {
            grammar.list(at, "", Self::entry)
        })
    }

    fn entry(&mut self, at: usize) -> Read {
        let at = self
            .number(at)
            .or_else(|| self.bareword(at))
            .or_else(|| self.string(at))?;
        self.arrow_and_value(at)
    }

    fn condition(&mut self, at: usize) -> Read {
        self.once("condition", at, |grammar, at| {
            let mut at = grammar.expression(at)?;
            loop {
                let operator = grammar.one_of(grammar.space(at), &["and", "or", "xor", "nand"]);
                match operator.and_then(|end| grammar.expression(grammar.space(end))) {
                    Some(end) => at = end,
                    None => return Some(at),
                }
            }
        })
    }

    fn parentheses(&mut self, at: usize) -> Read {
        let at = self.literal(at, "(")?;
        let at = self.condition(self.space(at))?;
        self.literal(self.space(at), ")")
    }

    fn expression(&mut self, at: usize) -> Read {
        self.once("expression", at, |grammar, at| {
            let inner = grammar.literal(at, "!").map(|end| grammar.space(end));
            grammar
                .parentheses(at)
                .or_else(|| grammar.parentheses(inner?))
                .or_else(|| grammar.selector(inner?))
                .or_else(|| grammar.operation(at, Self::is_in, Self::operand))
                .or_else(|| grammar.operation(at, Self::is_not_in, Self::operand))
                .or_else(|| grammar.operation(at, Self::compares, Self::operand))
                .or_else(|| {
                    grammar.operation(at, Self::matches, |grammar, at| {
                        grammar.string(at).or_else(|| grammar.regexp(at))
                    })
                })
                .or_else(|| grammar.operand(at))
        })
    }

    fn operation(&mut self, at: usize, operator: Rule<'t>, right: Rule<'t>) -> Read {
        let at = self.operand(at)?;
        let at = operator(self, self.space(at))?;
        right(self, self.space(at))
    }

    fn is_in(&mut self, at: usize) -> Read {
        self.literal(at, "in")
    }

    fn is_not_in(&mut self, at: usize) -> Read {
        let at = self.literal(at, "not ")?;
        self.literal(self.space(at), "in")
    }

    fn compares(&mut self, at: usize) -> Read {
        self.one_of(at, &["==", "!=", "<=", ">=", "<", ">"])
    }

    fn matches(&mut self, at: usize) -> Read {
        self.one_of(at, &["=~", "!~"])
    }

    fn operand(&mut self, at: usize) -> Read {
        self.once("operand", at, |grammar, at| {
            grammar
                .string(at)
                .or_else(|| grammar.number(at))
                .or_else(|| grammar.selector(at))
                .or_else(|| grammar.array(at))
                .or_else(|| grammar.function(at))
                .or_else(|| grammar.regexp(at))
        })
    }

    fn function(&mut self, at: usize) -> Read {
        if self.runnable {
            return None;
        }
        let at = self.bareword(at)?;
        let at = self.space(at);
        self.enclosed(at, ("(", ")"), |grammar, at| {
            grammar.list(at, ",", Self::operand)
        })
    }

    fn selector(&self, at: usize) -> Read {
        let element = |grammar: &Self, at| {
            let at = grammar.literal(at, "[")?;
            let at = grammar.at_least_one(at, |byte| !matches!(byte, b'[' | b']' | b','))?;
            grammar.literal(at, "]")
        };
        let mut end = element(self, at)?;
        while let Some(next) = element(self, end) {
            end = next;
        }
        Some(end)
    }
}

/// Checks that both opinions agree.
fn check(text: &str) {
    let sources = SourceMap::single("t", text);
    let mut diagnostics = Diagnostics::new();
    parse(&sources, ParseOptions::default(), &mut diagnostics);
    let in_grammar = |stage: Stage| stage == Stage::Parse;
    let mut errors = diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.is_error());
    let refused = errors.any(|diagnostic| in_grammar(diagnostic.stage));
    let found = || format!("{text}\n{}", diagnostics.render(&sources, false));
    if Grammar::accepts(text, true) {
        assert!(!refused, "the grammar accepts this:\n{}", found());
    } else if !diagnostics.has_errors() {
        // A finding about the meaning may have ended the reading of a condition.
        assert!(
            Grammar::accepts(text, false),
            "the grammar refuses this:\n{}",
            found()
        );
    }
}

const REAL: [&str; 4] = [
    "input { beats { port => 5044 codec => json { charset => \"UTF-8\" } } }\n\
     filter {\n  if [type] == \"apache\" and !([status] >= 500 or \"x\" in [tags]) {\n    \
     grok { match => { \"message\" => \"%{X}\" 'b' => 2 } }\n  } else if [m] =~ /^\\/a$/ {\n    \
     mutate { convert => { \"bytes\" => \"integer\" } remove_field => [ \"a\", bb, 5 ] }\n  }\n  \
     else { drop { percentage => 40 } } # done\n}\n",
    "filter { aa { bb => [ [ 1 ], { cc => -1.5 } ] \"dd\" => 'e\\'f' } }",
    "filter { if [a] not in [\"b\", \"c\"] { } else { } } output { }",
    "filter{if(1==1 or![a]){aa{}}else if[b]{}else{}}",
];

const PIECES: [&str; 60] = [
    "input",
    "filter",
    "output",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "if",
    "else",
    "else if",
    "elseif",
    "and",
    "or",
    "xor",
    "nand",
    "not in",
    "not",
    "in",
    "==",
    "!=",
    "=~",
    "!~",
    "<=",
    ">",
    "!",
    "=>",
    ",",
    "\"a\"",
    "'b'",
    "/c/",
    "\"",
    "'",
    "/",
    "\\\"",
    "\\",
    "#",
    "\n",
    "\r\n",
    "\r",
    " ",
    "\t",
    "[a]",
    "[a][b]",
    "grok",
    "x",
    "xx",
    "5",
    "-1.5",
    "1.",
    "007",
    "ü",
    "-",
    "_",
    ".",
    "aa => 1",
    "bb => [1,2]",
    "cc => { \"d\" => 1 }",
    "foo([a], 1)",
];

/// What conditions are made of.
const OPERANDS: [&str; 24] = [
    "[a]",
    "[a][b]",
    "\"s\"",
    "5",
    "-1.5",
    "/r/",
    "(",
    ")",
    "!",
    "and",
    "or",
    "xor",
    "nand",
    "in",
    "not in",
    "==",
    "<",
    "=~",
    "!~",
    "['a', 'b']",
    "[5]",
    "[ ]",
    "[]",
    "foo()",
];

proptest! {
    // Shrunk failures are printed in full, so none are kept in files.
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_agree_on_damaged_configurations(
        whole in prop::sample::select(REAL.to_vec()),
        damages in prop::collection::vec(
            (any::<usize>(), 0..6_usize, prop::sample::select(PIECES.to_vec()), any::<bool>()),
            1..4,
        ),
    ) {
        let mut text = whole.to_owned();
        for (start, length, piece, keep) in damages {
            let boundary = |index: usize| (0..=index).rev().find(|&i| text.is_char_boundary(i));
            let start = boundary(start % (text.len() + 1)).unwrap_or(0);
            let length = if keep { 0 } else { length };
            let end = boundary((start + length).min(text.len())).unwrap_or(0).max(start);
            text.replace_range(start..end, piece);
        }
        check(&text);
    }

    #[test]
    fn both_agree_on_conditions(
        operands in prop::collection::vec(prop::sample::select(OPERANDS.to_vec()), 1..8),
        separator in prop::sample::select(vec!["", " ", "\n"]),
    ) {
        check(&format!("filter {{ if {} {{ }} }}", operands.join(separator)));
    }

    #[test]
    fn both_agree_on_pieces(
        pieces in prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..10),
        separator in prop::sample::select(vec!["", " ", "\n"]),
    ) {
        check(&format!("filter {{ {} }}", pieces.join(separator)));
        check(&format!("filter {{ aa {{ {} }} }}", pieces.join(separator)));
    }
}

#[test]
fn the_transcription_knows_right_from_wrong() {
    for text in REAL {
        assert!(Grammar::accepts(text, true), "{text}");
    }
    for text in [
        "filter",
        "filter { aa }",
        "filter { aa { bb => c } }",
        "filter { if foo { } }",
    ] {
        assert!(!Grammar::accepts(text, false), "{text}");
    }
    assert!(Grammar::accepts("filter { else { } if foo() { } }", false));
    assert!(!Grammar::accepts("filter { else { } }", true));
}
