//! Field references, resolved: `[a][b]` as a list of hashed names.
//!
//! A [`Path`] is made once, when a configuration is compiled, from the keys of a field reference
//! (the parser of references, with its escape styles, is part of the language). A reference that is
//! only known per event (a name with `%{…}` in it) is a slice of [`Key`]s in the arena; both walk
//! the event by the same three functions.
//!
//! COMPAT: Logstash's `Accessors`: a key indexes an array when the value there is an array and the
//! key reads as a whole number (negative ones count from the end), else it is a name.

use bumpalo::Bump;

use super::{Array, Event, Name, Object, TAGS, Value};

/// One key of a reference.
#[derive(Clone, Copy, Debug)]
pub struct Key<'b> {
    name: Name<'b>,
    index: Option<i64>,
}

impl<'b> Key<'b> {
    /// A key as it stands in a reference.
    pub fn new(text: &'b str) -> Self {
        Self {
            name: Name::new(text),
            index: text.parse().ok(),
        }
    }

    /// The key as a name.
    pub fn name(&self) -> Name<'b> {
        self.name
    }
}

/// A resolved field reference. Without any key it is the event's whole top level (or whole
/// metadata), which can be neither read as one value nor set.
#[derive(Clone, Debug)]
pub struct Path {
    keys: Box<[OwnedKey]>,
    metadata: bool,
}

#[derive(Clone, Debug)]
struct OwnedKey {
    text: Box<str>,
    hash: u32,
    index: Option<i64>,
}

impl Path {
    /// A path of these keys; a leading `@metadata` selects the metadata.
    pub fn new<'k>(keys: impl IntoIterator<Item = &'k str>) -> Self {
        let mut keys = keys.into_iter().peekable();
        let metadata = keys.next_if_eq(&"@metadata").is_some();
        let keys = keys
            .map(|text| {
                let key = Key::new(text);
                OwnedKey {
                    text: text.into(),
                    hash: key.name.hash(),
                    index: key.index,
                }
            })
            .collect();
        Self { keys, metadata }
    }

    /// Whether the path lies in the metadata.
    pub fn is_metadata(&self) -> bool {
        self.metadata
    }

    /// Whether there are no keys: all of the fields, or all of the metadata.
    pub fn is_root(&self) -> bool {
        self.keys.is_empty()
    }

    /// The name, if this is a plain top-level field.
    pub fn top_level_name(&self) -> Option<Name<'_>> {
        match &*self.keys {
            [key] if !self.metadata => Some(key.key().name),
            _ => None,
        }
    }

    /// The keys, without `@metadata`.
    pub fn keys(&self) -> impl Iterator<Item = Key<'_>> {
        self.keys.iter().map(OwnedKey::key)
    }

    /// The value here, if there is one.
    #[inline]
    pub fn get<'e, 'b>(&self, event: &'e Event<'b>) -> Option<&'e Value<'b>> {
        get(event, self.metadata, self.keys())
    }

    /// The value here, to change in place.
    pub fn get_mut<'e, 'b>(&self, event: &'e mut Event<'b>) -> Option<&'e mut Value<'b>> {
        get_mut(event, self.metadata, self.keys())
    }

    /// Sets the value here.
    #[inline]
    pub fn set<'b>(&'b self, event: &mut Event<'b>, value: Value<'b>, arena: &'b Bump) {
        set(event, self.metadata, self.keys(), value, arena);
    }

    /// Sets the value here, as seen from an object.
    pub(crate) fn set_in<'b>(&'b self, object: &mut Object<'b>, value: Value<'b>, arena: &'b Bump) {
        set_in(object, self.keys(), value, arena);
    }

    /// Takes the value here out of the event.
    pub fn remove<'b>(&self, event: &mut Event<'b>) -> Option<Value<'b>> {
        remove(event, self.metadata, self.keys())
    }
}

