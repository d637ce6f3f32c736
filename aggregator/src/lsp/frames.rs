//! Messages on a stream: headers, an empty line, and as many bytes of JSON as `Content-Length` says.
//!
//! INVARIANT: no more than [`MAX_HEADER_BYTES`] and [`MAX_MESSAGE_BYTES`] are held, whatever the peer
//! says. A peer that passes them, or that sends no such header, is given up: where its next message
//! begins cannot be known.

use std::io::{BufRead, Read as _, Write};

use serde_json::Value as Json;

/// Most bytes that the headers of a message may have.
pub const MAX_HEADER_BYTES: u64 = 8 << 10;

/// Most bytes that a message may have: the largest configuration, and room for its escapes.
pub const MAX_MESSAGE_BYTES: u64 = 64 << 20;

/// Why no more can be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The stream failed.
    #[error("cannot read from the editor: {0}")]
    Read(#[from] std::io::Error),
    /// The stream ended inside of a message.
    #[error("the editor's stream ended inside of a message")]
    Cut,
    /// The headers are too long.
    #[error("the headers of a message are longer than {MAX_HEADER_BYTES} bytes")]
    HeadersTooLong,
    /// There is no length, or none that can be read.
    #[error("a message has no valid header Content-Length")]
    NoLength,
    /// The message is too long.
    #[error("a message has {got} bytes, more than {MAX_MESSAGE_BYTES}")]
    TooLong {
        /// What it says.
        got: u64,
    },
}

/// Reads the body of the next message; none at the end.
pub(super) fn read(input: &mut impl BufRead) -> Result<Option<Vec<u8>>, FrameError> {
    let mut length = None;
    let mut left = MAX_HEADER_BYTES;
    loop {
        let mut line = Vec::new();
        let read = input.by_ref().take(left).read_until(b'\n', &mut line)?;
        let first = left == MAX_HEADER_BYTES;
        left -= read as u64;
        if line.last() != Some(&b'\n') {
            return match (read, left) {
                (0, _) if first => Ok(None),
                (_, 0) => Err(FrameError::HeadersTooLong),
                _ => Err(FrameError::Cut),
            };
        }
        let line = String::from_utf8_lossy(line.trim_ascii()).into_owned();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.trim().eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse::<u64>().ok();
        }
    }
    let length = length.ok_or(FrameError::NoLength)?;
    if length > MAX_MESSAGE_BYTES {
        return Err(FrameError::TooLong { got: length });
    }
    // What is promised is not set aside before it comes.
    let mut body = Vec::new();
    input.by_ref().take(length).read_to_end(&mut body)?;
    if (body.len() as u64) < length {
        return Err(FrameError::Cut);
    }
    Ok(Some(body))
}

/// Writes a message.
pub(super) fn write(output: &mut impl Write, message: &Json) -> std::io::Result<()> {
    let body = message.to_string();
    write!(output, "Content-Length: {}\r\n\r\n{body}", body.len())?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<String>, FrameError> {
        let mut input = bytes;
        let mut bodies = Vec::new();
        while let Some(body) = read(&mut input)? {
            bodies.push(String::from_utf8(body).unwrap());
        }
        Ok(bodies)
    }

    #[test]
    fn messages_are_told_apart() {
        let text = b"Content-Length: 2\r\n\r\n{}content-length:3\r\nContent-Type: x\r\n\r\n[1]";
        assert_eq!(all(text).unwrap(), ["{}", "[1]"]);
        assert_eq!(all(b"").unwrap(), [] as [&str; 0]);
        let mut out = Vec::new();
        write(&mut out, &serde_json::json!({"a": "ü"})).unwrap();
        assert_eq!(all(&out).unwrap(), [r#"{"a":"ü"}"#]);
    }

    #[test]
    fn strange_messages_are_refused_and_bounded() {
        assert!(matches!(all(b"X: 1\r\n\r\n{}"), Err(FrameError::NoLength)));
        assert!(matches!(
            all(b"Content-Length: -1\r\n\r\n"),
            Err(FrameError::NoLength)
        ));
        assert!(matches!(
            all(b"Content-Length: 9\r\n\r\n{}"),
            Err(FrameError::Cut)
        ));
        assert!(matches!(all(b"Content-Le"), Err(FrameError::Cut)));
        let huge = format!("Content-Length: {}\r\n\r\n", u64::MAX);
        assert!(matches!(
            all(huge.as_bytes()),
            Err(FrameError::TooLong { got: u64::MAX })
        ));
        // The whole length is promised and little comes: nothing is set aside for the rest.
        let promised = format!("Content-Length: {MAX_MESSAGE_BYTES}\r\n\r\nx");
        assert!(matches!(all(promised.as_bytes()), Err(FrameError::Cut)));
        let endless = vec![b'a'; 1 << 20];
        assert!(matches!(all(&endless), Err(FrameError::HeadersTooLong)));
        let many = b"A: b\r\n".repeat(10_000);
        assert!(matches!(all(&many), Err(FrameError::HeadersTooLong)));
    }
}
