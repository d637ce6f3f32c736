//! Cuts a stream of bytes at a delimiter.
//!
//! A token that lies whole in the bytes at hand is a slice of them; one that began earlier is put
//! together in the arena.
//!
//! INVARIANTS: however the stream is cut into reads, the same tokens come out (the last, unfinished
//! one with [`Tokenizer::flush`]). What is kept between reads is at most the limit plus the length
//! of the delimiter. A token longer than the limit comes out in pieces, so that no byte of it is
//! lost.

use bumpalo::Bump;
use memchr::memmem;

/// One token, or a piece of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'b> {
    /// The bytes, without the delimiter.
    pub bytes: &'b [u8],
    /// Whether it is a piece of a token that was longer than the limit; the last piece is one too.
    pub is_piece: bool,
}

/// The state of one stream.
#[derive(Debug)]
pub struct Tokenizer {
    finder: memmem::Finder<'static>,
    limit: usize,
    pending: Vec<u8>,
    /// A piece of the token at hand has come out already.
    in_pieces: bool,
}

impl Tokenizer {
    /// A tokenizer that cuts at `delimiter` (a newline, if it is empty) and tokens of more than
    /// `limit` bytes in pieces.
    pub fn new(delimiter: &[u8], limit: usize) -> Self {
        let delimiter = if delimiter.is_empty() {
            b"\n"
        } else {
            delimiter
        };
        Self {
            finder: memmem::Finder::new(delimiter).into_owned(),
            limit: limit.max(1),
            pending: Vec::new(),
            in_pieces: false,
        }
    }

    /// Takes in the next bytes of the stream and hands on each token that ends in them.
    pub fn feed<'b>(&mut self, data: &'b [u8], arena: &'b Bump, mut each: impl FnMut(Token<'b>)) {
        let width = self.finder.needle().len();
        let mut rest = data;
        if !self.pending.is_empty() {
            let Some(end) = self.end_of_pending(data) else {
                self.keep(data, arena, &mut each);
                return;
            };
            // The delimiter may begin in what is kept.
            let length = self.pending.len();
            self.pending
                .extend_from_slice(&data[..end + width - length]);
            rest = &data[end + width - length..];
            self.pending.truncate(end);
            self.hand_on_pending(arena, &mut each);
        }
        while let Some(end) = self.finder.find(rest) {
            let (token, after) = rest.split_at(end);
            self.hand_on(token, &mut each);
            rest = &after[width..];
        }
        self.keep(rest, arena, &mut each);
    }

    /// The stream is at its end: hands on what is kept, if anything.
    pub fn flush<'b>(&mut self, arena: &'b Bump, mut each: impl FnMut(Token<'b>)) {
        if !self.pending.is_empty() {
            self.hand_on_pending(arena, &mut each);
        }
        self.in_pieces = false;
    }

    /// How many bytes are kept.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Where the token that began in what is kept ends, counted from its start.
    fn end_of_pending(&self, data: &[u8]) -> Option<usize> {
        let overlap = self.finder.needle().len() - 1;
        let tail_start = self.pending.len().saturating_sub(overlap);
        if overlap > 0 {
            let mut seam = self.pending[tail_start..].to_vec();
            seam.extend_from_slice(&data[..overlap.min(data.len())]);
            if let Some(at) = self.finder.find(&seam) {
                return Some(tail_start + at);
            }
        }
        Some(self.pending.len() + self.finder.find(data)?)
    }

    /// Hands on a whole token that is a slice of the data.
    fn hand_on<'b>(&mut self, mut token: &'b [u8], each: &mut impl FnMut(Token<'b>)) {
        let is_piece = self.in_pieces || token.len() > self.limit;
        while token.len() > self.limit {
            let (piece, rest) = token.split_at(self.limit);
            each(Token {
                bytes: piece,
                is_piece,
            });
            token = rest;
        }
        each(Token {
            bytes: token,
            is_piece,
        });
        self.in_pieces = false;
    }

    /// Hands on what is kept as the end of its token.
    fn hand_on_pending<'b>(&mut self, arena: &'b Bump, each: &mut impl FnMut(Token<'b>)) {
        let token = arena.alloc_slice_copy(&self.pending);
        self.pending.clear();
        self.hand_on(token, each);
    }

    /// Keeps the start of a token; as much of it as is sure not to belong to a delimiter and is
    /// over the limit goes on as pieces.
    fn keep<'b>(&mut self, data: &[u8], arena: &'b Bump, each: &mut impl FnMut(Token<'b>)) {
        self.pending.extend_from_slice(data);
        let sure = self.limit + self.finder.needle().len() - 1;
        let mut start = 0;
        while self.pending.len() - start > sure {
            let end = start + self.limit;
            each(Token {
                bytes: arena.alloc_slice_copy(&self.pending[start..end]),
                is_piece: true,
            });
            self.in_pieces = true;
            start = end;
        }
        self.pending.drain(..start);
        // One long line should not hold its memory for as long as the stream lives.
        if self.pending.is_empty() {
            self.pending.shrink_to(SMALL_BUFFER);
        }
    }
}

