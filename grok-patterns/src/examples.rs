//! Texts that the standard patterns match, for people to look at and for tests to run.
//!
//! They are in `patterns/examples/`, in files named as those with the definitions, and serve both
//! sets. A line is a name, one space, and the text to the end of the line; a name may have
//! several. A text of several lines stands below a line with the name alone, and ends before an
//! empty line. Elsewhere, empty lines and lines that begin with `#` are skipped.

/// The examples of a name.
pub(crate) struct Examples {
    rest: &'static str,
    name: String,
}

impl Examples {
    pub(crate) fn of(file: &'static str, name: &str) -> Self {
        Self {
            rest: file,
            name: name.to_owned(),
        }
    }
}

impl Iterator for Examples {
    type Item = &'static str;

    fn next(&mut self) -> Option<&'static str> {
        while !self.rest.is_empty() {
            let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
            self.rest = rest;
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, text) = line.split_once(' ').unwrap_or_else(|| {
                let (block, rest) = rest
                    .split_once("\n\n")
                    .unwrap_or((rest.trim_end_matches('\n'), ""));
                self.rest = rest;
                (line, block)
            });
            if name == self.name {
                return Some(text);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> Vec<&'static str> {
        let file =
            "# head\n\nA one\nB \u{20}two \n\n# x\nA\n# Time: 1\nC 2\n\nC 3\nA three\nD\nlast\n";
        Examples::of(file, name).collect()
    }

    #[test]
    fn a_line_is_a_name_and_a_text() {
        assert_eq!(of("B"), [" two "]);
        assert_eq!(of("C"), ["3"]);
        assert_eq!(of("E"), [""; 0]);
    }

    #[test]
    fn a_name_alone_begins_a_text_of_several_lines() {
        assert_eq!(of("A"), ["one", "# Time: 1\nC 2", "three"]);
        assert_eq!(of("D"), ["last"]);
    }
}
