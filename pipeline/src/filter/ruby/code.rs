//! Pieces of Lua, with what is known of their values.

/// What is known of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Unknown,
    Integer,
    Float,
    Text,
    Boolean,
    /// A time that is shown in UTC.
    Utc,
    /// A time that Ruby shows in the zone of the machine.
    LocalTime,
    /// An event that the code has made.
    Event,
}

impl Kind {
    pub(super) fn is_number(self) -> bool {
        matches!(self, Self::Integer | Self::Float)
    }

    pub(super) fn is_time(self) -> bool {
        matches!(self, Self::Utc | Self::LocalTime)
    }
}

/// An expression in Lua.
#[derive(Clone, Debug)]
pub(super) struct Code {
    pub(super) text: String,
    pub(super) kind: Kind,
    /// Needs no parentheses.
    pub(super) is_atom: bool,
}

impl Code {
    pub(super) fn atom(text: impl Into<String>, kind: Kind) -> Self {
        Self {
            text: text.into(),
            kind,
            is_atom: true,
        }
    }

    pub(super) fn sum(text: impl Into<String>, kind: Kind) -> Self {
        Self {
            text: text.into(),
            kind,
            is_atom: false,
        }
    }

    /// With parentheses if it needs some.
    pub(super) fn closed(&self) -> String {
        if self.is_atom {
            self.text.clone()
        } else {
            format!("({})", self.text)
        }
    }
}
