//! Patterns of Joda-Time, compiled to steps.
//!
//! A run of one letter is a field, everything else is literal; text in single quotes is literal
//! too, and `''` is a quote. What each letter reads and prints is in [`joda_field`]. A number
//! directly before another number takes exactly as many digits as it has letters if it is a year;
//! all others take as many as their field can have.

use thiserror::Error;

/// The longest pattern that is accepted, in bytes.
pub const MAX_PATTERN_LENGTH: usize = 500;

/// Why a pattern cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PatternError {
    /// Nothing there.
    #[error("the pattern of a time is empty")]
    Empty,
    /// Longer than [`MAX_PATTERN_LENGTH`].
    #[error("the pattern of a time is longer than {MAX_PATTERN_LENGTH} bytes")]
    TooLong,
    /// A letter that stands for nothing.
    #[error("`{letters}` is no part of a time; put literal text into single quotes: `'{letters}'`")]
    UnknownLetter {
        /// The letter, as often as it stands there.
        letters: String,
    },
    /// A letter that prints but does not read.
    #[error("`{letters}` can be printed but not read from a text")]
    NotParsable {
        /// The letter, as often as it stands there.
        letters: &'static str,
    },
    /// A character that java.time keeps for itself, or brackets that do not pair up.
    #[error("`{0}` has no meaning here; put literal text into single quotes")]
    Reserved(char),
    /// A letter that is repeated too often.
    #[error("`{letters}` is repeated too often")]
    TooManyLetters {
        /// The letters.
        letters: String,
    },
    /// A quote without its second one.
    #[error("a single quote is not closed")]
    OpenQuote,
}

/// A compiled pattern.
#[derive(Debug)]
pub struct Pattern {
    pub(super) steps: Box<[Step]>,
    pub(super) fast: Fast,
}

/// A hand-written way to read texts of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fast {
    None,
    /// `dd/MMM/yyyy:HH:mm:ss Z`
    HttpDate,
    /// `MMM dd HH:mm:ss` and `MMM  d HH:mm:ss`; `true` for two spaces.
    Syslog(bool),
}

/// One step of reading or printing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Literal(Box<[u8]>),
    Number {
        field: Field,
        /// Digits that are printed at least.
        least: u8,
        /// Digits that are read at most.
        most: u8,
        signed: bool,
    },
    /// The last two digits of a year; `lenient` if it may also be read in full.
    TwoDigitYear {
        field: Field,
        lenient: bool,
    },
    /// Digits of the fraction of a second; only of its milliseconds, zeros behind, unless `fine`.
    Fraction {
        digits: u8,
        fine: bool,
    },
    Month(Width),
    Weekday(Width),
    Half,
    Era(Width),
    Offset(OffsetForm),
    ZoneId,
    ZoneShort,
    ZoneLong,
}

/// A number of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Century,
    Year,
    YearOfEra,
    Weekyear,
    Quarter,
    Month,
    Week,
    WeekOfMonth,
    DayOfYear,
    Day,
    WeekdayInMonth,
    Weekday,
    Hour,
    /// 1 to 24.
    ClockHour,
    /// 0 to 11.
    HalfHour,
    /// 1 to 12.
    HalfClockHour,
    Minute,
    Second,
    MilliOfDay,
    NanoOfSecond,
    NanoOfDay,
}

/// How long a name is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Short,
    Long,
    /// The first letter.
    Narrow,
}

/// How UTC as an offset is printed. Reading takes every form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OffsetForm {
    /// `+00`
    Hours,
    /// `+0000`
    Plain,
    /// `+00:00`
    Colon,
    /// `Z`
    Zulu,
    /// `GMT`
    Gmt,
}

impl Pattern {
    /// Compiles a pattern of Joda-Time: `yyyy-MM-dd'T'HH:mm:ss.SSSZ`.
    pub fn joda(pattern: &str) -> Result<Self, PatternError> {
        let tokens = tokens(pattern)?;
        let mut steps = Vec::with_capacity(tokens.len());
        for (at, token) in tokens.iter().enumerate() {
            steps.push(match token {
                Token::Literal(text) => Step::Literal(text.as_bytes().into()),
                Token::Letters(letter, count) => {
                    let number_follows = matches!(
                        tokens.get(at + 1),
                        Some(Token::Letters(letter, count)) if is_number(*letter, *count)
                    );
                    joda_field(*letter, *count, number_follows).ok_or_else(|| {
                        PatternError::UnknownLetter {
                            letters: letter.to_string().repeat(usize::from(*count)),
                        }
                    })?
                }
            });
        }
        let fast = match pattern {
            "dd/MMM/yyyy:HH:mm:ss Z" => Fast::HttpDate,
            "MMM dd HH:mm:ss" => Fast::Syslog(false),
            "MMM  d HH:mm:ss" => Fast::Syslog(true),
            _ => Fast::None,
        };
        Ok(Self {
            steps: steps.into(),
            fast,
        })
    }

