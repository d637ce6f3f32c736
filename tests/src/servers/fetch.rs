//! Server distributions, and a jar, from Maven Central: downloaded once, checked, unpacked once.
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
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";
const GET: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:get";

/// A file of Maven Central that is a zip.
#[derive(Debug)]
pub(super) struct Artifact {
    pub(super) group: &'static str,
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    /// `zip` or `jar`.
    pub(super) kind: &'static str,
    /// The SHA-256, in lower-case hexadecimal.
    pub(super) sha256: &'static str,
    /// The top folder that is wanted, when there are others.
    pub(super) folder: Option<&'static str>,
}

impl Artifact {
    fn full_name(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    pub(super) fn coordinates(&self) -> String {
        format!(
            "{}:{}:{}:{}",
            self.group, self.name, self.version, self.kind
        )
    }

    pub(super) fn path_in_repository(&self) -> PathBuf {
        let mut path: PathBuf = self.group.split('.').collect();
        path.push(self.name);
        path.push(self.version);
        path.push(format!("{}.{}", self.full_name(), self.kind));
        path
    }
}

/// The unpacked tree of a release; downloads and unpacks it if need be.
pub(super) fn unpacked(release: &Release) -> Result<PathBuf, StartError> {
    let tree = unpacked_artifact(&release.artifact())?;
    // The start script wants this folder, and the zips leave empty folders out.
    std::fs::create_dir_all(tree.join("plugins")).context("creating the plugins folder")?;
    Ok(tree)
}

/// The tree of a release with a plugin in it; `install` puts the zip's plugin into a copy of the release's own tree.
pub(super) fn unpacked_with(
    release: &Release,
    plugin: &Artifact,
    install: impl FnOnce(&Path, &Path) -> Result<()>,
) -> Result<PathBuf, StartError> {
    let plain = unpacked(release)?;
    let cache = cache()?;
    let tree = cache.join(format!("{}-with-{}", release.name(), plugin.full_name()));
    let lock = lock(&cache)?;
    if !tree.is_dir() {
        let zip = download(plugin, &cache)?;
        let copying = tempfile::Builder::new()
            .prefix("copying-")
            .tempdir_in(&cache)
            .context("creating a folder to copy into")?;
        // The tempdir itself is for nobody else; servers may run as another user.
        let copy = copying.path().join("tree");
        std::fs::create_dir(&copy).context("creating the copy")?;
        super::copy_files(&plain, &copy)?;
        install(&zip, &copy)?;
        std::fs::rename(&copy, &tree).with_context(|| format!("creating {}", tree.display()))?;
    }
    drop(lock);
    Ok(tree)
}

/// The unpacked top folder of an artifact; downloads and unpacks it if need be.
pub(super) fn unpacked_artifact(artifact: &Artifact) -> Result<PathBuf, StartError> {
    let cache = cache()?;
    let tree = cache.join(artifact.full_name());
    let lock = lock(&cache)?;
    if !tree.is_dir() {
        let zip = download(artifact, &cache)?;
        unpack(&zip, artifact.folder, &tree, &cache)?;
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

/// Maven with a repository of its own, to download something.
fn maven(repository: &Path, what: &str) -> Result<Command, StartError> {
    if Command::new("mvn").arg("--version").output().is_err() {
        return Err(StartError::Unavailable(format!(
            "Maven (mvn) is needed to download {what} and is not installed"
        )));
    }
    let mut maven = Command::new("mvn");
    maven
        .args(["-q", "-B"])
        .arg(format!("-Dmaven.repo.local={}", repository.display()))
        .stdin(std::process::Stdio::null());
    Ok(maven)
}

fn download(artifact: &Artifact, cache: &Path) -> Result<PathBuf, StartError> {
    let own = cache.join("repository");
    let users = std::env::var_os("HOME").map(|home| Path::new(&home).join(".m2/repository"));
    let present = [Some(own.clone()), users]
        .into_iter()
        .flatten()
        .map(|repository| repository.join(artifact.path_in_repository()))
        .find(|zip| zip.is_file());
    if let Some(zip) = present {
        verify(&zip, artifact)?;
        return Ok(zip);
    }
    let mut maven = maven(&own, &artifact.full_name())?;
    maven
        .arg(GET)
        .arg(format!("-Dartifact={}", artifact.coordinates()))
        .arg("-Dtransitive=false");
    // Not reachable is not the fault of the code under test: the same as a missing Maven.
    process::run("maven", maven, cache, DOWNLOAD_DEADLINE).map_err(|error| {
        StartError::Unavailable(format!("downloading {}: {error:#}", artifact.coordinates()))
    })?;
    let zip = own.join(artifact.path_in_repository());
    verify(&zip, artifact)?;
    Ok(zip)
}

/// A folder with all jars of an artifact and of what it needs; asks Maven for them if need be.
///
/// `sha256` is that of the lines `DIGEST  NAME` of all of them.
pub(super) fn jars(
    group: &str,
    name: &str,
    version: &str,
    sha256: &str,
) -> Result<PathBuf, StartError> {
    let cache = cache()?;
    let folder = cache.join(format!("{name}-{version}"));
    let lock = lock(&cache)?;
    if !folder.is_dir() {
        let unpacking = tempfile::tempdir_in(&cache).context("creating a folder for jars")?;
        let pom = unpacking.path().join("pom.xml");
        std::fs::write(&pom, project(group, name, version)).context("writing a pom.xml")?;
        let jars = unpacking.path().join("jars");
        let mut maven = maven(&cache.join("repository"), name)?;
        maven
            .arg("-f")
            .arg(&pom)
            .arg(COPY)
            .arg("-DincludeScope=runtime")
            .arg(format!("-DoutputDirectory={}", jars.display()));
        process::run("maven", maven, &cache, DOWNLOAD_DEADLINE)
            .map_err(|error| StartError::Unavailable(format!("downloading {name}: {error:#}")))?;
        verify_jars(&jars, sha256)?;
        std::fs::rename(&jars, &folder)
            .with_context(|| format!("creating {}", folder.display()))?;
    }
    drop(lock);
    Ok(folder)
}

/// A project that Maven resolves to all jars of an artifact.
fn project(group: &str, name: &str, version: &str) -> String {
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>skidder</groupId><artifactId>test-server</artifactId><version>1</version><dependencies>\
         <dependency><groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version></dependency>\
         </dependencies></project>\n"
    )
}

fn verify_jars(folder: &Path, sha256: &str) -> Result<()> {
    let mut names = Vec::new();
    for entry in
        std::fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))?
    {
        names.push(entry?.file_name());
    }
    names.sort();
    let mut lines = String::new();
    for name in names {
        let path = folder.join(&name);
        let bytes = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        writeln!(lines, "{}  {}", digest_of(&bytes)?, name.display())
            .context("formatting a line")?;
    }
    let digest = digest_of(lines.as_bytes())?;
    if digest != sha256 {
        bail!(
            "the jars in {} have SHA-256 {digest}, expected {sha256}: refusing to run them\n{lines}",
            folder.display()
        );
    }
    Ok(())
}

