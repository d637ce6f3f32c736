//! Backslash sequences in strings, for `config.support_escapes`.
//!
//! Without that setting a backslash in a string stays as it is, even the one before a quote.

use std::borrow::Cow;

/// Replaces `\"`, `\'`, `\\`, `\n`, `\r`, `\t` and `\0`; any other sequence stays.
pub fn process_escapes(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut processed = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            processed.push(character);
            continue;
        }
        match characters.next() {
            Some(quoted @ ('"' | '\'' | '\\')) => processed.push(quoted),
            Some('n') => processed.push('\n'),
            Some('r') => processed.push('\r'),
            Some('t') => processed.push('\t'),
            Some('0') => processed.push('\0'),
            other => {
                processed.push('\\');
                processed.extend(other);
            }
        }
    }
    Cow::Owned(processed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_sequences_are_replaced_and_others_stay() {
        assert_eq!(process_escapes(r#"\n\r\t\0\\\"\'"#), "\n\r\t\0\\\"'");
        assert_eq!(process_escapes(r"\d+\.\x41\"), r"\d+\.\x41\");
        assert_eq!(process_escapes(r"a\\n"), r"a\n");
        assert!(matches!(process_escapes("plain"), Cow::Borrowed(_)));
    }
}
