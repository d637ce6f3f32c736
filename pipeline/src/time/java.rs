//! Patterns of `java.time`, for `%{{yyyy-MM-dd}}`. They are only printed.
//!
//! COMPAT: weeks are those of ISO 8601 (Monday first, as in Logstash's own example), whatever the
//! locale of the process is. Brackets mark what a text may leave out, and so print what is in them.
//! `p` (padding) and `B` (period of the day) are refused.

use super::pattern::{
    Fast, Field, OffsetForm, Pattern, PatternError, Step, Token, Width, check_length, run,
};

impl Pattern {
    /// Compiles a pattern of `java.time`.
    pub fn java(pattern: &str) -> Result<Self, PatternError> {
        check_length(pattern)?;
        let mut steps = Vec::new();
        let mut literal = String::new();
        let mut open = 0_usize;
        let mut characters = pattern.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '\'' if characters.next_if_eq(&'\'').is_some() => literal.push('\''),
                '\'' => loop {
                    match characters.next() {
                        Some('\'') if characters.next_if_eq(&'\'').is_none() => break,
                        Some(quoted) => literal.push(quoted),
                        None => return Err(PatternError::OpenQuote),
                    }
                },
                '[' => open += 1,
                ']' => open = open.checked_sub(1).ok_or(PatternError::Reserved(']'))?,
                '{' | '}' | '#' => return Err(PatternError::Reserved(character)),
                _ if character.is_ascii_alphabetic() => {
                    if !literal.is_empty() {
                        let text = std::mem::take(&mut literal);
                        steps.push(Step::Literal(text.into_bytes().into()));
                    }
                    if let Token::Letters(letter, count) = run(character, &mut characters)? {
                        push_field(letter, count, &mut steps)?;
                    }
                }
                _ => literal.push(character),
            }
        }
        if open > 0 {
            return Err(PatternError::Reserved('['));
        }
        if !literal.is_empty() {
            steps.push(Step::Literal(literal.into_bytes().into()));
        }
        Ok(Self {
            steps: steps.into(),
            fast: Fast::None,
        })
    }
}

/// What a run of letters means in a pattern of java.time.
fn push_field(letter: char, count: u8, steps: &mut Vec<Step>) -> Result<(), PatternError> {
    let letters = || letter.to_string().repeat(usize::from(count));
    let number = |field, most: u8| {
        if count > most {
            return Err(PatternError::TooManyLetters { letters: letters() });
        }
        Ok(Step::Number {
            field,
            least: count,
            most,
            signed: false,
        })
    };
    let year = |field| match count {
        2 => Ok(Step::TwoDigitYear {
            field,
            lenient: false,
        }),
        _ => number(field, 19),
    };
    let width = || match count {
        1..=3 => Ok(Width::Short),
        4 => Ok(Width::Long),
        5 => Ok(Width::Narrow),
        _ => Err(PatternError::TooManyLetters { letters: letters() }),
    };
    let offset = |zulu: bool| match count {
        _ if zulu => Ok(OffsetForm::Zulu),
        1 => Ok(OffsetForm::Hours),
        2 | 4 => Ok(OffsetForm::Plain),
        3 | 5 => Ok(OffsetForm::Colon),
        _ => Err(PatternError::TooManyLetters { letters: letters() }),
    };
    let literal = |text: &str| Step::Literal(text.as_bytes().into());
    steps.push(match letter {
        'G' => Step::Era(width()?),
        'u' => year(Field::Year)?,
        'y' => year(Field::YearOfEra)?,
        'Y' => year(Field::Weekyear)?,
        'Q' | 'q' if count <= 2 => number(Field::Quarter, 2)?,
        'Q' | 'q' => return push_quarter(width()?, steps),
        'M' | 'L' if count <= 2 => number(Field::Month, 2)?,
        'M' | 'L' => Step::Month(width()?),
        'w' => number(Field::Week, 2)?,
        'W' => number(Field::WeekOfMonth, 1)?,
        'D' => number(Field::DayOfYear, 3)?,
        'd' => number(Field::Day, 2)?,
        'F' => number(Field::WeekdayInMonth, 1)?,
        'e' if count <= 2 => number(Field::Weekday, 2)?,
        'c' if count == 1 => number(Field::Weekday, 1)?,
        'E' | 'e' | 'c' => Step::Weekday(width()?),
        'a' if count == 1 => Step::Half,
        'H' => number(Field::Hour, 2)?,
        'k' => number(Field::ClockHour, 2)?,
        'K' => number(Field::HalfHour, 2)?,
        'h' => number(Field::HalfClockHour, 2)?,
        'm' => number(Field::Minute, 2)?,
        's' => number(Field::Second, 2)?,
        'S' if count <= 9 => Step::Fraction {
            digits: count,
            fine: true,
        },
        'A' => number(Field::MilliOfDay, 19)?,
        'n' => number(Field::NanoOfSecond, 19)?,
        'N' => number(Field::NanoOfDay, 19)?,
        'V' if count == 2 => literal("Z"),
        'z' | 'v' if count <= 4 => literal("Z"),
        'O' if matches!(count, 1 | 4) => Step::Offset(OffsetForm::Gmt),
        'X' if count <= 5 => Step::Offset(offset(true)?),
        'x' => Step::Offset(offset(false)?),
        'Z' => Step::Offset(match count {
            1..=3 => OffsetForm::Plain,
            4 => OffsetForm::Gmt,
            5 => OffsetForm::Zulu,
            _ => return Err(PatternError::TooManyLetters { letters: letters() }),
        }),
        'S' | 'X' | 'V' | 'z' | 'v' | 'O' | 'a' => {
            return Err(PatternError::TooManyLetters { letters: letters() });
        }
        _ => return Err(PatternError::UnknownLetter { letters: letters() }),
    });
    Ok(())
}

/// `Q4`, `4th quarter`, `4`.
fn push_quarter(width: Width, steps: &mut Vec<Step>) -> Result<(), PatternError> {
    let number = Step::Number {
        field: Field::Quarter,
        least: 1,
        most: 1,
        signed: false,
    };
    match width {
        Width::Short => steps.extend([Step::Literal(b"Q".as_slice().into()), number]),
        Width::Narrow => steps.push(number),
        // Its ordinals (1st, 2nd, 3rd, 4th) would need a step of their own that nobody asked for.
        Width::Long => {
            return Err(PatternError::TooManyLetters {
                letters: "QQQQ".to_owned(),
            });
        }
    }
    Ok(())
}
