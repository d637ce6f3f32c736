//! Running as the unit in `examples/` does: no root, one right more than others have.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use super::support::{Place, Receiver, assert_each_once, lines};

const PROGRAM: &str = env!("CARGO_BIN_EXE_skidder-forwarder");
const NOBODY: u32 = 65_534;

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .expect("changes the mode");
}

/// Files that only root may read are followed over a rotation by a process that is not root.
#[test]
fn files_of_root_are_read_with_cap_dac_read_search() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give a process its rights");
        return;
    }
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "*.log*", "");
    place.append("app.log", &lines("first", 0..20));
    set_mode(&place.log("app.log"), 0o600);
    set_mode(&place.root.path().join("logs"), 0o700);
    set_mode(place.root.path(), 0o755);
    let data = place.root.path().join("data");
    std::fs::create_dir_all(&data).expect("makes the directory");
    chown(&data, Some(NOBODY), Some(NOBODY)).expect("gives it away");
    let program = place.root.path().join("skidder-forwarder");
    std::fs::copy(PROGRAM, &program).expect("copies");
    let mut child = Command::new("setpriv")
        .arg(format!("--reuid={NOBODY}"))
        .arg(format!("--regid={NOBODY}"))
        .args(["--clear-groups", "--no-new-privs"])
        .args([
            "--inh-caps=-all,+dac_read_search",
            "--ambient-caps=-all,+dac_read_search",
        ])
        .arg("--bounding-set=-all,+dac_read_search")
        .arg(&program)
        .args(["run", "--config"])
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("starts");
    receiver.wait_for(20);
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("reads");
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.expect("is there")
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(value("Uid:"), [NOBODY.to_string().as_str(); 4].join(" "));
    // Bit 2 is CAP_DAC_READ_SEARCH.
    assert_eq!(value("CapEff:"), "0000000000000004");
    std::fs::rename(place.log("app.log"), place.log("app.log.1")).expect("renames");
    place.append("app.log", &lines("second", 0..20));
    set_mode(&place.log("app.log"), 0o600);
    receiver.wait_for(40);
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("signals");
    assert!(child.wait().expect("ends").success());
    assert_each_once(
        &receiver,
        &(lines("first", 0..20) + &lines("second", 0..20)),
    );
}
