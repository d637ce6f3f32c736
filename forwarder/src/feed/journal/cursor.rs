//! Where an entry is in the journal: `s=…;i=…;b=…;m=…;t=…;x=…`.
//!
//! That is which sequence of numbers (`s`), the number in it (`i`), the boot (`b`), the microseconds since that (`m`),
//! those since 1970 (`t`), and a hash of the contents (`x`). A number alone does not tell which entry it is: journald of
//! systemd 253 and older gives one twice when it is restarted and has several files, and they begin anew when the
//! files are removed.

use xxhash_rust::xxh3::xxh3_64;

/// What is taken for a cursor at most.
const MAX_BYTES: usize = 512;

/// A cursor that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(String);

impl Cursor {
    /// Understands a cursor; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let whole = text.len() <= MAX_BYTES
            && text.split(';').all(|part| {
                let (name, value) = part.split_once('=').unwrap_or_default();
                let digits = |byte: u8| byte.is_ascii_hexdigit();
                name.len() == 1 && !value.is_empty() && value.bytes().all(digits)
            });
        let known = ['s', 'i', 'b', 'm']
            .iter()
            .all(|name| part(text, *name).is_some());
        (whole && known).then(|| Self(text.to_owned()))
    }

    /// As the journal wrote it.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whether the other is of the same entry, perhaps in another file of the journal.
    pub fn is(&self, other: &str) -> bool {
        let same = |names: &[char]| {
            let mut names = names.iter();
            names.all(|name| {
                let ours = part(&self.0, *name);
                ours.is_some() && ours == part(other, *name)
            })
        };
        same(&['s', 'i', 'b', 'm']) || same(&['b', 'm', 't', 'x'])
    }
}

/// What stands for a position in the stream of a journal, wherever and however often the entry is read. Together with the
/// text, which is part of an event's identity, it tells entries apart.
///
/// 63 bits, so that it is a number for everybody.
pub fn offset(cursor: &str) -> u64 {
    let known = ['s', 'i', 'b', 'm'].map(|name| part(cursor, name).unwrap_or_default());
    let hash = if known.iter().any(|part| part.is_empty()) {
        xxh3_64(cursor.as_bytes())
    } else {
        xxh3_64(known.join(";").as_bytes())
    };
    hash >> 1
}

fn part(cursor: &str, name: char) -> Option<&str> {
    let mut parts = cursor.split(';').filter_map(|part| part.split_once('='));
    let found = parts.find(|(known, _)| known.chars().eq([name]));
    found.map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURSOR: &str = "s=558738d349cd4f76a2302ae043476fe5;i=2;b=0123456789abcdef0123456789abcdef;\
        m=3e9;t=60a24181e4001;x=62be2b21c8cf8f05";

    #[test]
    fn what_is_a_cursor() {
        assert_eq!(Cursor::parse(CURSOR).expect("one").text(), CURSOR);
        let long = format!("{CURSOR};y={}", "0".repeat(MAX_BYTES));
        for none in [
            "",
            "s=1",
            "--help",
            &CURSOR.replace("i=2", "i=two"),
            &long,
            "s=1;i=1;b=1;m=\n",
        ] {
            assert_eq!(Cursor::parse(none), None, "{none}");
        }
    }

    #[test]
    fn the_same_entry_and_others() {
        let cursor = Cursor::parse(CURSOR).expect("a cursor");
        assert!(cursor.is(CURSOR));
        // Copied into another file.
        let copied = CURSOR.replace("s=5587", "s=0000").replace("i=2", "i=7");
        assert!(cursor.is(&copied));
        assert_ne!(offset(CURSOR), offset(&copied));
        for (from, to) in [("i=2", "i=3"), ("m=3e9", "m=3ea"), ("b=01", "b=02")] {
            let other = CURSOR.replace(from, to).replace("x=62", "x=63");
            assert!(!cursor.is(&other), "{other}");
            assert_ne!(offset(CURSOR), offset(&other));
        }
        // Its last two parts do not say which it is.
        assert_eq!(offset(CURSOR), offset(&CURSOR[..CURSOR.len() - 18]));
        assert!(i64::try_from(offset(CURSOR)).is_ok());
    }
}