fn digest_of(bytes: &[u8]) -> Result<String> {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let mut hex = String::new();
    for byte in digest.as_ref() {
        write!(hex, "{byte:02x}").context("formatting a digest")?;
    }
    Ok(hex)
}

fn verify(zip: &Path, artifact: &Artifact) -> Result<()> {
    let bytes = std::fs::read(zip).with_context(|| format!("reading {}", zip.display()))?;
    let hex = digest_of(&bytes)?;
    if hex != artifact.sha256 {
        bail!(
            "{} has SHA-256 {hex}, expected {}: refusing to run it",
            zip.display(),
            artifact.sha256
        );
    }
    Ok(())
}

/// Unpacks the zip's single top folder as `tree`.
fn unpack(zip: &Path, folder: Option<&str>, tree: &Path, cache: &Path) -> Result<(), StartError> {
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
        .args(folder.map(|folder| format!("{folder}/*")))
        .arg("-d")
        .arg(unpacking.path())
        .stdin(std::process::Stdio::null());
    process::run("unzip", unzip, cache, UNPACK_DEADLINE)?;
    let mut entries = std::fs::read_dir(unpacking.path()).context("listing the unpacked zip")?;
    let (Some(Ok(top)), None) = (entries.next(), entries.next()) else {
        return Err(anyhow::anyhow!("{} has not exactly one top folder", zip.display()).into());
    };
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
        let error = verify(&zip, &super::super::OPENSEARCH_2.artifact())
            .unwrap_err()
            .to_string();
        assert!(error.contains("refusing"), "{error}");
    }

    #[test]
    fn the_pinned_digest_is_checked_against_the_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let zip = folder.path().join("server.zip");
        std::fs::write(&zip, "abc").unwrap();
        let artifact = Artifact {
            sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ..super::super::OPENSEARCH_2.artifact()
        };
        verify(&zip, &artifact).unwrap();
    }
}