/// Written as a reference: a bare name at the top level, else brackets.
impl std::fmt::Display for Path {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(name) = self.top_level_name() {
            return formatter.write_str(name.as_str());
        }
        if self.metadata {
            formatter.write_str("[@metadata]")?;
        }
        self.keys
            .iter()
            .try_for_each(|key| write!(formatter, "[{}]", key.text))
    }
}

impl OwnedKey {
    fn key(&self) -> Key<'_> {
        Key {
            name: Name::with_hash(&self.text, self.hash),
            index: self.index,
        }
    }
}

/// The value at `keys`, if there is one.
#[inline]
pub fn get<'e, 'b, 'k>(
    event: &'e Event<'b>,
    metadata: bool,
    mut keys: impl Iterator<Item = Key<'k>>,
) -> Option<&'e Value<'b>> {
    let root = if metadata {
        &event.metadata
    } else {
        &event.fields
    };
    let mut value = root.get(&keys.next()?.name)?;
    for key in keys {
        value = match value {
            Value::Object(object) => object.get(&key.name)?,
            Value::Array(array) => array.get(position(key, array.len())?)?,
            _ => return None,
        };
    }
    Some(value)
}

/// The value at `keys`, to change in place.
pub fn get_mut<'e, 'b, 'k>(
    event: &'e mut Event<'b>,
    metadata: bool,
    mut keys: impl Iterator<Item = Key<'k>>,
) -> Option<&'e mut Value<'b>> {
    let root = if metadata {
        &mut event.metadata
    } else {
        &mut event.fields
    };
    let mut value = root.get_mut(&keys.next()?.name)?;
    for key in keys {
        value = match value {
            Value::Object(object) => object.get_mut(&key.name)?,
            Value::Array(array) => {
                let at = position(key, array.len())?;
                array.get_mut(at)?
            }
            _ => return None,
        };
    }
    Some(value)
}

/// Sets the value at `keys`: missing objects on the way are made, and what is in the way and no
/// container is replaced by an object, but nothing is set below `tags`. An index past an array's
/// end fills it up with nulls, at most [`MAX_ARRAY_GROWTH`] of them: a larger one, or a negative
/// one before the start, sets nothing.
#[inline]
pub fn set<'b>(
    event: &mut Event<'b>,
    metadata: bool,
    keys: impl Iterator<Item = Key<'b>>,
    value: Value<'b>,
    arena: &'b Bump,
) {
    let root = if metadata {
        &mut event.metadata
    } else {
        &mut event.fields
    };
    let mut keys = keys.peekable();
    let Some(first) = keys.next() else { return };
    if keys.peek().is_none() {
        root.set(first.name, value);
        return;
    }
    // COMPAT: tags have no fields, and to set one is refused.
    if first.name.is(&TAGS) && !metadata {
        return;
    }
    set_below(root.slot(first.name), keys, value, arena);
}

/// Sets the value at `keys` of an object, as [`set`] does.
fn set_in<'b>(
    object: &mut Object<'b>,
    mut keys: impl Iterator<Item = Key<'b>>,
    value: Value<'b>,
    arena: &'b Bump,
) {
    if let Some(first) = keys.next() {
        set_below(object.slot(first.name), keys, value, arena);
    }
}

/// Sets the value at `keys` below a slot.
#[inline]
fn set_below<'b>(
    mut slot: &mut Value<'b>,
    keys: impl Iterator<Item = Key<'b>>,
    value: Value<'b>,
    arena: &'b Bump,
) {
    for key in keys {
        let indexed = key.index.is_some() && matches!(slot, Value::Array(_));
        if !indexed && !matches!(slot, Value::Object(_)) {
            *slot = Value::object(Object::new_in(arena), arena);
        }
        slot = match slot {
            Value::Object(object) => object.slot(key.name),
            Value::Array(array) => match array_slot(array, key) {
                Some(slot) => slot,
                None => return,
            },
            _ => return,
        };
    }
    *slot = value;
}

