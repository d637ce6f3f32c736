//! Tests of the forwarder as a whole: real files, a real receiver on the loopback, and where it
//! matters the real program.

mod cloud;
mod cpu_limit;
mod discovery;
mod doctor;
mod drain;
mod half_open;
mod health;
mod identity;
mod journal;
mod lines;
mod link;
mod links;
mod manual;
mod many;
mod model;
mod native;
mod program;
mod proxies;
mod proxy;
mod registry;
mod rotation;
mod sandbox;
mod support;
mod syslog;
mod unprivileged;
