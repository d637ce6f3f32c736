//! Delivery into a real OpenSearch with its security plugin: TLS, passwords, client certificates, rights.
//!
//! One server for all of it, because it takes longest to start. Whoever lacks a password or a right is told so in the log, and
//! everything waits until somebody has mended it on the server: nothing is lost, and nothing restarted.

#![expect(
    clippy::unwrap_used,
    reason = "a failed step of a test is a failed test"
)]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use skidder_tests::daemon::Program;
use skidder_tests::process::Process;
use skidder_tests::servers::SecuredServer;

const DEADLINE: Duration = Duration::from_mins(2);
const PASSWORD: &str = "many-Words-and-7-numbers";
/// What the aggregator believes to be the password, before it is.
const NEW_PASSWORD: &str = "other-Words-and-8-numbers";

#[test]
fn passwords_certificates_and_rights() {
    let Some(server) = SecuredServer::start_or_skip() else {
        return;
    };
    let rights = |index: &str, cluster: &[&str]| {
        json!({
            "cluster_permissions": cluster,
            "index_permissions": [{
                "index_patterns": [index],
                "allowed_actions": ["create_index", "crud", "indices:admin/mapping/put", "indices:admin/mappings/get"],
            }],
        })
    };
    let cluster = [
        "cluster_composite_ops",
        "cluster_monitor",
        "indices:admin/index_template/*",
    ];
    server
        .secure("roles/shipping", &rights("logs-*", &cluster))
        .unwrap();
    server
        .secure("internalusers/shipper", &json!({ "password": PASSWORD }))
        .unwrap();
    // The second one has a certificate, and no password at all.
    let users = json!({ "users": ["shipper", "certified"] });
    server.secure("rolesmapping/shipping", &users).unwrap();

    let site = Site {
        folder: tempfile::tempdir().unwrap(),
        server,
    };
    site.a_password_over_tls();
    site.a_certificate_without_a_password();
    site.a_wrong_password_waits_until_it_is_right();
    site.doctor_names_the_right_that_lacks();
    site.a_right_that_lacks_waits_until_it_is_given(&rights);
    site.who_is_not_trusted_gets_nothing();
}

struct Site {
    folder: tempfile::TempDir,
    server: SecuredServer,
}

impl Site {
    fn login(password: &str) -> String {
        format!("user => shipper password => \"{password}\"")
    }

    fn output(&self, index: &str, login: &str, authority: &Path) -> String {
        format!(
            "output {{ elasticsearch {{ hosts => [\"https://{}\"] index => \"{index}\" {login}\n\
             ssl_certificate_authorities => \"{}\" document_id => \"%{{n}}\" action => create\n\
             retry_initial_interval => 1 retry_max_interval => 1 resurrect_delay => 1 }} }}",
            self.server.host(),
            authority.display()
        )
    }

    /// An aggregator that ends when ten events are in the index.
    fn start(&self, index: &str, login: &str, authority: &Path) -> (Process, PathBuf) {
        let data = self.folder.path().join(index);
        std::fs::create_dir(&data).unwrap();
        let events: Vec<String> = (0..10)
            .map(|n| format!("{}\n", json!({ "n": n })))
            .collect();
        std::fs::write(data.join("events"), events.concat()).unwrap();
        let mut command = Program::Aggregator.command();
        let output = self.output(index, login, authority);
        command
            .args(["--api.enabled=false", "-e"])
            .arg(format!(
                "input {{ stdin {{ codec => json_lines }} }} {output}"
            ))
            .arg("--path.data")
            .arg(&data)
            .stdin(File::open(data.join("events")).unwrap());
        (Process::start("aggregator", command, &data).unwrap(), data)
    }

    fn trusting(&self, index: &str, login: &str) -> (Process, PathBuf) {
        self.start(index, login, &self.server.authority.certificate)
    }

    /// The aggregator ends by itself, and everything is there once.
    fn arrives(&self, index: &str, mut process: Process, data: &Path) {
        let status = process.wait(DEADLINE).unwrap();
        assert!(status.success(), "{}", process.quoted_log());
        let documents = self.server.documents(index).unwrap();
        let mut numbers: Vec<u64> = documents
            .iter()
            .map(|document| document["_source"]["n"].as_u64().unwrap())
            .collect();
        numbers.sort_unstable();
        assert_eq!(
            numbers,
            (0..10).collect::<Vec<_>>(),
            "{}",
            process.quoted_log()
        );
        let letters = data.join("dead_letter_queue/main/000000001.jsonl");
        assert!(!letters.try_exists().unwrap(), "{}", process.quoted_log());
    }

