//! `certificates`: a throw-away certificate authority with a certificate for each daemon.
//!
//! For trying things out and for tests. The CA's key is not kept, so nobody can make more
//! certificates with it; who wants others runs the command again.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::cli::CertificateArguments;

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A name that cannot stand in a certificate, or no randomness.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// A file cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// Makes the files and returns their paths. Existing files are replaced.
pub fn make(arguments: &CertificateArguments) -> Result<Vec<PathBuf>, CertificateError> {
    let failed = |path: &Path, error| CertificateError::Write {
        path: path.into(),
        error,
    };
    std::fs::create_dir_all(&arguments.directory)
        .map_err(|error| failed(&arguments.directory, error))?;

    let ca_key = KeyPair::generate()?;
    let mut ca = parameters("Skidder throw-away CA", &[], arguments.days)?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_certificate = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);

    let mut files = vec![("ca.pem", ca_certificate.pem(), false)];
    let daemons = [
        (
            "aggregator",
            arguments.hosts.as_slice(),
            ExtendedKeyUsagePurpose::ServerAuth,
        ),
        ("forwarder", &[], ExtendedKeyUsagePurpose::ClientAuth),
    ];
    for (name, hosts, usage) in daemons {
        let key = KeyPair::generate()?;
        let mut parameters = parameters(name, hosts, arguments.days)?;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![usage];
        // RFC 5280, 4.2.1.1: strict verifiers (Python 3.13's) refuse a certificate without it.
        parameters.use_authority_key_identifier_extension = true;
        let certificate = parameters.signed_by(&key, &issuer)?;
        let (file, key_file) = match name {
            "aggregator" => ("aggregator.pem", "aggregator-key.pem"),
            _ => ("forwarder.pem", "forwarder-key.pem"),
        };
        files.push((file, certificate.pem(), false));
        files.push((key_file, key.serialize_pem(), true));
    }

    let mut paths = Vec::new();
    for (name, text, secret) in files {
        let path = arguments.directory.join(name);
        write(&path, &text, secret).map_err(|error| failed(&path, error))?;
        paths.push(path);
    }
    Ok(paths)
}

fn parameters(name: &str, hosts: &[String], days: u32) -> Result<CertificateParams, rcgen::Error> {
    let mut parameters = CertificateParams::new(hosts)?;
    parameters.distinguished_name.push(DnType::CommonName, name);
    // An hour back, for machines whose clocks do not agree.
    let now = std::time::SystemTime::now();
    let until = now + std::time::Duration::from_hours(u64::from(days) * 24);
    parameters.not_before = (now - std::time::Duration::from_hours(1)).into();
    parameters.not_after = until.into();
    Ok(parameters)
}

/// Writes a file; a secret one is readable for its owner only.
fn write(path: &Path, text: &str, secret: bool) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mode = if secret { 0o600 } else { 0o644 };
    if secret {
        // The mode only applies to a file that is made.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(mode)
        .open(path)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn makes_five_files_with_private_keys() {
        let directory = tempfile::tempdir().unwrap();
        let arguments = CertificateArguments {
            directory: directory.path().join("certificates"),
            hosts: vec!["localhost".into(), "127.0.0.1".into()],
            days: 1,
        };
        for _ in 0..2 {
            let files = make(&arguments).unwrap();
            assert_eq!(files.len(), 5);
            for file in files {
                let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
                let secret = file.to_str().unwrap().ends_with("-key.pem");
                assert_eq!(
                    mode,
                    if secret { 0o600 } else { 0o644 },
                    "{}",
                    file.display()
                );
            }
        }
    }
}
