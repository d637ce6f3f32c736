//! Sets of characters as configurations write them: what stands between the brackets of a regular
//! expression, `,;\t` or `a-z`.
//!
//! [`ByteSet`] is the usual case, all ASCII, and answers by a table. What it does not hold (negated
//! and nested classes, `&&`, letters beyond ASCII) is for a regular expression.

/// A set of ASCII characters.
#[derive(Clone)]
pub(crate) struct ByteSet(Box<[bool; 256]>);

impl ByteSet {
    /// Reads a class; nothing if it is empty or takes more than a table.
    pub(crate) fn parse(class: &str) -> Option<Self> {
        let mut set = [false; 256];
        let mut last: Option<u8> = None;
        let mut bytes = class.bytes().peekable();
        if class.is_empty() || class.starts_with('^') || class.contains("&&") {
            return None;
        }
        while let Some(byte) = bytes.next() {
            let member = match byte {
                b'[' | b']' | 0x80.. => return None,
                b'\\' => match bytes.next()? {
                    letter @ (b's' | b'd' | b'w') => {
                        for byte in 0..=0x7f_u8 {
                            set[usize::from(byte)] |= match letter {
                                b's' => matches!(byte, b'\t'..=b'\r' | b' '),
                                b'd' => byte.is_ascii_digit(),
                                _ => byte.is_ascii_alphanumeric() || byte == b'_',
                            };
                        }
                        last = None;
                        continue;
                    }
                    b't' => b'\t',
                    b'n' => b'\n',
                    b'r' => b'\r',
                    other if other.is_ascii_punctuation() || other == b' ' => other,
                    _ => return None,
                },
                b'-' if last.is_some() && bytes.peek().is_some() => {
                    let (from, to) = (last?, bytes.next()?);
                    if matches!(to, b'\\' | b'[' | b']' | 0x80..) || to < from {
                        return None;
                    }
                    set[usize::from(from)..=usize::from(to)].fill(true);
                    last = None;
                    continue;
                }
                other => other,
            };
            set[usize::from(member)] = true;
            last = Some(member);
        }
        Some(Self(Box::new(set)))
    }

    /// Whether the byte is in the set.
    #[inline]
    pub(crate) fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte)]
    }

    /// The text without members of the set at both ends.
    pub(crate) fn trim<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        let is_kept = |byte: &u8| !self.has(*byte);
        match (
            text.iter().position(is_kept),
            text.iter().rposition(is_kept),
        ) {
            (Some(start), Some(end)) => &text[start..=end],
            _ => b"",
        }
    }
}

impl std::fmt::Debug for ByteSet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let members = (0..=0x7f_u8).filter(|byte| self.has(*byte)).map(char::from);
        formatter.debug_set().entries(members).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        for (class, members) in [
            (" ", " "),
            ("=:", "=:"),
            (r"\t\|", "\t|"),
            ("a-d", "abcd"),
            ("a-", "a-"),
            ("-a", "-a"),
            (r"\d.", "0123456789."),
            ("^a", "none"),
            ("a&&b", "none"),
            ("[:alpha:]", "none"),
            ("é", "none"),
            ("d-a", "none"),
            (r"\p", "none"),
            ("", "none"),
        ] {
            let found = match ByteSet::parse(class) {
                None => "none".to_owned(),
                Some(set) => (0..=255_u8)
                    .filter(|byte| set.has(*byte))
                    .map(char::from)
                    .collect(),
            };
            let mut members: Vec<_> = members.chars().collect();
            if found != "none" {
                members.sort_unstable();
            }
            assert_eq!(found.chars().collect::<Vec<_>>(), members, "{class}");
        }
        assert_eq!(ByteSet::parse("<>,").unwrap().trim(b"<a,b>,"), b"a,b");
        assert_eq!(ByteSet::parse(",").unwrap().trim(b",,"), b"");
    }
}
