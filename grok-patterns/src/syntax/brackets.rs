//! Classes of characters: brackets, and what stands after a backslash.

use super::{CharacterClass, parser::Parser};
use crate::CompileError;

impl Parser<'_, '_> {
    /// What may stand after a backslash both inside and outside of brackets.
    pub(super) fn class_escape(&mut self) -> Result<CharacterClass, CompileError> {
        let start = self.at;
        let Some(character) = self.next() else {
            return Err(self.error("the expression ends in a backslash"));
        };
        Ok(match character {
            'd' => CharacterClass::digit(),
            'D' => CharacterClass::digit().negated(),
            'w' => CharacterClass::word(),
            'W' => CharacterClass::word().negated(),
            's' => CharacterClass::space(),
            'S' => CharacterClass::space().negated(),
            'h' => CharacterClass::hexadecimal(),
            'H' => CharacterClass::hexadecimal().negated(),
            'p' | 'P' => {
                let name = match (self.take("{"), self.rest().find('}')) {
                    (true, Some(end)) => &self.rest()[..end],
                    _ => return Err(self.error("\\p is followed by a property: \\p{Alpha}")),
                };
                let (bare, caret) = match name.strip_prefix('^') {
                    Some(bare) => (bare, true),
                    None => (name, false),
                };
                let Some(class) = CharacterClass::property(bare) else {
                    return Err(self.error(format!("there is no character property {bare}")));
                };
                self.at += name.len() + 1;
                if (character == 'P') == caret {
                    class
                } else {
                    class.negated()
                }
            }
            't' => CharacterClass::single('\t'),
            'n' => CharacterClass::single('\n'),
            'r' => CharacterClass::single('\r'),
            'f' => CharacterClass::single('\x0C'),
            'v' => CharacterClass::single('\x0B'),
            'a' => CharacterClass::single('\x07'),
            'e' => CharacterClass::single('\x1B'),
            '0'..='7' => {
                // Three digits at most; a number too large loses its upper bits.
                let digits = self
                    .rest()
                    .bytes()
                    .take(2)
                    .take_while(|b| (b'0'..b'8').contains(b))
                    .count();
                let text = &self.text[start..self.at + digits];
                self.at += digits;
                let value = u32::from_str_radix(text, 8).unwrap_or(0) & 0xFF;
                CharacterClass::single(char::from_u32(value).unwrap_or('\0'))
            }
            'x' | 'u' => CharacterClass::single(self.character_by_number(character)?),
            'c' => match self.next() {
                Some(control) if control.is_ascii() => {
                    CharacterClass::single((control as u8 & 0x1F) as char)
                }
                _ => return Err(self.error("\\c is followed by a letter")),
            },
            _ => CharacterClass::single(character),
        })
    }

    fn character_by_number(&mut self, letter: char) -> Result<char, CompileError> {
        let digits = if letter == 'x' && self.take("{") {
            let Some(end) = self.rest().find('}') else {
                return Err(self.error("this character number is not closed"));
            };
            let digits = &self.rest()[..end];
            self.at += end + 1;
            digits.trim()
        } else {
            let most = if letter == 'x' { 2 } else { 4 };
            let count = self
                .rest()
                .bytes()
                .take(most)
                .take_while(u8::is_ascii_hexdigit)
                .count();
            let digits = &self.rest()[..count];
            self.at += count;
            digits
        };
        match u32::from_str_radix(digits, 16)
            .ok()
            .and_then(char::from_u32)
        {
            Some(character) => Ok(character),
            None => Err(self.error(format!("there is no character number {digits}"))),
        }
    }

    /// The inside of brackets, after the opening one.
    pub(super) fn class(&mut self) -> Result<CharacterClass, CompileError> {
        self.deeper()?;
        let opened = self.at;
        let negative = self.take("^");
        let mut intersection: Option<CharacterClass> = None;
        let mut class = CharacterClass::empty();
        let mut first = true;
        loop {
            if self.take("&&") {
                match &mut intersection {
                    Some(intersection) => intersection.intersect(&class),
                    None => intersection = Some(class),
                }
                class = CharacterClass::empty();
                continue;
            }
            let Some(character) = self.peek() else {
                self.at = opened;
                return Err(self.error("these brackets are not closed"));
            };
            if character == ']' && !(first && self.closes_later()) {
                self.at += 1;
                break;
            }
            first = false;
            self.class_item(&mut class)?;
        }
        if let Some(mut intersection) = intersection {
            intersection.intersect(&class);
            class = intersection;
        }
        if negative {
            class.negate();
        }
        self.nesting -= 1;
        Ok(class)
    }

    /// A bracket right at the start stands for itself when another one closes the class.
    fn closes_later(&self) -> bool {
        self.rest()[1..].contains(']')
    }

    fn class_item(&mut self, class: &mut CharacterClass) -> Result<(), CompileError> {
        if let Some(inside) = self.rest().strip_prefix("[:")
            && let Some(length) = inside.find(":]")
        {
            let end = 2 + length;
            let name = &inside[..length];
            let (name, caret) = match name.strip_prefix('^') {
                Some(name) => (name, true),
                None => (name, false),
            };
            if let Some(bracket) = CharacterClass::posix(name) {
                self.at += end + 2;
                let bracket = self.folded(bracket);
                class.union(&if caret { bracket.negated() } else { bracket });
                return Ok(());
            }
            if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
                return Err(self.error(format!("there is no character class [:{name}:]")));
            }
        }
        if self.take("[") {
            class.union(&self.class()?);
            return Ok(());
        }
        let start = self.at;
        let first = match self.class_character()? {
            ClassItem::Class(item) => {
                class.union(&item);
                return Ok(());
            }
            ClassItem::Character(character) => character,
        };
        // A range, unless the hyphen is the last thing in the brackets.
        let rest = self.rest();
        if rest.starts_with('-') && !rest.starts_with("-]") && !rest.starts_with("-[") {
            self.at += 1;
            match self.class_character()? {
                ClassItem::Character(last) if last >= first => {
                    class.union(&self.folded(CharacterClass::from_ranges(&[(first, last)])));
                    return Ok(());
                }
                ClassItem::Character(_) => {
                    self.at = start;
                    return Err(self.error("this range is the wrong way round"));
                }
                ClassItem::Class(item) => {
                    class.push('-', '-');
                    class.union(&item);
                }
            }
        }
        class.union(&self.folded(CharacterClass::single(first)));
        Ok(())
    }

    fn class_character(&mut self) -> Result<ClassItem, CompileError> {
        match self.next() {
            None => Err(self.error("these brackets are not closed")),
            Some('\\') => {
                if self.take("b") {
                    return Ok(ClassItem::Character('\x08'));
                }
                let class = self.class_escape()?;
                Ok(match class.single_member() {
                    Some(character) => ClassItem::Character(character),
                    None => ClassItem::Class(class),
                })
            }
            Some(character) => Ok(ClassItem::Character(character)),
        }
    }
}

enum ClassItem {
    Character(char),
    Class(CharacterClass),
}
