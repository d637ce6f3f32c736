//! Values and containers of an event.

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;

use super::{Name, Timestamp};

/// An array of values.
pub type Array<'b> = ArenaVec<'b, Value<'b>>;

/// One value. Texts are bytes that claim to be UTF-8 (log lines often lie); they are made valid
/// when written as JSON.
#[derive(Debug)]
pub enum Value<'b> {
    /// Null: present, without a value.
    Null,
    /// True or false.
    Boolean(bool),
    /// A whole number that fits 64 bits.
    Integer(i64),
    /// A number with a fraction or an exponent.
    Float(f64),
    /// A number that neither of the two holds exactly (an integer of more than 64 bits, say), as it
    /// is written in JSON.
    Numeral(&'b str),
    /// A text, usually a slice of the batch.
    Text(&'b [u8]),
    /// A time.
    Time(Timestamp),
    /// An array.
    Array(&'b mut Array<'b>),
    /// An object, in the order its fields were set.
    Object(&'b mut Object<'b>),
}

impl<'b> Value<'b> {
    /// An array as a value.
    pub fn array(array: Array<'b>, arena: &'b Bump) -> Self {
        Self::Array(arena.alloc(array))
    }

    /// An object as a value.
    pub fn object(object: Object<'b>, arena: &'b Bump) -> Self {
        Self::Object(arena.alloc(object))
    }

    /// A text that is copied into the arena.
    pub fn copied_text(text: &[u8], arena: &'b Bump) -> Self {
        Self::Text(arena.alloc_slice_copy(text))
    }

    /// The bytes of a text, nothing for any other value.
    pub fn as_text(&self) -> Option<&'b [u8]> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The name of the value's kind, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean(_) => "boolean",
            Self::Integer(_) => "integer",
            Self::Float(_) | Self::Numeral(_) => "number",
            Self::Text(_) => "string",
            Self::Time(_) => "timestamp",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }

    /// A deep copy: containers are new, texts are shared.
    pub fn copy_in(&self, arena: &'b Bump) -> Self {
        match self {
            Self::Null => Self::Null,
            Self::Boolean(value) => Self::Boolean(*value),
            Self::Integer(value) => Self::Integer(*value),
            Self::Float(value) => Self::Float(*value),
            Self::Numeral(value) => Self::Numeral(value),
            Self::Text(value) => Self::Text(value),
            Self::Time(value) => Self::Time(*value),
            Self::Array(array) => {
                let mut copy = Array::with_capacity_in(array.len(), arena);
                copy.extend(array.iter().map(|value| value.copy_in(arena)));
                Self::array(copy, arena)
            }
            Self::Object(object) => Self::object(object.copy_in(arena), arena),
        }
    }
}

/// Deep equality, as `==` of the language has it between values of one kind: an integer never
/// equals a text, but `1 == 1.0`.
impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Boolean(left), Self::Boolean(right)) => left == right,
            (Self::Integer(left), Self::Integer(right)) => left == right,
            (Self::Float(left), Self::Float(right)) => left == right,
            (Self::Integer(integer), Self::Float(float))
            | (Self::Float(float), Self::Integer(integer)) => *integer as f64 == *float,
            (Self::Numeral(left), Self::Numeral(right)) => left == right,
            (Self::Text(left), Self::Text(right)) => left == right,
            (Self::Time(left), Self::Time(right)) => left == right,
            (Self::Array(left), Self::Array(right)) => left.as_slice() == right.as_slice(),
            (Self::Object(left), Self::Object(right)) => left == right,
            _ => false,
        }
    }
}

/// An object: names and values in the order in which they were first set.
#[derive(Debug)]
pub struct Object<'b> {
    entries: ArenaVec<'b, (Name<'b>, Value<'b>)>,
}

impl<'b> Object<'b> {
    /// An empty object; takes memory when the first field is set.
    pub fn new_in(arena: &'b Bump) -> Self {
        Self {
            entries: ArenaVec::new_in(arena),
        }
    }

    /// An empty object with room for `capacity` fields.
    pub fn with_capacity_in(capacity: usize, arena: &'b Bump) -> Self {
        Self {
            entries: ArenaVec::with_capacity_in(capacity, arena),
        }
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (Name<'b>, &Value<'b>)> {
        self.entries.iter().map(|(name, value)| (*name, value))
    }

    /// Names and values in order, values to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Name<'b>, &mut Value<'b>)> {
        self.entries.iter_mut().map(|(name, value)| (*name, value))
    }

