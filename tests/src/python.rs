//! A Python with packages, in a virtual environment that is made once and kept.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The Python of the environment in `folder`, which has these `packages`; or why it cannot be had.
///
/// # Errors
/// Where there is no Python, or no network the first time.
pub fn environment(folder: &Path, packages: &[&str]) -> Result<PathBuf, String> {
    let (python, done) = (folder.join("bin/python"), folder.join("packages"));
    let wanted = packages.join("\n");
    if std::fs::read_to_string(&done).is_ok_and(|there| there == wanted) {
        return Ok(python);
    }
    let run = |command: &mut Command| {
        let output = command
            .output()
            .map_err(|error| format!("{command:?}: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("{command:?} failed: {said}"))
    };
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(folder))?;
    run(Command::new(&python)
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ])
        .args(packages))?;
    std::fs::write(done, wanted).map_err(|error| error.to_string())?;
    Ok(python)
}
