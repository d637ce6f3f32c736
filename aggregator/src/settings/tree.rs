//! A YAML text as a tree whose parts know where they stand, so that what is said of a setting has a place.
//!
//! It is YAML as settings are written: the first document, names that are texts, no aliases. Every scalar is the text that was
//! written: what it means is the matter of the setting.

use serde_saphyr::granit_parser::{self as yaml, Event as Token, Parser, ScalarStyle};
use skidder_pipeline::language::{Code, Diagnostic, Span, Spanned};

/// How deep names of settings may be nested.
const MAX_DEPTH: usize = 16;

/// A part of the file.
pub(super) struct Node {
    pub(super) kind: NodeKind,
    pub(super) span: Span,
}

pub(super) enum NodeKind {
    Null,
    Scalar(String),
    List(Vec<Node>),
    Mapping(Vec<(Spanned<String>, Node)>),
}

impl NodeKind {
    /// What it is, for messages.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Scalar(_) => "one value",
            Self::List(_) => "a list",
            Self::Mapping(_) => "a mapping",
        }
    }
}

/// The tree of the first document of a text; nothing if it is empty.
pub(super) fn tree(text: &str) -> Result<Option<Node>, Box<Diagnostic>> {
    let mut building = Building {
        parser: Parser::new_from_str(text),
        text,
    };
    loop {
        let (token, span) = building.next()?;
        match token {
            Token::StreamStart | Token::DocumentStart(..) => {}
            Token::StreamEnd | Token::DocumentEnd => return Ok(None),
            token => return building.node(token, span, 0).map(Some),
        }
    }
}

struct Building<'t> {
    parser: Parser<'t, yaml::StrInput<'t>>,
    text: &'t str,
}

impl<'t> Building<'t> {
    /// The next token, with its place.
    fn next(&mut self) -> Result<(Token<'t>, Span), Box<Diagnostic>> {
        match self.parser.next() {
            Some(Ok((token, span))) => Ok((token, self.span(span))),
            Some(Err(error)) => {
                let at = self.offset(*error.marker());
                let finding = Diagnostic::error(Span::new(0, at, at), error.info());
                Err(Box::new(finding.code(Code::Setting)))
            }
            None => {
                let end = self.text.len();
                Ok((Token::StreamEnd, Span::new(0, end, end)))
            }
        }
    }

    fn node(
        &mut self,
        token: Token<'t>,
        span: Span,
        depth: usize,
    ) -> Result<Node, Box<Diagnostic>> {
        let refused = |span: Span, message: &str| {
            Err(Box::new(
                Diagnostic::error(span, message).code(Code::Setting),
            ))
        };
        if depth > MAX_DEPTH {
            return refused(span, "this is nested too deep for settings");
        }
        let kind = match token {
            Token::Scalar(text, style, ..) => {
                let is_plain = matches!(style, ScalarStyle::Plain);
                if is_plain && matches!(text.as_ref(), "" | "~" | "null" | "Null" | "NULL") {
                    NodeKind::Null
                } else {
                    NodeKind::Scalar(text.into_owned())
                }
            }
            Token::SequenceStart(..) => {
                let mut nodes = Vec::new();
                loop {
                    let (token, span) = self.next()?;
                    if matches!(token, Token::SequenceEnd) {
                        break;
                    }
                    nodes.push(self.node(token, span, depth + 1)?);
                }
                NodeKind::List(nodes)
            }
            Token::MappingStart(..) => {
                let mut entries = Vec::new();
                loop {
                    let (token, span) = self.next()?;
                    if matches!(token, Token::MappingEnd) {
                        break;
                    }
                    let Token::Scalar(name, ..) = token else {
                        return refused(span, "this should be the name of a setting");
                    };
                    let name = Spanned::new(name.into_owned(), span);
                    let (token, span) = self.next()?;
                    entries.push((name, self.node(token, span, depth + 1)?));
                }
                NodeKind::Mapping(entries)
            }
            Token::Alias(_) => return refused(span, "aliases are not read here: write the value"),
            _ => return refused(span, "this is no YAML that settings can be written in"),
        };
        Ok(Node { kind, span })
    }

    /// The place of a token: of what covers several lines, the first one.
    fn span(&self, span: yaml::Span) -> Span {
        let start = self.offset(span.start);
        let end = self.offset(span.end).max(start);
        let line = self.text[start..end]
            .find('\n')
            .map_or(end, |line| start + line);
        Span::new(0, start, line)
    }

    fn offset(&self, marker: yaml::Marker) -> usize {
        let offset = marker.byte_offset().unwrap_or_else(|| {
            let line = self
                .text
                .split_inclusive('\n')
                .take(marker.line().saturating_sub(1));
            let line: usize = line.map(str::len).sum();
            let rest = self.text[line..].char_indices().map(|(at, _)| at);
            line + rest.take(marker.col() + 1).last().unwrap_or_default()
        });
        self.text.floor_char_boundary(offset)
    }
}