    /// It has said that access is denied, with these words, and goes on trying.
    fn waits(&self, index: &str, process: &mut Process, words: &[&str]) {
        process.wait_for_log("denies access", DEADLINE).unwrap();
        let log = process.stderr();
        let alarm = log
            .lines()
            .find(|line| line.contains("denies access"))
            .unwrap();
        for word in words {
            assert!(alarm.contains(word), "no `{word}` in {alarm}");
        }
        assert!(alarm.contains("ERROR"), "{alarm}");
        assert!(process.running(), "{log}");
        assert_eq!(self.server.documents(index).unwrap(), Vec::<Value>::new());
    }

    fn a_password_over_tls(&self) {
        let (process, data) = self.trusting("logs-password", &Self::login(PASSWORD));
        self.arrives("logs-password", process, &data);
    }

    fn a_certificate_without_a_password(&self) {
        let identity = self.server.authority.client("certified").unwrap();
        let login = format!(
            "ssl_certificate => \"{}\" ssl_key => \"{}\"",
            identity.certificate.display(),
            identity.key.display()
        );
        let (process, data) = self.trusting("logs-certificate", &login);
        self.arrives("logs-certificate", process, &data);
        // Of the same authority, but nobody that the server knows: named in the alarm.
        let nobody = self.server.authority.client("stranger").unwrap();
        let login = format!(
            "ssl_certificate => \"{}\" ssl_key => \"{}\"",
            nobody.certificate.display(),
            nobody.key.display()
        );
        let (mut process, _) = self.trusting("logs-stranger", &login);
        self.waits("logs-stranger", &mut process, &["403", "stranger"]);
    }

    fn a_wrong_password_waits_until_it_is_right(&self) {
        let (mut process, data) = self.trusting("logs-wrong", &Self::login(NEW_PASSWORD));
        self.waits(
            "logs-wrong",
            &mut process,
            &["401", "`user` and `password`"],
        );
        let changed = json!({ "password": NEW_PASSWORD });
        self.server
            .secure("internalusers/shipper", &changed)
            .unwrap();
        self.arrives("logs-wrong", process, &data);
    }

    fn doctor(&self, index: &str, password: &str) -> (bool, String) {
        let output = self.output(
            index,
            &Self::login(password),
            &self.server.authority.certificate,
        );
        let said = Program::Aggregator
            .command()
            .args(["doctor", "-e"])
            .arg(format!("input {{ stdin {{ }} }} {output}"))
            .output()
            .unwrap();
        (
            said.status.success(),
            String::from_utf8(said.stdout).unwrap(),
        )
    }

    fn doctor_names_the_right_that_lacks(&self) {
        let (success, said) = self.doctor("logs-new", NEW_PASSWORD);
        assert!(
            success && said.contains("ok       writing     into `logs-new`"),
            "{said}"
        );
        let (success, said) = self.doctor("secret", NEW_PASSWORD);
        assert!(!success, "{said}");
        let writing = said.lines().find(|line| line.contains(" writing "));
        let writing = writing.unwrap_or_else(|| panic!("{said}"));
        for words in ["error", "403", "`secret`", "indices:data/write"] {
            assert!(writing.contains(words), "no `{words}` in {writing}");
        }
        let (success, said) = self.doctor("logs-new", PASSWORD);
        assert!(
            !success && said.contains("error    login       401"),
            "{said}"
        );
    }

    fn a_right_that_lacks_waits_until_it_is_given(&self, rights: &dyn Fn(&str, &[&str]) -> Value) {
        let (mut process, data) = self.trusting("secret", &Self::login(NEW_PASSWORD));
        self.waits(
            "secret",
            &mut process,
            &["403", "index=\"secret\"", "indices:admin/create"],
        );
        self.server
            .secure("roles/secrets", &rights("secret", &[]))
            .unwrap();
        let user = json!({ "users": ["shipper"] });
        self.server.secure("rolesmapping/secrets", &user).unwrap();
        self.arrives("secret", process, &data);
    }

    fn who_is_not_trusted_gets_nothing(&self) {
        let other =
            skidder_tests::certificates::Authority::new(self.folder.path(), "other").unwrap();
        let (mut process, _) =
            self.start("logs-trust", &Self::login(NEW_PASSWORD), &other.certificate);
        process.wait_for_log("certificate", DEADLINE).unwrap();
        assert!(process.running(), "{}", process.quoted_log());
        assert_eq!(
            self.server.documents("logs-trust").unwrap(),
            Vec::<Value>::new()
        );
    }
}
