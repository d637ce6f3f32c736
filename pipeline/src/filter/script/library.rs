//! The functions that a script finds besides Lua's own: texts under a budget, regular expressions, JSON,
//! times.
//!
//! INVARIANT: none touches anything outside of the virtual machine, and each is charged to the
//! [`Meter`] for what it does.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use bumpalo::Bump;
use mlua::{
    Error, Function, IntoLuaMulti as _, Lua, LuaString, MultiValue, Result, Table,
    Value as LuaValue, Variadic,
};

use super::convert::{Converter, Time};
use super::meter::{Limit, Meter};
use super::pattern::{self, Capture, Fault, Found};
use super::ruby;
use crate::event::{JsonLimits, Timestamp, read_json, write_json_value};
use crate::regex_dialect::{Regex, Replacement};
use crate::time::{Format, Locale, Reading, Zone};

/// How many regular expressions a virtual machine keeps compiled.
const MAX_KNOWN_REGEXES: usize = 64;
/// Instructions that it costs to compile one.
const COMPILE_COST: u64 = 5_000;
/// How deep JSON may be nested that a script reads.
const JSON_DEPTH: u16 = 100;

/// What the functions share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) meter: Rc<Meter>,
    pub(super) array: Table,
    regexes: Rc<RefCell<HashMap<Box<str>, Rc<Regex>>>>,
}

impl Shared {
    pub(super) fn new(meter: Rc<Meter>, array: Table) -> Self {
        Self {
            meter,
            array,
            regexes: Rc::default(),
        }
    }

    pub(super) fn converter<'c>(&'c self, lua: &'c Lua) -> Converter<'c> {
        Converter {
            lua,
            meter: &self.meter,
            array: &self.array,
        }
    }

    /// A text for the script, its length charged.
    pub(super) fn text(&self, lua: &Lua, text: &[u8]) -> Result<LuaValue> {
        self.meter.charge_length(text.len())?;
        lua.create_string(text).map(LuaValue::String)
    }

    pub(super) fn regex(&self, pattern: &LuaString) -> Result<Rc<Regex>> {
        let pattern = pattern.to_string_lossy();
        if let Some(known) = self.regexes.borrow().get(pattern.as_str()) {
            return Ok(Rc::clone(known));
        }
        self.meter.charge_instructions(COMPILE_COST)?;
        let regex = Regex::new(&pattern)
            .map_err(|error| Error::runtime(format!("regular expression: {error}")))?;
        if !regex.is_linear() {
            return Err(Error::runtime(
                "regular expression: look-around and back-references are not for scripts, as their time \
                 has no bound that fits one; a condition or `mutate` takes them",
            ));
        }
        let regex = Rc::new(regex);
        let mut known = self.regexes.borrow_mut();
        if known.len() >= MAX_KNOWN_REGEXES {
            known.clear();
        }
        known.insert(pattern.into(), Rc::clone(&regex));
        Ok(regex)
    }

    fn find(
        &self,
        text: &[u8],
        pattern: &[u8],
        from: usize,
        anchors: bool,
    ) -> Result<Option<Found>> {
        let found = self
            .meter
            .with_steps(|steps| pattern::find(text, pattern, from, anchors, steps));
        match found {
            Ok(found) => Ok(found),
            Err(Fault::Malformed(reason)) => Err(Error::runtime(reason)),
            Err(Fault::OutOfSteps) => self.meter.fail(Limit::Instructions),
        }
    }

    /// The captures of a match, or the whole of it if there are none.
    fn captures(&self, lua: &Lua, text: &[u8], found: &Found) -> Result<Vec<LuaValue>> {
        if found.captures.is_empty() {
            return Ok(vec![self.text(lua, &text[found.start..found.end])?]);
        }
        found
            .captures
            .iter()
            .map(|capture| match *capture {
                Capture::Span(start, end) => self.text(lua, &text[start..end]),
                Capture::Position(at) => Ok(LuaValue::Integer(at as i64 + 1)),
            })
            .collect()
    }
}

