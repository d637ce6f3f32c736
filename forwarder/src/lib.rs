//! The forwarder: tails files and ships their lines to an aggregator, losing none.
//!
//! Reading order: [`config`] (what was asked for), [`tail`] (files to lines), [`feed`] (what are no files), [`batch`] and
//! [`event`] (lines to windows), [`link`] (windows to servers), [`registry`] (what is safe),
//! [`reader`] and [`run`] (all of it put together), [`health`] and [`reload`] (what can be asked and ordered
//! while it runs), [`cli`] (the program), [`check`] and [`doctor`]
//! (whether it will work), [`sandbox`] (what it can do to its host). [`follow`] is for another program that wants the files and not
//! the link.
//!
//! Everything runs in one task of one thread: the parts share state through `Rc` and `RefCell`
//! and are never locked. Only the kernel's hints and standard input have a thread of their own.
#![forbid(unsafe_code)]

pub mod allowance;
pub mod batch;
pub mod check;
pub mod cli;
pub mod cloud;
pub mod config;
pub mod crowd;
pub mod doctor;
pub mod drain;
pub mod event;
pub mod feed;
pub mod follow;
pub mod health;
pub mod link;
pub mod reader;
pub mod registry;
pub mod reload;
pub mod report;
pub mod run;
pub mod sandbox;
mod socket_file;
pub mod tail;

pub use reload::Controls;
pub use run::{Outcome, RunError, run, run_with};
