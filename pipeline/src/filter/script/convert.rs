//! Values of an event as values of Lua, and back.
//!
//! Texts are bytes on both sides. A table with the keys 1 to n is an array, any other an object whose
//! fields are put in the order of their names; an empty table is an object unless it came from an
//! array or was made by `array { }`. A null inside of an array or object is `null`, at the top `nil`.
//! Times are values of their own ([`Time`]). A whole number of more than 64 bits is a text.
//!
//! INVARIANT: what is copied into the arena is charged to the [`Meter`], and a table that holds
//! itself ends at [`MAX_DEPTH`].

use bumpalo::Bump;
use mlua::{Error, Lua, MetaMethod, Result, Table, UserData, UserDataMethods, Value as LuaValue};

use super::meter::Meter;
use crate::event::{Array, Name, Object, Timestamp, Value};
use crate::language::EscapeStyle;
use crate::template::Template;
use crate::time::Pattern;

/// How deep tables may be nested that become values of an event.
pub(super) const MAX_DEPTH: usize = 100;
/// What a value takes besides its text.
const VALUE_BYTES: usize = 32;

/// A time as a script sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Time(pub(super) Timestamp);

impl Time {
    /// Seconds since 1970 as a number with a fraction.
    pub(super) fn as_number(self) -> f64 {
        self.0.seconds() as f64 + f64::from(self.0.nanoseconds()) / 1e9
    }

    /// The time so many seconds after 1970.
    pub(super) fn from_number(seconds: f64) -> Option<Self> {
        // Beyond this no calendar is of any use.
        if !seconds.is_finite() || seconds.abs() > 1e12 {
            return None;
        }
        let whole = seconds.floor();
        let nanoseconds = ((seconds - whole) * 1e9).round() as u32;
        Some(Self(Timestamp::new(whole as i64, nanoseconds)))
    }

    fn plus(self, seconds: f64) -> Result<Self> {
        let whole = seconds.floor();
        let nanoseconds = (seconds - whole) * 1e9;
        if !seconds.is_finite() || seconds.abs() > 1e12 {
            return Err(Error::runtime("the time is out of bounds"));
        }
        let nanoseconds = self.0.nanoseconds() + nanoseconds.round() as u32;
        let seconds = self.0.seconds().saturating_add(whole as i64);
        Ok(Self(Timestamp::new(seconds, nanoseconds)))
    }

    fn minus(self, other: Self) -> f64 {
        let seconds = self.0.seconds().saturating_sub(other.0.seconds());
        let nanoseconds = i64::from(self.0.nanoseconds()) - i64::from(other.0.nanoseconds());
        seconds as f64 + nanoseconds as f64 / 1e9
    }
}

impl UserData for Time {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("seconds", |_, this, ()| Ok(this.0.seconds()));
        methods.add_method("milliseconds", |_, this, ()| Ok(this.0.milliseconds()));
        methods.add_method("nanoseconds", |_, this, ()| Ok(this.0.nanoseconds()));
        methods.add_method("to_number", |_, this, ()| Ok(this.as_number()));
        methods.add_method("format", |_, this, pattern: mlua::LuaString| {
            let pattern = Pattern::joda(&pattern.to_string_lossy())
                .map_err(|error| Error::runtime(format!("format: {error}")))?;
            let mut out = Vec::new();
            pattern.write(this.0, &mut out);
            Ok(mlua::BString::from(out))
        });
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| Ok(this.0.to_string()));
        methods.add_meta_method(MetaMethod::Sub, |lua, this, other: LuaValue| {
            if let Some(seconds) = other.as_f64() {
                return lua
                    .create_userdata(this.plus(-seconds)?)
                    .map(LuaValue::UserData);
            }
            match time_of(&other) {
                Some(other) => Ok(LuaValue::Number(this.minus(other))),
                None => Err(Error::runtime("a time or a number of seconds is needed")),
            }
        });
        methods.add_meta_method(MetaMethod::Add, |lua, this, seconds: f64| {
            lua.create_userdata(this.plus(seconds)?)
        });
        let other = |other: &LuaValue| {
            time_of(other).ok_or_else(|| Error::runtime("times compare with times only"))
        };
        methods.add_meta_method(MetaMethod::Eq, move |_, this, right: LuaValue| {
            Ok(other(&right)?.0 == this.0)
        });
        methods.add_meta_method(MetaMethod::Lt, move |_, this, right: LuaValue| {
            Ok(this.0 < other(&right)?.0)
        });
        methods.add_meta_method(MetaMethod::Le, move |_, this, right: LuaValue| {
            Ok(this.0 <= other(&right)?.0)
        });
    }
}

/// The time, if a value is one.
pub(super) fn time_of(value: &LuaValue) -> Option<Time> {
    value
        .as_userdata()
        .and_then(|data| data.borrow::<Time>().ok())
        .map(|time| *time)
}

/// Turns values of one kind into the other.
#[derive(Clone, Copy)]
pub(super) struct Converter<'c> {
    pub(super) lua: &'c Lua,
    pub(super) meter: &'c Meter,
    /// The mark of tables that are arrays whatever they hold.
    pub(super) array: &'c Table,
}