    /// Whether every step can be read from a text.
    pub(super) fn check_parsable(&self) -> Result<(), PatternError> {
        if self.steps.contains(&Step::ZoneLong) {
            return Err(PatternError::NotParsable { letters: "zzzz" });
        }
        Ok(())
    }

    /// Whether names of months, weekdays or halves of the day are in it.
    pub(super) fn has_names(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step, Step::Month(_) | Step::Weekday(_)))
    }
}

pub(super) enum Token {
    Literal(String),
    Letters(char, u8),
}

/// Cuts a pattern into runs of a letter and literal text.
fn tokens(pattern: &str) -> Result<Vec<Token>, PatternError> {
    check_length(pattern)?;
    let mut tokens = Vec::new();
    let mut literal = String::new();
    let mut quoted = false;
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\'' {
            if characters.next_if_eq(&'\'').is_some() {
                literal.push('\'');
            } else {
                quoted = !quoted;
            }
        } else if character.is_ascii_alphabetic() && !quoted {
            if !literal.is_empty() {
                tokens.push(Token::Literal(std::mem::take(&mut literal)));
            }
            tokens.push(run(character, &mut characters)?);
        } else {
            literal.push(character);
        }
    }
    if !literal.is_empty() {
        tokens.push(Token::Literal(literal));
    }
    Ok(tokens)
}

pub(super) fn check_length(pattern: &str) -> Result<(), PatternError> {
    if pattern.is_empty() {
        return Err(PatternError::Empty);
    }
    if pattern.len() > MAX_PATTERN_LENGTH {
        return Err(PatternError::TooLong);
    }
    Ok(())
}

/// The rest of a run of a letter.
pub(super) fn run(
    letter: char,
    characters: &mut std::iter::Peekable<std::str::Chars<'_>>,
) -> Result<Token, PatternError> {
    const MOST_LETTERS: u8 = 30;
    let mut count = 1;
    while characters.next_if_eq(&letter).is_some() {
        count += 1;
        if count > MOST_LETTERS {
            return Err(PatternError::TooManyLetters {
                letters: letter.to_string().repeat(usize::from(count)),
            });
        }
    }
    Ok(Token::Letters(letter, count))
}

fn is_number(letter: char, count: u8) -> bool {
    "cCxyYdhHmsSeDFwWkK".contains(letter) || (letter == 'M' && count <= 2)
}

/// What a run of letters means in a pattern of Joda-Time.
fn joda_field(letter: char, count: u8, number_follows: bool) -> Option<Step> {
    let number = |field, most: u8, signed| Step::Number {
        field,
        least: count,
        most: most.max(count),
        signed,
    };
    let year = |field, signed| {
        if count == 2 {
            return Step::TwoDigitYear {
                field,
                lenient: !number_follows,
            };
        }
        number(field, if number_follows { count } else { 9 }, signed)
    };
    let width = |long| if long { Width::Long } else { Width::Short };
    Some(match letter {
        'G' => Step::Era(Width::Short),
        'C' => number(Field::Century, count, true),
        'y' => year(Field::Year, true),
        'Y' => year(Field::YearOfEra, false),
        'x' => year(Field::Weekyear, true),
        'M' if count >= 3 => Step::Month(width(count >= 4)),
        'M' => number(Field::Month, 2, false),
        'w' => number(Field::Week, 2, false),
        'D' => number(Field::DayOfYear, 3, false),
        'd' => number(Field::Day, 2, false),
        'e' => number(Field::Weekday, 1, false),
        'E' => Step::Weekday(width(count >= 4)),
        'a' => Step::Half,
        'H' => number(Field::Hour, 2, false),
        'k' => number(Field::ClockHour, 2, false),
        'K' => number(Field::HalfHour, 2, false),
        'h' => number(Field::HalfClockHour, 2, false),
        'm' => number(Field::Minute, 2, false),
        's' => number(Field::Second, 2, false),
        'S' => Step::Fraction {
            digits: count,
            fine: false,
        },
        'Z' => match count {
            1 => Step::Offset(OffsetForm::Plain),
            2 => Step::Offset(OffsetForm::Colon),
            _ => Step::ZoneId,
        },
        'z' if count >= 4 => Step::ZoneLong,
        'z' => Step::ZoneShort,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes() {
        let steps = Pattern::joda("h 'o''clock' a''").unwrap().steps;
        assert_eq!(steps[1], Step::Literal(b" o'clock ".as_slice().into()));
        assert_eq!(steps[3], Step::Literal(b"'".as_slice().into()));
    }

    #[test]
    fn faults_say_what_to_write() {
        let error = Pattern::joda("yyyyTHH").unwrap_err().to_string();
        assert!(error.contains("`'T'`"), "{error}");
        assert_eq!(Pattern::joda("").unwrap_err(), PatternError::Empty);
        let long = "-".repeat(MAX_PATTERN_LENGTH + 1);
        assert_eq!(Pattern::joda(&long).unwrap_err(), PatternError::TooLong);
        assert!(Pattern::joda(&"y".repeat(31)).is_err());
        assert!(Pattern::joda("zzzz").unwrap().check_parsable().is_err());
    }
}
