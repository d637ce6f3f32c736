//! Throw-away TLS identities: authorities, servers, clients, and the wrong ones of each.
//!
//! Files are PEM, keys PKCS#8, names only in subject alternative names, as browsers and rustls
//! want them. Nothing here is secret: it is made for one test and deleted with its folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// A certificate authority whose certificate lies in a file.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
    /// The PEM file with the authority's certificate.
    pub certificate: PathBuf,
}

/// The certificate and key files of a server or a client.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The PEM file with the certificate.
    pub certificate: PathBuf,
    /// The PEM file with the private key (PKCS#8).
    pub key: PathBuf,
}

impl Authority {
    /// Makes an authority; its files are named after it and lie in `folder`.
    pub fn new(folder: &Path, name: &str) -> Result<Self> {
        let mut parameters = CertificateParams::new(Vec::new())?;
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = folder.join(format!("{name}.pem"));
        write(&certificate, &parameters.self_signed(&key)?.pem())?;
        Ok(Self {
            issuer: Issuer::new(parameters, key),
            folder: folder.to_owned(),
            certificate,
        })
    }

    /// A server's certificate for these host names and IP addresses.
    pub fn server(&self, name: &str, hosts: &[&str]) -> Result<Identity> {
        self.sign(name, hosts, &[ExtendedKeyUsagePurpose::ServerAuth])
    }

    /// The certificate of a node, which is a server and a client of its like.
    pub fn node(&self, name: &str, hosts: &[&str]) -> Result<Identity> {
        let both = [
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        self.sign(name, hosts, &both)
    }

    /// A client's certificate.
    pub fn client(&self, name: &str) -> Result<Identity> {
        self.sign(name, &[name], &[ExtendedKeyUsagePurpose::ClientAuth])
    }

    fn sign(
        &self,
        name: &str,
        hosts: &[&str],
        usages: &[ExtendedKeyUsagePurpose],
    ) -> Result<Identity> {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut parameters = CertificateParams::new(hosts)?;
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = usages.to_vec();
        parameters.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let signed = parameters.signed_by(&key, &self.issuer)?;
        let identity = Identity {
            certificate: self.folder.join(format!("{name}.pem")),
            key: self.folder.join(format!("{name}.key")),
        };
        write(&identity.certificate, &signed.pem())?;
        write(&identity.key, &key.serialize_pem())?;
        Ok(identity)
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_certificates_and_keys() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new(folder.path(), "authority").unwrap();
        let server = authority
            .server("server", &["localhost", "127.0.0.1"])
            .unwrap();
        let client = authority.client("client").unwrap();
        for file in [
            &authority.certificate,
            &server.certificate,
            &client.certificate,
        ] {
            assert!(
                std::fs::read_to_string(file)
                    .unwrap()
                    .starts_with("-----BEGIN CERTIFICATE-----")
            );
        }
        for file in [&server.key, &client.key] {
            assert!(
                std::fs::read_to_string(file)
                    .unwrap()
                    .starts_with("-----BEGIN PRIVATE KEY-----")
            );
        }
    }
}