/// All of them, in one table.
pub(super) fn library(lua: &Lua, shared: &Shared) -> Result<Table> {
    let library = lua.create_table()?;
    library.set("string", texts(lua, shared)?)?;
    library.set("re", regexes(lua, shared)?)?;
    library.set("time", times(lua, shared)?)?;
    library.set("ruby", ruby::library(lua, shared)?)?;
    library.set("null", LuaValue::NULL)?;
    let with = shared.clone();
    library.set(
        "pcall",
        lua.create_function(move |lua, (function, arguments): (Function, MultiValue)| {
            match function.call::<MultiValue>(arguments) {
                Ok(mut values) => {
                    values.push_front(LuaValue::Boolean(true));
                    Ok(values)
                }
                // A limit is no error that a script could go on after.
                Err(error) if with.meter.hit().is_some() => Err(error),
                Err(error) if is_memory(&error) => with.meter.fail(Limit::Memory),
                Err(error) => (false, super::host::message_of(&error)).into_lua_multi(lua),
            }
        })?,
    )?;
    let with = shared.clone();
    library.set(
        "array",
        lua.create_function(move |lua, table: Option<Table>| {
            let table = table.map_or_else(|| lua.create_table(), Ok)?;
            table.set_metatable(Some(with.array.clone()))?;
            Ok(table)
        })?,
    )?;
    let with = shared.clone();
    library.set(
        "is_array",
        lua.create_function(move |_, value: LuaValue| {
            let LuaValue::Table(table) = value else {
                return Ok(false);
            };
            Ok(is_array(&table, &with.array))
        })?,
    )?;
    let with = shared.clone();
    library.set(
        "json_decode",
        lua.create_function(move |lua, text: LuaString| {
            let text = text.as_bytes();
            with.meter.charge_length(text.len())?;
            let limits = JsonLimits {
                depth: JSON_DEPTH,
                values: u32::try_from(with.meter.bytes_left() / 64).unwrap_or(u32::MAX),
            };
            let arena = Bump::new();
            match read_json(&text, limits, &arena) {
                Ok(value) => with.converter(lua).to_lua(&value)?.into_lua_multi(lua),
                Err(error) => (LuaValue::Nil, error.to_string()).into_lua_multi(lua),
            }
        })?,
    )?;
    let with = shared.clone();
    library.set(
        "json_encode",
        lua.create_function(move |lua, value: LuaValue| {
            let arena = Bump::new();
            let value = with.converter(lua).take_lua(&value, &arena)?;
            let mut out = Vec::new();
            write_json_value(&value, &mut out);
            with.text(lua, &out)
        })?,
    )?;
    let with = shared.clone();
    library.set(
        "url_decode",
        lua.create_function(move |lua, (text, plus): (LuaString, Option<bool>)| {
            let text = text.as_bytes();
            let decoded = url_decoded(&text, plus.unwrap_or(false));
            with.text(lua, &decoded)
        })?,
    )?;
    Ok(library)
}

/// Whether a table is an array: marked as one, or with the keys 1 to n and no other.
pub(super) fn is_array(table: &Table, mark: &Table) -> bool {
    if table
        .metatable()
        .is_some_and(|metatable| metatable == *mark)
    {
        return true;
    }
    let length = table.raw_len();
    length > 0 && table.pairs::<LuaValue, LuaValue>().count() == length
}

/// Whether the virtual machine has no memory left.
pub(super) fn is_memory(error: &Error) -> bool {
    match error {
        Error::MemoryError(_) => true,
        Error::CallbackError { cause, .. } | Error::WithContext { cause, .. } => is_memory(cause),
        _ => false,
    }
}

