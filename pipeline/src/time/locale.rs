//! Names of months, weekdays and halves of the day, in the languages that logs are written in.
//!
//! A name is read whatever its case, long or short, and a short one also without its dot. Only
//! English is printed: the templates that print times have no locale.

use std::str::Chars;

/// The names of one language.
#[derive(Debug)]
pub struct Locale {
    /// Language tags, as in `fr` of `fr-FR`.
    language: &'static str,
    months: [&'static str; 12],
    short_months: [&'static str; 12],
    /// From Monday on.
    weekdays: [&'static str; 7],
    short_weekdays: [&'static str; 7],
    /// Before and after noon.
    halves: [&'static str; 2],
}

impl Locale {
    /// The names for a tag like `en`, `en-US` or `en_US`.
    pub fn find(tag: &str) -> Option<&'static Self> {
        let language = tag.split(['-', '_', '.']).next().unwrap_or_default();
        LOCALES
            .iter()
            .find(|each| each.language.eq_ignore_ascii_case(language))
            .copied()
    }

    /// The languages there are, for messages.
    pub fn languages() -> impl Iterator<Item = &'static str> {
        LOCALES.iter().map(|each| each.language)
    }

    pub(super) fn is_english(&self) -> bool {
        self.language == "en"
    }

    /// The English name of a month from 1 to 12.
    pub(super) fn english_month(month: u32, long: bool) -> &'static str {
        let names = if long {
            &ENGLISH.months
        } else {
            &ENGLISH.short_months
        };
        names[(month as usize).clamp(1, 12) - 1]
    }

    /// The English name of a weekday from 1 (Monday) to 7.
    pub(super) fn english_weekday(weekday: u32, long: bool) -> &'static str {
        let names = if long {
            &ENGLISH.weekdays
        } else {
            &ENGLISH.short_weekdays
        };
        names[(weekday as usize).clamp(1, 7) - 1]
    }

    /// The month at the start of `text`, from 1, and the length of its name.
    pub(super) fn month(&self, text: &[u8]) -> Option<(u32, usize)> {
        longest(text, &[&self.months, &self.short_months])
    }

    /// The weekday at the start of `text`, 1 being Monday, and the length of its name.
    pub(super) fn weekday(&self, text: &[u8]) -> Option<(u32, usize)> {
        longest(text, &[&self.weekdays, &self.short_weekdays])
    }

    /// The half of the day at the start of `text`, 1 or 2, and the length of its name.
    pub(super) fn half(&self, text: &[u8]) -> Option<(u32, usize)> {
        longest(text, &[&self.halves, &ENGLISH.halves])
    }
}

/// The longest of some names that `text` starts with: its number from 1, and its length.
fn longest(text: &[u8], lists: &[&[&str]]) -> Option<(u32, usize)> {
    let mut best: Option<(u32, usize)> = None;
    for names in lists {
        for (at, name) in names.iter().enumerate() {
            let length =
                prefix_length(text, name).or_else(|| prefix_length(text, name.strip_suffix('.')?));
            if let Some(length) = length
                && best.is_none_or(|(_, longest)| length > longest)
            {
                best = Some((at as u32 + 1, length));
            }
        }
    }
    best
}

/// Number of bytes that `name` takes at the start of `text`, in any case.
fn prefix_length(text: &[u8], name: &str) -> Option<usize> {
    if name.is_ascii() {
        let head = text.get(..name.len())?;
        return head
            .eq_ignore_ascii_case(name.as_bytes())
            .then_some(name.len());
    }
    let valid = text.utf8_chunks().next()?.valid();
    let mut rest: Chars<'_> = valid.chars();
    for wanted in name.chars() {
        let found = rest.next()?;
        if found != wanted && !found.to_lowercase().eq(wanted.to_lowercase()) {
            return None;
        }
    }
    Some(valid.len() - rest.as_str().len())
}

/// English.
pub(super) static ENGLISH: Locale = Locale {
    language: "en",
    months: [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ],
    short_months: [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ],
    weekdays: [
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
    ],
    short_weekdays: ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"],
    halves: ["AM", "PM"],
};

static LOCALES: [&Locale; 7] = [
    &ENGLISH,
    &Locale {
        language: "de",
        months: [
            "Januar",
            "Februar",
            "März",
            "April",
            "Mai",
            "Juni",
            "Juli",
            "August",
            "September",
            "Oktober",
            "November",
            "Dezember",
        ],
        short_months: [
            "Jan.", "Feb.", "Mär.", "Apr.", "Mai", "Jun.", "Jul.", "Aug.", "Sept.", "Okt.", "Nov.",
            "Dez.",
        ],
        weekdays: [
            "Montag",
            "Dienstag",
            "Mittwoch",
            "Donnerstag",
            "Freitag",
            "Samstag",
            "Sonntag",
        ],
        short_weekdays: ["Mo.", "Di.", "Mi.", "Do.", "Fr.", "Sa.", "So."],
        halves: ["vorm.", "nachm."],
    },
    &Locale {
        language: "fr",
        months: [
            "janvier",
            "février",
            "mars",
            "avril",
            "mai",
            "juin",
            "juillet",
            "août",
            "septembre",
            "octobre",
            "novembre",
            "décembre",
        ],
        short_months: [
            "janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.",
            "nov.", "déc.",
        ],
        weekdays: [
            "lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche",
        ],
        short_weekdays: ["lun.", "mar.", "mer.", "jeu.", "ven.", "sam.", "dim."],
        halves: ["AM", "PM"],
    },
    &Locale {
        language: "es",
        months: [
            "enero",
            "febrero",
            "marzo",
            "abril",
            "mayo",
            "junio",
            "julio",
            "agosto",
            "septiembre",
            "octubre",
            "noviembre",
            "diciembre",
        ],
        short_months: [
            "ene.", "feb.", "mar.", "abr.", "may.", "jun.", "jul.", "ago.", "sept.", "oct.",
            "nov.", "dic.",
        ],
        weekdays: [
            "lunes",
            "martes",
            "miércoles",
            "jueves",
            "viernes",
            "sábado",
            "domingo",
        ],
        short_weekdays: ["lun.", "mar.", "mié.", "jue.", "vie.", "sáb.", "dom."],
        halves: ["a. m.", "p. m."],
    },
    &Locale {
        language: "it",
        months: [
            "gennaio",
            "febbraio",
            "marzo",
            "aprile",
            "maggio",
            "giugno",
            "luglio",
            "agosto",
            "settembre",
            "ottobre",
            "novembre",
            "dicembre",
        ],
        short_months: [
            "gen", "feb", "mar", "apr", "mag", "giu", "lug", "ago", "set", "ott", "nov", "dic",
        ],
        weekdays: [
            "lunedì",
            "martedì",
            "mercoledì",
            "giovedì",
            "venerdì",
            "sabato",
            "domenica",
        ],
        short_weekdays: ["lun", "mar", "mer", "gio", "ven", "sab", "dom"],
        halves: ["AM", "PM"],
    },
    &Locale {
        language: "pt",
        months: [
            "janeiro",
            "fevereiro",
            "março",
            "abril",
            "maio",
            "junho",
            "julho",
            "agosto",
            "setembro",
            "outubro",
            "novembro",
            "dezembro",
        ],
        short_months: [
            "jan.", "fev.", "mar.", "abr.", "mai.", "jun.", "jul.", "ago.", "set.", "out.", "nov.",
            "dez.",
        ],
        weekdays: [
            "segunda-feira",
            "terça-feira",
            "quarta-feira",
            "quinta-feira",
            "sexta-feira",
            "sábado",
            "domingo",
        ],
        short_weekdays: ["seg.", "ter.", "qua.", "qui.", "sex.", "sáb.", "dom."],
        halves: ["AM", "PM"],
    },
    &Locale {
        language: "nl",
        months: [
            "januari",
            "februari",
            "maart",
            "april",
            "mei",
            "juni",
            "juli",
            "augustus",
            "september",
            "oktober",
            "november",
            "december",
        ],
        short_months: [
            "jan.", "feb.", "mrt.", "apr.", "mei", "jun.", "jul.", "aug.", "sep.", "okt.", "nov.",
            "dec.",
        ],
        weekdays: [
            "maandag",
            "dinsdag",
            "woensdag",
            "donderdag",
            "vrijdag",
            "zaterdag",
            "zondag",
        ],
        short_weekdays: ["ma", "di", "wo", "do", "vr", "za", "zo"],
        halves: ["a.m.", "p.m."],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_names_whatever_their_case() {
        let french = Locale::find("fr_FR").unwrap();
        assert_eq!(french.month("AOÛT 2020".as_bytes()), Some((8, 5)));
        assert_eq!(french.month("déc 2020".as_bytes()), Some((12, 4)));
        assert_eq!(french.month("juillet".as_bytes()), Some((7, 7)));
        assert_eq!(ENGLISH.month(b"marching"), Some((3, 5)));
        assert_eq!(ENGLISH.month(b"Ma"), None);
        assert_eq!(ENGLISH.weekday(b"sunday,"), Some((7, 6)));
        assert_eq!(ENGLISH.half(b"pm"), Some((2, 2)));
        assert_eq!(Locale::find("xx").map(|each| each.language), None);
    }
}
