//! What texts and numbers do in Ruby and not in Lua: `to_i`, `to_f`, `to_s`, letters of all languages.
//!
//! The rest of the table `ruby` is written in Lua (`ruby.lua`). What a `ruby` filter is translated to
//! uses these, so that it gives what the original gave.

use bumpalo::Bump;
use mlua::{Error, Lua, LuaString, Result, Table, Value as LuaValue};

use super::convert::time_of;
use super::library::Shared;
use crate::filter::text::write_text;
use crate::number::{float_prefix, integer_prefix};

pub(super) fn library(lua: &Lua, shared: &Shared) -> Result<Table> {
    let table = lua.create_table()?;
    let with = shared.clone();
    table.set(
        "to_i",
        lua.create_function(move |_, value: LuaValue| match &value {
            LuaValue::Integer(integer) => Ok(*integer),
            LuaValue::Number(number) if number.is_finite() => Ok(number.trunc() as i64),
            LuaValue::String(text) => {
                with.meter.charge_length(text.as_bytes().len())?;
                Ok(integer_prefix(&text.as_bytes()))
            }
            LuaValue::Nil => Ok(0),
            other => match time_of(other) {
                Some(time) => Ok(time.0.seconds()),
                None => Err(no_method("to_i", other)),
            },
        })?,
    )?;
    let with = shared.clone();
    table.set(
        "to_f",
        lua.create_function(move |_, value: LuaValue| match &value {
            LuaValue::Integer(integer) => Ok(*integer as f64),
            LuaValue::Number(number) => Ok(*number),
            LuaValue::String(text) => {
                with.meter.charge_length(text.as_bytes().len())?;
                Ok(float_prefix(&text.as_bytes()))
            }
            LuaValue::Nil => Ok(0.0),
            other => match time_of(other) {
                Some(time) => Ok(time.as_number()),
                None => Err(no_method("to_f", other)),
            },
        })?,
    )?;
    let with = shared.clone();
    table.set(
        "to_s",
        lua.create_function(move |lua, value: LuaValue| {
            if let LuaValue::String(_) = value {
                return Ok(value);
            }
            let arena = Bump::new();
            let value = with.converter(lua).take_lua(&value, &arena)?;
            let mut out = Vec::new();
            write_text(&value, &mut out);
            with.text(lua, &out)
        })?,
    )?;
    let letters: [(&str, Change); 3] = [
        ("upcase", str::to_uppercase),
        ("downcase", str::to_lowercase),
        ("capitalize", capitalized),
    ];
    for (name, change) in letters {
        let with = shared.clone();
        table.set(
            name,
            lua.create_function(move |lua, value: LuaValue| {
                let LuaValue::String(text) = &value else {
                    return Err(no_method(name, &value));
                };
                with.text(lua, &valid_parts(text, change))
            })?,
        )?;
    }
    Ok(table)
}

/// What is done to a text.
type Change = fn(&str) -> String;

/// Changes what is UTF-8 and leaves the rest.
fn valid_parts(text: &LuaString, change: Change) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in text.as_bytes().utf8_chunks() {
        out.extend_from_slice(change(chunk.valid()).as_bytes());
        out.extend_from_slice(chunk.invalid());
    }
    out
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first
            .to_uppercase()
            .chain(characters.as_str().to_lowercase().chars())
            .collect(),
        None => String::new(),
    }
}

fn no_method(method: &str, value: &LuaValue) -> Error {
    let kind = value.type_name();
    Error::runtime(format!("a {kind} has no `{method}`"))
}