fn url_decoded(text: &[u8], plus: bool) -> Vec<u8> {
    let digit = |at: usize| {
        let byte = text.get(at).copied()?;
        char::from(byte).to_digit(16)
    };
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'%' if let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            b'+' if plus => {
                out.push(b' ');
                at += 1;
            }
            byte => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// `string.rep`, `find`, `match`, `gmatch` and `gsub`, which Lua's own library has without bounds,
/// and a few that Lua lacks.
fn texts(lua: &Lua, shared: &Shared) -> Result<Table> {
    let table = lua.create_table()?;
    let with = shared.clone();
    table.set(
        "rep",
        lua.create_function(
            move |lua, (text, count, separator): (LuaString, i64, Option<LuaString>)| {
                let text = text.as_bytes();
                let separator = separator.as_ref().map(LuaString::as_bytes);
                let separator = separator.as_deref().unwrap_or_default();
                let count = usize::try_from(count).unwrap_or(0);
                let length = (text.len() + separator.len()).checked_mul(count);
                let fits = length.is_some_and(|length| length <= with.meter.bytes_left());
                if !fits {
                    return with.meter.fail(Limit::Memory);
                }
                if text.len() + separator.len() == 0 || count == 0 {
                    return with.text(lua, b"");
                }
                let mut out = Vec::with_capacity(length.unwrap_or(0));
                for at in 0..count {
                    if at > 0 {
                        out.extend_from_slice(separator);
                    }
                    out.extend_from_slice(&text);
                }
                with.text(lua, &out)
            },
        )?,
    )?;
    let with = shared.clone();
    table.set(
        "find",
        lua.create_function(
            move |lua,
                  (text, pattern, from, plain): (
                LuaString,
                LuaString,
                Option<i64>,
                Option<bool>,
            )| {
                let (text, pattern) = (text.as_bytes(), pattern.as_bytes());
                let Some(from) = start_of(from, text.len()) else {
                    return LuaValue::Nil.into_lua_multi(lua);
                };
                if plain == Some(true) || pattern::is_plain(&pattern) {
                    with.meter.charge_length(text.len() - from)?;
                    let found = memchr::memmem::find(&text[from..], &pattern);
                    return match found {
                        Some(at) => {
                            let start = (from + at) as i64;
                            (start + 1, start + pattern.len() as i64).into_lua_multi(lua)
                        }
                        None => LuaValue::Nil.into_lua_multi(lua),
                    };
                }
                let Some(found) = with.find(&text, &pattern, from, true)? else {
                    return LuaValue::Nil.into_lua_multi(lua);
                };
                let mut answer = vec![
                    LuaValue::Integer(found.start as i64 + 1),
                    LuaValue::Integer(found.end as i64),
                ];
                if !found.captures.is_empty() {
                    answer.extend(with.captures(lua, &text, &found)?);
                }
                Variadic::from(answer).into_lua_multi(lua)
            },
        )?,
    )?;
    let with = shared.clone();
    table.set(
        "match",
        lua.create_function(
            move |lua, (text, pattern, from): (LuaString, LuaString, Option<i64>)| {
                let (text, pattern) = (text.as_bytes(), pattern.as_bytes());
                let found = match start_of(from, text.len()) {
                    Some(from) => with.find(&text, &pattern, from, true)?,
                    None => None,
                };
                let answer = match found {
                    Some(found) => with.captures(lua, &text, &found)?,
                    None => vec![LuaValue::Nil],
                };
                Variadic::from(answer).into_lua_multi(lua)
            },
        )?,
    )?;
    let with = shared.clone();
    table.set(
        "gmatch",
        lua.create_function(move |lua, (text, pattern): (LuaString, LuaString)| {
            let with = with.clone();
            let (mut at, mut last_end) = (0, None);
            lua.create_function_mut(move |lua, _: MultiValue| {
                let (text, pattern) = (text.as_bytes(), pattern.as_bytes());
                while at <= text.len() {
                    let Some(found) = with.find(&text, &pattern, at, false)? else {
                        at = text.len() + 1;
                        break;
                    };
                    // An empty match right behind the last one is none.
                    if Some(found.end) == last_end {
                        at += 1;
                        continue;
                    }
                    (at, last_end) = (found.end, Some(found.end));
                    let captures = with.captures(lua, &text, &found)?;
                    return Variadic::from(captures).into_lua_multi(lua);
                }
                LuaValue::Nil.into_lua_multi(lua)
            })
        })?,
    )?;
    let with = shared.clone();
    table.set(
        "gsub",
        lua.create_function(
            move |lua, (text, pattern, by, most): (LuaString, LuaString, LuaValue, Option<i64>)| {
                gsub(lua, &with, &text.as_bytes(), &pattern.as_bytes(), &by, most)
            },
        )?,
    )?;
    let with = shared.clone();
    table.set(
        "split",
        lua.create_function(move |lua, (text, separator): (LuaString, LuaString)| {
            let (text, separator) = (text.as_bytes(), separator.as_bytes());
            if separator.is_empty() {
                return Err(Error::runtime("split needs a separator"));
            }
            let parts = lua.create_table()?;
            let mut start = 0;
            for at in memchr::memmem::find_iter(&text, &*separator) {
                parts.raw_push(with.text(lua, &text[start..at])?)?;
                start = at + separator.len();
            }
            parts.raw_push(with.text(lua, &text[start..])?)?;
            parts.set_metatable(Some(with.array.clone()))?;
            Ok(parts)
        })?,
    )?;
    let with = shared.clone();
    table.set(
        "trim",
        lua.create_function(move |lua, text: LuaString| {
            with.text(lua, text.as_bytes().trim_ascii())
        })?,
    )?;
    Ok(table)
}

/// The byte that a search starts at; `from` counts from one, or from the end.
fn start_of(from: Option<i64>, length: usize) -> Option<usize> {
    let at = match from.unwrap_or(1) {
        0 => 0,
        from if from > 0 => usize::try_from(from - 1).ok()?,
        from => length.saturating_sub(usize::try_from(from.unsigned_abs()).ok()?),
    };
    (at <= length).then_some(at)
}

fn gsub(
    lua: &Lua,
    with: &Shared,
    text: &[u8],
    pattern: &[u8],
    by: &LuaValue,
    most: Option<i64>,
) -> Result<(LuaValue, i64)> {
    let anchored = pattern.first() == Some(&b'^');
    let most = most.unwrap_or(i64::MAX);
    let mut out = Vec::new();
    let (mut at, mut copied, mut count, mut last_end) = (0, 0, 0, None);
    while count < most && at <= text.len() {
        let Some(found) = with.find(text, pattern, at, true)? else {
            break;
        };
        if Some(found.end) == last_end {
            at += 1;
            if anchored {
                break;
            }
            continue;
        }
        count += 1;
        out.extend_from_slice(&text[copied..found.start]);
        let whole = &text[found.start..found.end];
        let captures = with.captures(lua, text, &found)?;
        let value = match by {
            LuaValue::Table(table) => table.raw_get::<LuaValue>(captures[0].clone())?,
            LuaValue::Function(function) => function.call(MultiValue::from_vec(captures))?,
            LuaValue::String(template) => {
                replacement(&template.as_bytes(), whole, &captures, &mut out)?;
                LuaValue::Nil
            }
            LuaValue::Integer(_) | LuaValue::Number(_) => by.clone(),
            _ => return Err(Error::runtime("gsub needs a text, a table or a function")),
        };
        match value {
            LuaValue::String(text) => out.extend_from_slice(&text.as_bytes()),
            LuaValue::Integer(integer) => out.extend_from_slice(integer.to_string().as_bytes()),
            LuaValue::Number(_) => out.extend_from_slice(value.to_string()?.as_bytes()),
            LuaValue::Nil if matches!(by, LuaValue::String(_)) => {}
            LuaValue::Nil | LuaValue::Boolean(false) => out.extend_from_slice(whole),
            _ => return Err(Error::runtime("gsub: the replacement is no text")),
        }
        if out.len() > with.meter.bytes_left() {
            return with.meter.fail(Limit::Memory);
        }
        (at, copied, last_end) = (found.end, found.end, Some(found.end));
        if anchored {
            break;
        }
    }
    out.extend_from_slice(&text[copied..]);
    Ok((with.text(lua, &out)?, count))
}

/// Appends a replacement with `%0` to `%9` in it.
fn replacement(
    template: &[u8],
    whole: &[u8],
    captures: &[LuaValue],
    out: &mut Vec<u8>,
) -> Result<()> {
    let mut bytes = template.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        match bytes.next() {
            Some(b'%') => out.push(b'%'),
            Some(b'0') => out.extend_from_slice(whole),
            Some(digit @ b'1'..=b'9') => match captures.get(usize::from(digit - b'1')) {
                Some(LuaValue::String(text)) => out.extend_from_slice(&text.as_bytes()),
                Some(LuaValue::Integer(at)) => out.extend_from_slice(at.to_string().as_bytes()),
                _ => return Err(Error::runtime("invalid capture index in replacement text")),
            },
            _ => return Err(Error::runtime("invalid use of '%' in replacement text")),
        }
    }
    Ok(())
}

