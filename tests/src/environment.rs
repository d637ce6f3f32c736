//! Where the tests run: folders, the build profile, and what to do when a tool is missing.
//!
//! A test that needs something this machine lacks says so and passes, so that `cargo test`
//! works on a laptop without Java. With `SKIDDER_REQUIRE_ALL=1` (continuous integration) the
//! same situation is a failure: a suite that silently tests nothing is worse than a red one.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// The variable that turns a skipped test into a failed one.
pub const REQUIRE_ALL: &str = "SKIDDER_REQUIRE_ALL";

/// Whether a skip counts as a failure.
pub fn skips_are_failures() -> bool {
    std::env::var_os(REQUIRE_ALL).is_some_and(|value| value == "1")
}

/// Reports that a test cannot run here. The caller returns right after.
///
/// # Panics
/// When `SKIDDER_REQUIRE_ALL=1`.
#[expect(
    clippy::print_stderr,
    reason = "the reader of a test run must see what was not tested"
)]
pub fn skip(reason: &str) {
    assert!(
        !skips_are_failures(),
        "{REQUIRE_ALL}=1 and this test cannot run: {reason}"
    );
    eprintln!("SKIPPED: {reason}");
}

/// The root of the workspace's source.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// The cargo target folder this test was built into, found by the tag file that cargo leaves
/// there; `target/` of the workspace when the executable was moved elsewhere.
pub fn target_directory() -> PathBuf {
    std::env::current_exe()
        .ok()
        .and_then(|executable| {
            executable
                .ancestors()
                .find(|folder| folder.join("CACHEDIR.TAG").is_file())
                .map(Path::to_path_buf)
        })
        .unwrap_or_else(|| workspace().join("target"))
}

/// The name of the cargo profile this test was built with, as `--profile` wants it.
///
/// Cargo tells build scripts, not programs; but it shows in the path of the executable:
/// `target/debug/deps/…` is the profile `dev`, any other folder has the profile's own name.
pub fn profile() -> String {
    let target = target_directory();
    let folder = std::env::current_exe().ok().and_then(|executable| {
        let inside = executable.strip_prefix(&target).ok()?.to_path_buf();
        // With `--target` the triple comes first; the profile is what precedes `deps`.
        let parts: Vec<_> = inside
            .iter()
            .map(|part| part.to_string_lossy().into_owned())
            .collect();
        let deps = parts
            .iter()
            .position(|part| part == "deps")
            .unwrap_or(parts.len() - 1);
        parts.get(deps.checked_sub(1)?).cloned()
    });
    match folder.as_deref() {
        None | Some("debug") => "dev".to_owned(),
        Some(name) => name.to_owned(),
    }
}

/// A TCP port of 127.0.0.1 that nobody listens on, for a server that is killed and has to come back to it.
///
/// Not one of those that the system gives to connections (32768 and up on Linux): a connection of any process
/// could have it while the server is down.
///
/// # Errors
/// If none of the ports that were tried is free.
pub fn free_port() -> Result<u16> {
    const PORTS: std::ops::Range<u16> = 12_000..32_000;
    for _ in 0..100 {
        // Each state has other keys: what is random here is enough for tests that run side by side.
        let random = RandomState::new().build_hasher().finish();
        let port = PORTS.start + (random % PORTS.len() as u64) as u16;
        if TcpListener::bind(loopback(port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port of 127.0.0.1 among 100 between {PORTS:?}")
}

/// `127.0.0.1:port`.
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Reads a number from an environment variable, or takes the default.
///
/// # Panics
/// When the variable is set to something that is not a number: a typing error must not turn
/// into a test with other settings than asked for.
pub fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is not a whole number")),
        Err(_) => default,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_holds_both_daemons() {
        assert!(workspace().join("forwarder/Cargo.toml").is_file());
        assert!(workspace().join("aggregator/Cargo.toml").is_file());
    }

    #[test]
    fn the_target_folder_is_cargos() {
        assert!(target_directory().join(".rustc_info.json").is_file());
        assert!(!profile().is_empty());
    }

    #[test]
    fn a_free_port_can_be_bound() {
        let port = free_port().unwrap();
        TcpListener::bind(loopback(port)).unwrap();
    }
}
