//! Where events leave: one module per kind of output.

pub mod elasticsearch;