/// Regular expressions in the dialect of conditions and `gsub` of `mutate`.
fn regexes(lua: &Lua, shared: &Shared) -> Result<Table> {
    let table = lua.create_table()?;
    let with = shared.clone();
    table.set(
        "test",
        lua.create_function(move |_, (text, pattern): (LuaString, LuaString)| {
            let regex = with.regex(&pattern)?;
            let text = text.as_bytes();
            with.meter.charge_length(text.len())?;
            Ok(regex.is_match(&text))
        })?,
    )?;
    let with = shared.clone();
    table.set(
        "match",
        lua.create_function(move |lua, (text, pattern): (LuaString, LuaString)| {
            let regex = with.regex(&pattern)?;
            let text = text.as_bytes();
            with.meter.charge_length(text.len() * 8)?;
            let groups = regex
                .captures(&text)
                .map_err(|error| Error::runtime(error.to_string()))?;
            let Some(groups) = groups else {
                return LuaValue::Nil.into_lua_multi(lua);
            };
            // As in Lua: the groups, or the whole of it if there are none.
            let skipped = usize::from(groups.len() > 1);
            let groups = groups.into_iter().skip(skipped).map(|group| match group {
                Some(group) => with.text(lua, group.as_bytes()),
                None => Ok(LuaValue::Nil),
            });
            let groups: Vec<LuaValue> = groups.collect::<Result<_>>()?;
            Variadic::from(groups).into_lua_multi(lua)
        })?,
    )?;
    let with = shared.clone();
    table.set(
        "groups",
        lua.create_function(move |lua, (text, pattern): (LuaString, LuaString)| {
            let regex = with.regex(&pattern)?;
            let text = text.as_bytes();
            with.meter.charge_length(text.len() * 8)?;
            let groups = regex
                .captures(&text)
                .map_err(|error| Error::runtime(error.to_string()))?;
            let Some(groups) = groups else {
                return Ok(None);
            };
            let table = lua.create_table()?;
            for group in groups {
                table.raw_push(match group {
                    Some(group) => with.text(lua, group.as_bytes())?,
                    None => LuaValue::NULL,
                })?;
            }
            table.set_metatable(Some(with.array.clone()))?;
            Ok(Some(table))
        })?,
    )?;
    let with = shared.clone();
    table.set(
        "scan",
        lua.create_function(move |lua, (text, pattern): (LuaString, LuaString)| {
            let regex = with.regex(&pattern)?;
            let text = text.as_bytes();
            with.meter.charge_length(text.len() * 8)?;
            if regex.group_count() > 0 {
                return Err(Error::runtime("re.scan: the pattern must have no groups"));
            }
            let mut spans = Vec::new();
            regex.find_all(&text, &mut |start, end| spans.push((start, end)));
            let table = lua.create_table()?;
            for (start, end) in spans {
                table.raw_push(with.text(lua, &text[start..end])?)?;
            }
            table.set_metatable(Some(with.array.clone()))?;
            Ok(table)
        })?,
    )?;
    for (name, most) in [("gsub", usize::MAX), ("sub", 1)] {
        let with = shared.clone();
        table.set(
            name,
            lua.create_function(
                move |lua, (text, pattern, by): (LuaString, LuaString, LuaString)| {
                    let regex = with.regex(&pattern)?;
                    let text = text.as_bytes();
                    let by = Replacement::parse(&by.as_bytes());
                    with.meter.charge_length(text.len() * 8)?;
                    let mut out = Vec::new();
                    let limit = with.meter.bytes_left();
                    let found = regex.replace_within(&text, &by, most, limit, &mut out);
                    let Ok(found) = found else {
                        return with.meter.fail(Limit::Memory);
                    };
                    with.text(lua, if found { &out } else { &text })
                },
            )?,
        )?;
    }
    let with = shared.clone();
    table.set(
        "split",
        lua.create_function(move |lua, (text, pattern): (LuaString, LuaString)| {
            let regex = with.regex(&pattern)?;
            let text = text.as_bytes();
            with.meter.charge_length(text.len() * 8)?;
            let mut spans = Vec::new();
            regex.find_all(&text, &mut |start, end| spans.push((start, end)));
            let parts = lua.create_table()?;
            let mut from = 0;
            for (start, end) in spans.into_iter().filter(|(start, end)| end > start) {
                parts.raw_push(with.text(lua, &text[from..start])?)?;
                from = end;
            }
            parts.raw_push(with.text(lua, &text[from..])?)?;
            parts.set_metatable(Some(with.array.clone()))?;
            Ok(parts)
        })?,
    )?;
    Ok(table)
}