/// How much memory a tokenizer keeps for the next unfinished token.
const SMALL_BUFFER: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens(delimiter: &str, limit: usize, reads: &[&[u8]]) -> (Vec<(Vec<u8>, bool)>, usize) {
        let arena = Bump::new();
        let mut tokenizer = Tokenizer::new(delimiter.as_bytes(), limit);
        let mut tokens = Vec::new();
        let mut most = 0;
        for read in reads {
            let read = arena.alloc_slice_copy(read);
            tokenizer.feed(read, &arena, |token| {
                tokens.push((token.bytes.to_vec(), token.is_piece));
            });
            most = most.max(tokenizer.pending());
        }
        tokenizer.flush(&arena, |token| {
            tokens.push((token.bytes.to_vec(), token.is_piece));
        });
        assert_eq!(tokenizer.pending(), 0);
        (tokens, most)
    }

    #[test]
    fn cuts_at_the_delimiter() {
        for (delimiter, reads, expected) in [
            ("\n", &["a\nb\n"][..], &["a", "b"][..]),
            ("\n", &["", "a", "", "b\n\nc"], &["ab", "", "c"]),
            ("||", &["a|", "|b|c||"], &["a", "b|c"]),
            ("||", &["a|", "b|"], &["a|b|"]),
            ("xyz", &["axy", "xyz", "xyzx"], &["axy", "", "x"]),
            ("", &["a\n"], &["a"]),
        ] {
            let reads: Vec<&[u8]> = reads.iter().map(|read| read.as_bytes()).collect();
            let (actual, _) = tokens(delimiter, 100, &reads);
            let actual: Vec<_> = actual
                .iter()
                .map(|(token, _)| String::from_utf8_lossy(token))
                .collect();
            assert_eq!(actual, expected, "{delimiter}");
        }
    }

    #[test]
    fn a_token_in_one_read_is_a_slice() {
        let arena = Bump::new();
        let data = b"first\nsecond\n";
        Tokenizer::new(b"\n", 100).feed(data, &arena, |token| {
            assert!(data.as_ptr_range().contains(&token.bytes.as_ptr()));
        });
        assert_eq!(arena.allocated_bytes(), 0);
    }

    #[test]
    fn long_tokens_come_in_pieces() {
        let (actual, most) = tokens("\n", 4, &[b"abcdefghi\nabcd\nabc", b"de", b"fgh", b"i\nx"]);
        let actual: Vec<_> = actual
            .iter()
            .map(|(token, piece)| (String::from_utf8_lossy(token), *piece))
            .collect();
        let expected = [
            ("abcd", true),
            ("efgh", true),
            ("i", true),
            ("abcd", false),
            ("abcd", true),
            ("efgh", true),
            ("i", true),
            ("x", false),
        ];
        assert_eq!(actual, expected.map(|(token, piece)| (token.into(), piece)));
        assert!(most <= 4);
    }

    proptest! {
        /// Any split of any bytes gives the tokens of the whole, and nothing is kept beyond the
        /// bound.
        #[test]
        fn splits_do_not_matter(
            data in prop::collection::vec(prop::sample::select(b"ab|\n".to_vec()), 0..60),
            cuts in prop::collection::vec(0usize..60, 0..6),
            delimiter in "\\||\\|\\||a\\|b|\\|\\|\\|",
            limit in 1usize..12,
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(data.len())).collect();
            cuts.extend([0, data.len()]);
            cuts.sort_unstable();
            let reads: Vec<&[u8]> = cuts.windows(2).map(|ends| &data[ends[0]..ends[1]]).collect();
            let (whole, _) = tokens(&delimiter, limit, &[&data]);
            let (split, most) = tokens(&delimiter, limit, &reads);
            prop_assert_eq!(&whole, &split);
            prop_assert!(most < limit + delimiter.len());
            prop_assert!(whole.iter().all(|(token, _)| token.len() <= limit));
            // Without a limit the tokens are what lies between the delimiters.
            let (unlimited, _) = tokens(&delimiter, 1000, &reads);
            let text = String::from_utf8(data.clone()).unwrap();
            let mut expected: Vec<&str> = text.split(delimiter.as_str()).collect();
            if expected.last() == Some(&"") {
                expected.pop();
            }
            let unlimited: Vec<_> = unlimited
                .iter()
                .map(|(token, _)| std::str::from_utf8(token).unwrap())
                .collect();
            prop_assert_eq!(unlimited, expected);
        }
    }
}