    /// The value of `name`.
    #[inline]
    pub fn get(&self, name: &Name<'_>) -> Option<&Value<'b>> {
        self.entries
            .iter()
            .find(|(each, _)| each.is(name))
            .map(|(_, value)| value)
    }

    /// The value of `name`, to change.
    #[inline]
    pub fn get_mut(&mut self, name: &Name<'_>) -> Option<&mut Value<'b>> {
        self.entries
            .iter_mut()
            .find(|(each, _)| each.is(name))
            .map(|(_, value)| value)
    }

    /// Sets `name`, in its old place if it is there.
    #[inline]
    pub fn set(&mut self, name: Name<'b>, value: Value<'b>) {
        match self.get_mut(&name) {
            Some(old) => *old = value,
            None => self.entries.push((name, value)),
        }
    }

    /// The value of `name`, set to null first if it is not there.
    pub fn slot(&mut self, name: Name<'b>) -> &mut Value<'b> {
        let at = match self.entries.iter().position(|(each, _)| each.is(&name)) {
            Some(at) => at,
            None => {
                self.entries.push((name, Value::Null));
                self.entries.len() - 1
            }
        };
        &mut self.entries[at].1
    }

    /// Appends a field that the caller knows is not there yet: no search.
    #[inline]
    pub fn push_new(&mut self, name: Name<'b>, value: Value<'b>) {
        debug_assert!(self.get(&name).is_none(), "{name:?} is there already");
        self.entries.push((name, value));
    }

    /// Appends a field that may be there already; then the first one of the name is found, unless
    /// [`Object::keep_last_of_each_name`] follows.
    pub fn push_unsearched(&mut self, name: Name<'b>, value: Value<'b>) {
        self.entries.push((name, value));
    }

    /// Leaves one field of each name: the first, with the last one's value. Takes n log n time, so
    /// that an object with a great many names costs no more than its length warrants.
    pub(crate) fn keep_last_of_each_name(&mut self) {
        let mut order: Vec<usize> = (0..self.entries.len()).collect();
        let key = |at: usize| {
            let name = &self.entries[at].0;
            (name.hash(), name.as_str())
        };
        order.sort_by_key(|at| key(*at));
        // The sort is stable, so each group of one name begins with its first and ends with its
        // last field.
        let mut doubled = Vec::new();
        for group in order.chunk_by(|left, right| key(*left) == key(*right)) {
            if let [first, others @ .., last] = group {
                doubled.push((*first, *last));
                doubled.extend(others.iter().map(|other| (*other, *other)));
            }
        }
        if doubled.is_empty() {
            return;
        }
        let mut dropped = vec![false; self.entries.len()];
        for (first, last) in doubled {
            let value = std::mem::replace(&mut self.entries[last].1, Value::Null);
            if first != last {
                self.entries[first].1 = value;
            }
            dropped[last] = true;
        }
        let mut at = 0;
        self.entries.retain(|_| {
            at += 1;
            !dropped[at - 1]
        });
    }

    /// Takes `name` out, keeping the order of the others.
    pub fn remove(&mut self, name: &Name<'_>) -> Option<Value<'b>> {
        let at = self.entries.iter().position(|(each, _)| each.is(name))?;
        Some(self.entries.remove(at).1)
    }

    /// Keeps the fields for which `keep` answers true.
    pub fn retain(&mut self, mut keep: impl FnMut(&Name<'b>, &Value<'b>) -> bool) {
        self.entries.retain(|(name, value)| keep(name, value));
    }

    /// Takes all fields out, as an object of their own.
    pub(super) fn take(&mut self) -> Value<'b> {
        let arena = self.entries.bump();
        Value::object(std::mem::replace(self, Self::new_in(arena)), arena)
    }

    /// Removes every field.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// A deep copy; see [`Value::copy_in`].
    pub fn copy_in(&self, arena: &'b Bump) -> Self {
        let mut copy = Self::with_capacity_in(self.entries.len(), arena);
        copy.entries.extend(
            self.entries
                .iter()
                .map(|(name, value)| (*name, value.copy_in(arena))),
        );
        copy
    }
}

/// Same names with equal values, in any order.
impl PartialEq for Object<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self
                .iter()
                .all(|(name, value)| other.get(&name).is_some_and(|each| each == value))
    }
}
