//! Ruby's named classes of characters, as the inside of a class of the target syntax.
//!
//! COMPAT: `\d`, `\w`, `\s` and `\h` are ASCII; the POSIX names, in brackets or behind `\p`, are
//! Unicode.

/// The inside of the class that a letter after a backslash stands for.
pub(super) fn shorthand(letter: char) -> Option<&'static str> {
    Some(match letter {
        'd' => "0-9",
        'D' => "^0-9",
        'w' => "0-9A-Za-z_",
        'W' => "^0-9A-Za-z_",
        's' => r"\t-\r ",
        'S' => r"^\t-\r ",
        'h' => "0-9A-Fa-f",
        'H' => "^0-9A-Fa-f",
        _ => return None,
    })
}

/// The inside of the class with this POSIX name.
pub(super) fn posix(name: &str) -> Option<&'static str> {
    Some(match name.to_ascii_lowercase().as_str() {
        "alnum" => r"\p{Alphabetic}\p{Nd}",
        "alpha" => r"\p{Alphabetic}",
        "ascii" => r"\x00-\x7F",
        "blank" => r"\t\p{Zs}",
        "cntrl" => r"\p{Cc}",
        "digit" => r"\p{Nd}",
        "graph" => r"[^\p{White_Space}\p{Cc}\p{Cn}]",
        "lower" => r"\p{Lowercase}",
        "print" => r"[^\p{White_Space}\p{Cc}\p{Cn}]\p{Zs}",
        "punct" => r"\p{P}$+<=>\^`|\~",
        "space" => r"\p{White_Space}",
        "upper" => r"\p{Uppercase}",
        "word" => r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}",
        "xdigit" => "0-9A-Fa-f",
        _ => return None,
    })
}
