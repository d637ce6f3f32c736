//! Support code of the end-to-end tests: real daemons, real search servers, real faults.
//!
//! Each module starts or fakes one thing a log line meets on its way: [`writers`] grow and
//! rotate log files, [`daemon`] runs the two binaries, [`servers`] fetches and runs OpenSearch
//! and Elasticsearch, [`stub`] is a search cluster that misbehaves on command (or counts at
//! full speed, for the benches), [`kafka`] asks a broker, [`amazon`] is what a test needs of Amazon's, [`storage`] a server for objects, [`go_lumber`] is the
//! protocol's reference library, [`pair`] is both daemons at once, [`balancer`] is HAProxy, [`disk`] makes disks small and
//! slow, [`certificates`] makes throw-away TLS identities.
//!
//! Invariants: everything listens on 127.0.0.1 only; every process started here dies with the
//! test process, however that ends ([`process`]); every wait has a deadline. The code is
//! synchronous on purpose: a test reads as a story, and the only async part is inside the stub.

pub mod amazon;
pub mod balancer;
pub mod certificates;
pub mod daemon;
pub mod disk;
pub mod environment;
pub mod go_lumber;
pub mod http;
pub mod kafka;
pub mod pair;
pub mod process;
pub mod python;
pub mod servers;
pub mod site;
pub mod storage;
pub mod stub;
pub mod wait;
pub mod writers;
