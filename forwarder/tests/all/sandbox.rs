//! Landlock: what the process could do to its host is little, and what it has to do it can.

use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use skidder_forwarder::config::{self, Config, Overrides};
use skidder_forwarder::sandbox::Sandbox;

use super::support::{Place, Program, Receiver, assert_each_once, lines};

/// A config in a directory of its own, which is readable in the sandbox.
fn config_of(place: &Place, network: &str, pattern: &str, more: &str) -> PathBuf {
    let path = place.config_with(network, pattern, more);
    let directory = place.root.path().join("etc");
    std::fs::create_dir_all(&directory).expect("creates");
    let aside = directory.join("forwarder.yml");
    std::fs::rename(path, &aside).expect("renames");
    aside
}

/// Runs something in the sandbox of a config, which holds for its thread alone. `None` if this kernel has none.
fn within<T: Send>(place: &Place, more: &str, work: impl FnOnce() -> T + Send) -> Option<T> {
    let network = "{servers: [\"127.0.0.1:1\"], tls: off}";
    let path = config_of(place, network, "*.log", more);
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            let config: Config = config::load(&path, &Overrides::default()).expect("is right");
            let entered = Sandbox::enter(&config, &path).expect("is not refused");
            entered.map(|_| work())
        });
        thread.join().expect("ends")
    })
}

const SKIPPED: &str = "skipped: this kernel has no Landlock, or it is not switched on";

/// What came of writing, reading and starting something.
fn tried(root: &Path) -> [Option<ErrorKind>; 5] {
    let outside = root.join("elsewhere");
    [
        std::fs::write(root.join("data/own"), "x"),
        std::fs::read(root.join("logs/a.log")).map(drop),
        std::fs::write(&outside, "x"),
        std::fs::read(root.join("other")).map(drop),
        Command::new("/bin/true").output().map(drop),
    ]
    .map(|result| result.err().map(|error| error.kind()))
}

#[test]
fn nothing_is_written_but_its_own_state_and_no_program_started() {
    let place = Place::new();
    place.append("a.log", "one\n");
    std::fs::write(place.root.path().join("other"), "x").expect("writes");
    let denied = Some(ErrorKind::PermissionDenied);
    let Some(by_default) = within(&place, "", || tried(place.root.path())) else {
        println!("{SKIPPED}");
        return;
    };
    assert_eq!(by_default, [None, None, denied, None, denied]);
    let strict = within(&place, "sandbox: strict", || tried(place.root.path()));
    assert_eq!(strict, Some([None, None, denied, denied, denied]));
    let off = within(&place, "sandbox: off", || ());
    assert_eq!(off, None);
    assert_eq!(
        tried(place.root.path()),
        [None; 5],
        "it holds for its thread"
    );
}

/// All the ways of a file in its directory, a server that is named, a config that is read again.
#[test]
fn a_strict_sandbox_ships_follows_rotations_and_refuses_a_config_that_leads_out_of_it() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let port = receiver.address.port();
    let network = format!("{{servers: [\"localhost:{port}\"], tls: off}}");
    if within(&place, "", || ()).is_none() {
        println!("{SKIPPED}");
        return;
    }
    let config = config_of(&place, &network, "*.log*", "sandbox: strict");
    let text = std::fs::read_to_string(&config).expect("reads");
    place.append("app.log", &lines("first", 0..10));
    let arguments = ["run", "--config", config.to_str().expect("text")];
    let mut program = Program::start(&arguments, place.root.path());
    receiver.wait_for(10);
    program.wait_for_log("confined by Landlock");
    std::fs::rename(place.log("app.log"), place.log("app.log.1")).expect("renames");
    place.append("app.log", &lines("second", 0..10));
    receiver.wait_for(20);

    let outside = place.root.path().join("outside");
    std::fs::create_dir(&outside).expect("creates");
    let other = text.replace("/logs/", "/outside/");
    std::fs::write(&config, other).expect("writes");
    program.signal(Signal::HUP);
    program.wait_for_log("was entered without the right to read");
    std::fs::write(&config, text.replace("type: test", "type: other")).expect("writes");
    program.signal(Signal::HUP);
    program.wait_for_log("a new config is taken over");
    place.append("app.log", &lines("third", 0..10));
    receiver.wait_for(30);
    program.signal(Signal::TERM);
    assert_eq!(program.wait(), 0, "{}", program.log());
    let expected = lines("first", 0..10) + &lines("second", 0..10) + &lines("third", 0..10);
    assert_each_once(&receiver, &expected);
}

/// The part of a pattern before its wildcard is the config's own word, but not for the kernel, once it was told.
#[test]
fn a_directory_that_is_exchanged_for_one_outside_is_read_by_default_and_named_when_it_is_strict() {
    if within(&Place::new(), "", || ()).is_none() {
        println!("{SKIPPED}");
        return;
    }
    for strict in [false, true] {
        let (place, receiver) = (Place::new(), Receiver::start());
        let elsewhere = tempfile::tempdir().expect("a directory");
        std::fs::write(elsewhere.path().join("new.log"), "two\n").expect("writes");
        std::fs::create_dir(place.log("a")).expect("creates");
        symlink(place.log("a"), place.log("current")).expect("links");
        place.append("a/old.log", "one\n");
        let more = if strict { "sandbox: strict" } else { "" };
        let network = format!("{{servers: [\"{}\"], tls: off}}", receiver.address);
        let config = config_of(&place, &network, "current/*.log", more);
        let arguments = ["run", "--config", config.to_str().expect("text")];
        let program = Program::start(&arguments, place.root.path());
        receiver.wait_for(1);
        std::fs::remove_file(place.log("current")).expect("removes");
        symlink(elsewhere.path(), place.log("current")).expect("links");
        if strict {
            program.wait_for_log("with `sandbox: strict`");
        } else {
            receiver.wait_for(2);
        }
    }
}
