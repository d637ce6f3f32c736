//! What a configuration that compiles probably does not mean: conditions that hold for no event,
//! branches that nothing reaches, fields that are read and that nothing sets.
//!
//! Only what is certain is a warning; what depends on where events come from is a hint. Nothing of
//! this runs when a pipeline starts: it is for `check` and for editors.

mod conditions;
mod fields;
mod values;

pub use conditions::check_conditions;
pub use fields::{FieldCheck, FieldName, KnownFields, check_fields, fields_at};
