//! OpenSearch with its security plugin: TLS, users with passwords, client certificates, rights.
//!
//! The plugin's own start-up needs nothing but files: certificates, and who may log in how. Users and rights
//! are made over its API, by the administrator, whom a certificate makes that. The newest release of which both are to be
//! had is 2.19.4.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::fetch::{self, Artifact};
use super::{Installed, OPENSEARCH_2, Release, Server, StartError, java_for, started_or_skip};
use crate::certificates::{Authority, Identity};
use crate::environment;
use crate::http::{self, Response};
use crate::process;

const RELEASE: Release = Release {
    version: "2.19.4",
    sha256: "3902e642715210d1d9d7cbdcc8f5abd6f931d1d7a679cea3750937becf16c406",
    ..OPENSEARCH_2
};

const PLUGIN: Artifact = Artifact {
    group: "org.opensearch.plugin",
    name: "opensearch-security",
    version: "2.19.4.0",
    kind: "zip",
    sha256: "1f673622c462c4171a8c53f9b1ad20e5b839834cb79b0d3b388da180a0e514e8",
    folder: None,
};

const SETTINGS: [&str; 11] = [
    "plugins.security.ssl.transport.pemcert_filepath: node.pem",
    "plugins.security.ssl.transport.pemkey_filepath: node.key",
    "plugins.security.ssl.transport.pemtrustedcas_filepath: authority.pem",
    "plugins.security.ssl.transport.enforce_hostname_verification: false",
    "plugins.security.ssl.http.enabled: true",
    "plugins.security.ssl.http.pemcert_filepath: node.pem",
    "plugins.security.ssl.http.pemkey_filepath: node.key",
    "plugins.security.ssl.http.pemtrustedcas_filepath: authority.pem",
    "plugins.security.allow_default_init_securityindex: true",
    "plugins.security.authcz.admin_dn: [\"CN=administrator\"]",
    "plugins.security.nodes_dn: [\"CN=node\"]",
];

/// A certificate's common name is a user, without a password; everybody else needs one.
const LOGINS: &str = "
_meta: {type: config, config_version: 2}
config:
  dynamic:
    authc:
      certificate:
        http_enabled: true
        order: 0
        http_authenticator: {type: clientcert, challenge: false, config: {username_attribute: cn}}
        authentication_backend: {type: noop}
      basic:
        http_enabled: true
        order: 1
        http_authenticator: {type: basic, challenge: true}
        authentication_backend: {type: intern}
";

const INSTALL_DEADLINE: Duration = Duration::from_mins(5);
const TIMEOUT: Duration = Duration::from_mins(1);

/// A running server with the plugin.
#[derive(Debug)]
pub struct SecuredServer {
    server: Server,
    /// Whoever signs the certificates: of the server, and of those that come with one.
    pub authority: Authority,
    /// What one has to have, to trust the server and be an administrator.
    administrator: Arc<ClientConfig>,
    _folder: TempDir,
}

impl SecuredServer {
    /// Starts one with no user but the administrator, who has a certificate.
    pub fn start() -> Result<Self, StartError> {
        let java = java_for(&RELEASE)?;
        let install = |zip: &Path, tree: &Path| install(zip, tree, &java);
        let tree = fetch::unpacked_with(&RELEASE, &PLUGIN, install)?;
        let folder = tempfile::tempdir().context("making a folder for certificates")?;
        let authority = Authority::new(folder.path(), "authority")?;
        let node = authority.node("node", &["localhost", "127.0.0.1"])?;
        let administrator = client(&authority, &authority.client("administrator")?)?;
        let lay_out = |config: &Path| -> Result<()> {
            for file in [&authority.certificate, &node.certificate, &node.key] {
                let name = file.file_name().context("a file without a name")?;
                std::fs::copy(file, config.join(name)).context("copying a certificate")?;
            }
            let logins = config.join("opensearch-security/config.yml");
            std::fs::write(logins, LOGINS).context("writing who may log in how")
        };
        let tls = Some(Arc::clone(&administrator));
        let server =
            Server::start_installed(&RELEASE, Installed { tree, java }, &SETTINGS, &lay_out, tls)?;
        Ok(Self {
            server,
            authority,
            administrator,
            _folder: folder,
        })
    }

    /// As [`SecuredServer::start`], for tests: `None`, after saying so, when this machine cannot run it.
    ///
    /// # Panics
    /// When it should have started and has not, or when skipping is forbidden.
    pub fn start_or_skip() -> Option<Self> {
        started_or_skip(&RELEASE, Self::start())
    }

    /// `localhost:PORT`; TLS only.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.server.port)
    }

    /// A request of the administrator, whatever its status.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Response> {
        let address = environment::loopback(self.server.port);
        let body = body.map(Value::to_string);
        let tls = &self.administrator;
        http::request_over_tls(tls, address, method, path, body.as_deref(), TIMEOUT)
    }

    /// Makes or changes a part of the security: `internalusers/NAME`, `roles/NAME`, `rolesmapping/NAME`.
    pub fn secure(&self, what: &str, body: &Value) -> Result<()> {
        let path = format!("/_plugins/_security/api/{what}");
        let answer = self.request("PUT", &path, Some(body))?;
        let is_done = matches!(answer.status, 200 | 201);
        ensure!(is_done, "{what}: {} {}", answer.status, answer.text());
        Ok(())
    }

    /// The documents of an index, up to ten thousand, each with its `_source`; none if there is no index.
    pub fn documents(&self, index: &str) -> Result<Vec<Value>> {
        let lenient = "ignore_unavailable=true&allow_no_indices=true";
        self.request("POST", &format!("/{index}/_refresh?{lenient}"), None)?;
        let path = format!("/{index}/_search?size=10000&{lenient}");
        let mut answer = self.request("GET", &path, None)?.json()?;
        match answer["hits"]["hits"].take() {
            Value::Array(hits) => Ok(hits),
            _ => anyhow::bail!("no hits in {answer}"),
        }
    }
}

/// Puts the plugin into a distribution, by the distribution's own tool.
fn install(zip: &Path, tree: &Path, java: &Path) -> Result<()> {
    let mut command = Command::new(tree.join("bin/opensearch-plugin"));
    command
        .args(["install", "--batch"])
        .arg(format!("file://{}", zip.display()))
        .env("OPENSEARCH_JAVA_HOME", java)
        .stdin(Stdio::null());
    let logs = tempfile::tempdir().context("making a folder for the plugin's log")?;
    process::run("plugin", command, logs.path(), INSTALL_DEADLINE)?;
    Ok(())
}

fn client(authority: &Authority, identity: &Identity) -> Result<Arc<ClientConfig>> {
    let read = |path: &PathBuf| -> Result<CertificateDer<'static>> {
        CertificateDer::from_pem_file(path).with_context(|| format!("reading {}", path.display()))
    };
    let mut roots = RootCertStore::empty();
    roots.add(read(&authority.certificate)?)?;
    let key = PrivateKeyDer::from_pem_file(&identity.key).context("reading a key")?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![read(&identity.certificate)?], key)?;
    Ok(Arc::new(config))
}