/// How many nulls setting an index past the end of an array may add.
pub const MAX_ARRAY_GROWTH: usize = 10_000;

/// Takes the value at `keys` out of the event. The metadata as a whole is taken as an object.
pub fn remove<'b, 'k>(
    event: &mut Event<'b>,
    metadata: bool,
    keys: impl Iterator<Item = Key<'k>>,
) -> Option<Value<'b>> {
    let mut keys = keys.peekable();
    if metadata && keys.peek().is_none() {
        return Some(event.metadata.take());
    }
    let mut object = if metadata {
        &mut event.metadata
    } else {
        &mut event.fields
    };
    loop {
        let key = keys.next()?;
        if keys.peek().is_none() {
            return object.remove(&key.name);
        }
        let mut value = object.get_mut(&key.name)?;
        // Arrays on the way: follow indices until an object or the last key is reached.
        object = loop {
            match value {
                Value::Object(object) => break object,
                Value::Array(array) => {
                    let key = keys.next()?;
                    let at = position(key, array.len())?;
                    if keys.peek().is_none() {
                        return Some(array.remove(at));
                    }
                    value = &mut array[at];
                }
                _ => return None,
            }
        };
    }
}

fn array_slot<'a, 'b>(array: &'a mut Array<'b>, key: Key<'_>) -> Option<&'a mut Value<'b>> {
    let index = key.index?;
    if index >= 0 {
        let index = usize::try_from(index).ok()?;
        if index >= array.len() {
            if index - array.len() >= MAX_ARRAY_GROWTH {
                return None;
            }
            array.extend((array.len()..=index).map(|_| Value::Null));
        }
        return array.get_mut(index);
    }
    let at = position(key, array.len())?;
    array.get_mut(at)
}

fn position(key: Key<'_>, length: usize) -> Option<usize> {
    let index = key.index?;
    let at = if index < 0 {
        index + length as i64
    } else {
        index
    };
    usize::try_from(at).ok().filter(|at| *at < length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(keys: &[&str]) -> Path {
        Path::new(keys.iter().copied())
    }

    #[test]
    fn sets_reads_and_removes() {
        let arena = Bump::new();
        let (deep, list, metadata) = (
            path(&["a", "b"]),
            path(&["a", "l"]),
            path(&["@metadata", "x"]),
        );
        let (first, last, far) = (
            path(&["a", "l", "0"]),
            path(&["a", "l", "-1"]),
            path(&["a", "l", "3"]),
        );
        let too_far = path(&["a", "l", "99999999"]);
        let mut event = Event::new_in(&arena);
        event.set(&deep, Value::Integer(1), &arena);
        event.set(&metadata, Value::Integer(2), &arena);
        assert_eq!(event.get(&deep), Some(&Value::Integer(1)));
        assert_eq!(event.get(&metadata), Some(&Value::Integer(2)));
        event.set(&list, Value::array(Array::new_in(&arena), &arena), &arena);
        event.set(&first, Value::Integer(5), &arena);
        event.set(&far, Value::Integer(6), &arena);
        event.set(&too_far, Value::Integer(7), &arena);
        assert_eq!(event.get(&last), Some(&Value::Integer(6)));
        assert_eq!(event.remove(&first), Some(Value::Integer(5)));
        assert_eq!(event.get(&first), Some(&Value::Null));
        assert_eq!(event.remove(&path(&["a", "l", "9"])), None);
        assert_eq!(event.fields.len(), 1);
    }

    #[test]
    fn a_text_in_the_way_becomes_an_object() {
        let arena = Bump::new();
        let (text, inside) = (path(&["a"]), path(&["a", "0"]));
        let mut event = Event::new_in(&arena);
        event.set(&text, Value::Text(b"x"), &arena);
        event.set(&inside, Value::Integer(1), &arena);
        assert_eq!(event.get(&inside), Some(&Value::Integer(1)));
    }
}