/// Times: of a number, of a text.
fn times(lua: &Lua, shared: &Shared) -> Result<Table> {
    let table = lua.create_table()?;
    table.set(
        "at",
        lua.create_function(|lua, seconds: LuaValue| {
            let time = match seconds {
                LuaValue::Integer(seconds) => Some(Time(Timestamp::new(seconds, 0))),
                ref other => other.as_f64().and_then(Time::from_number),
            };
            match time {
                Some(time) => lua.create_userdata(time),
                None => Err(Error::runtime("time.at needs seconds since 1970")),
            }
        })?,
    )?;
    let with = shared.clone();
    table.set(
        "parse",
        lua.create_function(
            move |lua, (text, format, zone): (LuaString, Option<LuaString>, Option<LuaString>)| {
                with.meter.charge_instructions(200)?;
                let format = format.map_or_else(|| "ISO8601".to_owned(), |it| it.to_string_lossy());
                let zone = zone.map_or_else(|| "UTC".to_owned(), |zone| zone.to_string_lossy());
                let format = Format::parse(&format)
                    .map_err(|error| Error::runtime(format!("time.parse: {error}")))?;
                let zone = Zone::find(&zone)
                    .ok_or_else(|| Error::runtime("time.parse: no such time zone"))?;
                let reading = Reading {
                    zone: &zone,
                    locale: Locale::find("en")
                        .ok_or_else(|| Error::runtime("time.parse: no English"))?,
                    now: Timestamp::new(0, 0),
                };
                match format.read_text(&text.as_bytes(), &reading) {
                    Some(time) => lua.create_userdata(Time(time)).map(LuaValue::UserData),
                    None => Ok(LuaValue::Nil),
                }
            },
        )?,
    )?;
    Ok(table)
}
