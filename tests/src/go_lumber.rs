//! The Go program in `go-lumber/`: the protocol's reference library, as a server and as a client.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::environment::{target_directory, workspace};
use crate::process::run;

const BUILD_PATIENCE: Duration = Duration::from_mins(5);

/// Builds the program, once for a process; says why when that cannot be (no Go, no network).
pub fn program() -> &'static Result<PathBuf, String> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = target_directory().join("go-lumber");
        let logs = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut command = Command::new("go");
        command
            .current_dir(workspace().join("tests/go-lumber"))
            .args(["build", "-o"])
            .arg(&program)
            .arg(".");
        run("build", command, logs.path(), BUILD_PATIENCE)
            .map(|_| program)
            .map_err(|error| format!("go-lumber could not be built: {error:#}"))
    })
}
