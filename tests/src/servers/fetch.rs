//! Server distributions from Maven Central: downloaded once, checked, unpacked once.
//!
//! Layout of the cache, `servers/` in the cargo target folder:
//!
//! ```text
//! repository/      a Maven repository of its own, so that a test run changes nothing outside
//! PRODUCT-VERSION/ the unpacked distribution, never written to after that
//! runs/            one folder per running server: config, data, logs
//! lock             held while something is downloaded or unpacked
//! ```
//!
//! Test processes run in parallel, so all work happens under an exclusive file lock, and an
//! unpacked tree appears under its final name by a rename. The zip is compared with a pinned
//! SHA-256 before anything of it runs.

use std::fmt::Write;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{Release, StartError};
use crate::environment;
use crate::process;

/// Maven starts slowly, and the biggest zip has 155 MB.
const DOWNLOAD_DEADLINE: Duration = Duration::from_mins(15);
const UNPACK_DEADLINE: Duration = Duration::from_mins(5);
const GET: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:get";

/// The unpacked tree of a release; downloads and unpacks it if need be.
pub(super) fn unpacked(release: &Release) -> Result<PathBuf, StartError> {
    let cache = cache()?;
    let tree = cache.join(release.name());
    let lock = lock(&cache)?;
    if !tree.is_dir() {
        let zip = download(release, &cache)?;
        unpack(&zip, &tree, &cache)?;
    }
    drop(lock);
    Ok(tree)
}

/// The cache folder. The servers refuse to run as root and are started as `nobody` then; a
/// target folder inside somebody's private home is out of reach for that user.
pub(super) fn cache() -> Result<PathBuf> {
    let inside_target = environment::target_directory().join("servers");
    let cache = if super::runs_as_root() && !reachable_by_all(&inside_target) {
        PathBuf::from("/var/tmp/skidder-test-servers")
    } else {
        inside_target
    };
    std::fs::create_dir_all(&cache).with_context(|| format!("creating {}", cache.display()))?;
    Ok(cache)
}

fn reachable_by_all(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.ancestors()
        .filter_map(|folder| std::fs::metadata(folder).ok())
        .all(|metadata| metadata.permissions().mode() & 0o001 != 0)
}

fn lock(cache: &Path) -> Result<File> {
    let path = cache.join("lock");
    let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    file.lock()
        .with_context(|| format!("locking {}", path.display()))?;
    Ok(file)
}

fn download(release: &Release, cache: &Path) -> Result<PathBuf, StartError> {
    let own = cache.join("repository");
    let users = std::env::var_os("HOME").map(|home| Path::new(&home).join(".m2/repository"));
    let present = [Some(own.clone()), users]
        .into_iter()
        .flatten()
        .map(|repository| repository.join(release.path_in_repository()))
        .find(|zip| zip.is_file());
    if let Some(zip) = present {
        verify(&zip, release)?;
        return Ok(zip);
    }
    if Command::new("mvn").arg("--version").output().is_err() {
        return Err(StartError::Unavailable(format!(
            "Maven (mvn) is needed to download {} and is not installed",
            release.name()
        )));
    }
    let mut maven = Command::new("mvn");
    maven
        .arg("-q")
        .arg("-B")
        .arg(format!("-Dmaven.repo.local={}", own.display()))
        .arg(GET)
        .arg(format!("-Dartifact={}", release.coordinates()))
        .arg("-Dtransitive=false")
        .stdin(std::process::Stdio::null());
    // Not reachable is not the fault of the code under test: the same as a missing Maven.
    process::run("maven", maven, cache, DOWNLOAD_DEADLINE).map_err(|error| {
        StartError::Unavailable(format!("downloading {}: {error:#}", release.coordinates()))
    })?;
    let zip = own.join(release.path_in_repository());
    verify(&zip, release)?;
    Ok(zip)
}

fn verify(zip: &Path, release: &Release) -> Result<()> {
    let bytes = std::fs::read(zip).with_context(|| format!("reading {}", zip.display()))?;
    let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
    let mut hex = String::new();
    for byte in digest.as_ref() {
        write!(hex, "{byte:02x}").context("formatting a digest")?;
    }
    if hex != release.sha256 {
        bail!(
            "{} has SHA-256 {hex}, expected {}: refusing to run it",
            zip.display(),
            release.sha256
        );
    }
    Ok(())
}

/// Unpacks the zip's single top folder as `tree`.
fn unpack(zip: &Path, tree: &Path, cache: &Path) -> Result<(), StartError> {
    if Command::new("unzip").arg("-v").output().is_err() {
        return Err(StartError::Unavailable(
            "unzip is needed and is not installed".to_owned(),
        ));
    }
    let unpacking = tempfile::Builder::new()
        .prefix("unpacking-")
        .tempdir_in(cache)
        .context("creating a folder to unpack into")?;
    let mut unzip = Command::new("unzip");
    unzip
        .arg("-q")
        .arg(zip)
        .arg("-d")
        .arg(unpacking.path())
        .stdin(std::process::Stdio::null());
    process::run("unzip", unzip, cache, UNPACK_DEADLINE)?;
    let mut entries = std::fs::read_dir(unpacking.path()).context("listing the unpacked zip")?;
    let (Some(Ok(top)), None) = (entries.next(), entries.next()) else {
        return Err(anyhow::anyhow!("{} has not exactly one top folder", zip.display()).into());
    };
    // The start script wants this folder, and the zips leave empty folders out.
    std::fs::create_dir_all(top.path().join("plugins")).context("creating the plugins folder")?;
    std::fs::rename(top.path(), tree).with_context(|| format!("creating {}", tree.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_zip_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let zip = folder.path().join("server.zip");
        std::fs::write(&zip, "not the real one").unwrap();
        let error = verify(&zip, &super::super::OPENSEARCH_2)
            .unwrap_err()
            .to_string();
        assert!(error.contains("refusing"), "{error}");
    }

    #[test]
    fn the_pinned_digest_is_checked_against_the_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let zip = folder.path().join("server.zip");
        std::fs::write(&zip, "abc").unwrap();
        let release = Release {
            sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ..super::super::OPENSEARCH_2
        };
        verify(&zip, &release).unwrap();
    }
}
