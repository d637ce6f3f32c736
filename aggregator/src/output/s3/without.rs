//! Stands in the place of the table where the feature `parquet` is not built.

use std::convert::Infallible;
use std::io;

use super::columns::Columns;
use super::object::Parts;
use super::row::Row;

/// A table that does not exist.
pub(super) struct Table(Infallible);

impl Table {
    pub(super) fn new(_parts: Parts, _columns: &Columns, _packed: bool) -> io::Result<Self> {
        Err(io::Error::other(
            "the object was begun with `format => parquet`, and this program was built without the feature `parquet`: \
             start one that has it until the object is stored",
        ))
    }

    pub(super) fn add(&self, _row: &Row) -> io::Result<()> {
        match self.0 {}
    }

    pub(super) fn stored_bytes(&self) -> usize {
        match self.0 {}
    }

    pub(super) fn held_bytes(&self) -> usize {
        match self.0 {}
    }

    pub(super) fn parts(&self) -> &Parts {
        match self.0 {}
    }

    pub(super) fn finish(self) -> io::Result<Parts> {
        match self.0 {}
    }
}