impl Converter<'_> {
    /// A value for the script.
    pub(super) fn to_lua(self, value: &Value<'_>) -> Result<LuaValue> {
        Ok(match value {
            Value::Null => LuaValue::Nil,
            other => self.element_to_lua(other)?,
        })
    }

    fn element_to_lua(self, value: &Value<'_>) -> Result<LuaValue> {
        self.meter.charge_instructions(1)?;
        Ok(match value {
            Value::Null => LuaValue::NULL,
            Value::Boolean(boolean) => LuaValue::Boolean(*boolean),
            Value::Integer(integer) => LuaValue::Integer(*integer),
            Value::Float(float) => LuaValue::Number(*float),
            Value::Numeral(numeral) => self.text(numeral.as_bytes())?,
            Value::Text(text) => self.text(text)?,
            Value::Time(time) => LuaValue::UserData(self.lua.create_userdata(Time(*time))?),
            Value::Array(array) => {
                let table = self.lua.create_table_with_capacity(array.len(), 0)?;
                for value in array.iter() {
                    table.raw_push(self.element_to_lua(value)?)?;
                }
                table.set_metatable(Some(self.array.clone()))?;
                LuaValue::Table(table)
            }
            Value::Object(object) => LuaValue::Table(self.object_to_lua(object)?),
        })
    }

    pub(super) fn object_to_lua(self, object: &Object<'_>) -> Result<Table> {
        let table = self.lua.create_table_with_capacity(0, object.len())?;
        for (name, value) in object.iter() {
            table.raw_set(name.as_str(), self.element_to_lua(value)?)?;
        }
        Ok(table)
    }

    fn text(self, text: &[u8]) -> Result<LuaValue> {
        self.meter.charge_length(text.len() / 8)?;
        self.lua.create_string(text).map(LuaValue::String)
    }

    /// A value for the event.
    pub(super) fn take_lua<'b>(self, value: &LuaValue, arena: &'b Bump) -> Result<Value<'b>> {
        self.nested(value, arena, 0)
    }

    fn nested<'b>(self, value: &LuaValue, arena: &'b Bump, depth: usize) -> Result<Value<'b>> {
        self.meter.charge_bytes(VALUE_BYTES)?;
        Ok(match value {
            LuaValue::Nil => Value::Null,
            LuaValue::Boolean(boolean) => Value::Boolean(*boolean),
            LuaValue::Integer(integer) => Value::Integer(*integer),
            LuaValue::Number(number) => Value::Float(*number),
            LuaValue::String(text) => {
                let text = text.as_bytes();
                self.meter.charge_bytes(text.len())?;
                Value::copied_text(&text, arena)
            }
            LuaValue::Table(table) => return self.table(table, arena, depth + 1),
            value if value.is_null() => Value::Null,
            other => match time_of(other) {
                Some(time) => Value::Time(time.0),
                None => {
                    let kind = other.type_name();
                    let message = format!("a {kind} is no value for a field");
                    return Err(Error::runtime(message));
                }
            },
        })
    }

    fn table<'b>(self, table: &Table, arena: &'b Bump, depth: usize) -> Result<Value<'b>> {
        if depth > MAX_DEPTH {
            let message = format!("a table is nested more than {MAX_DEPTH} deep, or holds itself");
            return Err(Error::runtime(message));
        }
        let length = table.raw_len();
        let mut pairs = 0;
        for pair in table.pairs::<LuaValue, LuaValue>() {
            pair?;
            pairs += 1;
        }
        self.meter.charge_instructions(pairs as u64)?;
        let is_marked = table
            .metatable()
            .is_some_and(|metatable| metatable == *self.array);
        if pairs == length && (length > 0 || is_marked) {
            let mut array = Array::with_capacity_in(length, arena);
            for value in table.sequence_values::<LuaValue>() {
                array.push(self.nested(&value?, arena, depth)?);
            }
            return Ok(Value::array(array, arena));
        }
        self.object(table, arena, depth)
            .map(|object| Value::object(object, arena))
    }

    /// The fields of a table, in the order of their names.
    pub(super) fn object<'b>(
        self,
        table: &Table,
        arena: &'b Bump,
        depth: usize,
    ) -> Result<Object<'b>> {
        let mut fields: Vec<(String, Value<'b>)> = Vec::new();
        for pair in table.pairs::<LuaValue, LuaValue>() {
            let (key, value) = pair?;
            let name = match &key {
                LuaValue::String(text) => text.to_string_lossy(),
                LuaValue::Integer(integer) => integer.to_string(),
                other => {
                    let kind = other.type_name();
                    let message = format!("the name of a field is a text, not a {kind}");
                    return Err(Error::runtime(message));
                }
            };
            self.meter.charge_bytes(name.len())?;
            fields.push((name, self.nested(&value, arena, depth)?));
        }
        fields.sort_by(|left, right| left.0.cmp(&right.0));
        let mut object = Object::with_capacity_in(fields.len(), arena);
        for (name, value) in fields {
            object.push_unsearched(Name::copied_in(&name, arena), value);
        }
        // `1` and `"1"` are two keys and one name.
        object.keep_last_of_each_name();
        Ok(object)
    }
}

/// A template that is made while a script runs.
pub(super) fn template(text: &[u8], escape_style: EscapeStyle) -> Result<Template> {
    Template::parse(&String::from_utf8_lossy(text), escape_style)
        .map_err(|error| Error::runtime(error.to_string()))
}
