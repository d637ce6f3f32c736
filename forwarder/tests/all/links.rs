//! Symbolic links: who can write into a directory of logs must not choose what we ship.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::support::{Place, Program, Receiver, assert_each_once};

/// A config with options for the files, in which `ROOT` is the place.
pub(crate) fn with(place: &Place, receiver: &Receiver, pattern: &str, options: &str) -> PathBuf {
    let config = place.config(receiver, pattern, "");
    let options = options.replace("ROOT", &place.root.path().display().to_string());
    let text = std::fs::read_to_string(&config).expect("reads");
    let text = text.replace("fields:", &format!("{options}, fields:"));
    std::fs::write(&config, text).expect("writes");
    config
}

fn run(config: &Path, place: &Place) -> Program {
    let config = config.to_str().expect("text");
    Program::start(&["run", "--config", config], place.root.path())
}

#[test]
fn a_link_out_of_what_the_patterns_name_is_not_followed_and_that_is_said_once() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let root = place.root.path();
    let secrets = root.join("secrets");
    std::fs::create_dir(&secrets).expect("creates");
    std::fs::write(secrets.join("key.log"), "secret\n").expect("writes");
    // The app's user plants these.
    symlink("/etc/shadow", place.log("a.log")).expect("links");
    symlink(secrets.join("key.log"), place.log("b.log")).expect("links");
    std::fs::create_dir(place.log("app")).expect("creates");
    symlink(&secrets, place.log("elsewhere")).expect("links");
    mknodat(
        CWD,
        place.log("pipe.log"),
        FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .expect("a pipe");
    symlink("/dev/zero", place.log("device.log")).expect("links");
    // And these are as they should be.
    place.append("app/x.log", "one\n");
    place.append("c.log.1", "two\n");
    symlink("c.log.1", place.log("c.log")).expect("links");
    symlink(place.log("app/x.log"), place.log("d.log")).expect("links");
    let config = place.config(&receiver, "{,*/}*.log", "");
    let mut program = run(&config, &place);
    receiver.wait_for(2);
    for name in ["a.log", "b.log", "elsewhere/key.log"] {
        program.wait_for_log(&format!("path={}", place.log(name).display()));
    }
    program.wait_for_log("not a regular file");
    program.wait_for_log(&format!("symlink targets: [{}]", secrets.display()));
    // Some rounds later it has not been said again, and what is there grows.
    place.append("c.log.1", "three\n");
    receiver.wait_for(3);
    std::thread::sleep(Duration::from_millis(1200));
    let said = program.log().matches("logs/a.log").count();
    assert_eq!(said, 1, "{}", program.log());
    // What is not followed is not waited for by a drain.
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_skidder-forwarder"))
        .args(["drain", "--data-dir"])
        .arg(root.join("data"))
        .output();
    let output = output.expect("runs");
    assert!(output.status.success(), "{output:?}");
    program.signal(rustix::process::Signal::TERM);
    program.wait();
    assert_each_once(&receiver, "one\ntwo\nthree\n");
}

#[test]
fn links_are_followed_into_the_directories_that_are_allowed() {
    // As Kubernetes has it: containers, pods, and with Docker its own directory.
    let (place, receiver) = (Place::new(), Receiver::start());
    let root = place.root.path();
    for directory in ["pods", "docker"] {
        std::fs::create_dir(root.join(directory)).expect("creates");
    }
    std::fs::write(root.join("docker/0.log"), "line\n").expect("writes");
    symlink(root.join("docker/0.log"), root.join("pods/0.log")).expect("links");
    symlink(root.join("pods/0.log"), place.log("web.log")).expect("links");
    let config = with(&place, &receiver, "*.log", "symlink targets: [ROOT/pods]");
    let program = run(&config, &place);
    program.wait_for_log("symlink targets");
    drop(program);
    let config = with(&place, &receiver, "*.log", "symlink targets: [ROOT/docker]");
    let program = run(&config, &place);
    receiver.wait_for(1);
    assert_eq!(
        receiver.arrived()[0].file,
        place.log("web.log").display().to_string()
    );
    drop(program);
}

#[test]
fn links_before_the_first_wildcard_are_the_configs_own() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let root = place.root.path();
    for release in ["1", "2"] {
        let logs = root.join("releases").join(release).join("log");
        std::fs::create_dir_all(&logs).expect("creates");
        std::fs::write(logs.join("app.log"), format!("release {release}\n")).expect("writes");
    }
    let point = |release: &str| {
        let new = place.log("new");
        symlink(root.join("releases").join(release), &new).expect("links");
        std::fs::rename(&new, place.log("current")).expect("renames");
    };
    point("1");
    let config = with(
        &place,
        &receiver,
        "current/log/*.log",
        "follow symlinks: off",
    );
    let program = run(&config, &place);
    receiver.wait_for(1);
    point("2");
    receiver.wait_for(2);
    // A link behind it is none of the config's.
    symlink(
        root.join("releases/2/log/app.log"),
        root.join("releases/2/log/b.log"),
    )
    .expect("links");
    std::fs::write(root.join("secret"), "secret\n").expect("writes");
    symlink(root.join("secret"), root.join("releases/2/log/c.log")).expect("links");
    program.wait_for_log("c.log");
    assert_each_once(&receiver, "release 1\nrelease 2\n");
}
