//! Requests signed for Amazon's services, into a real OpenSearch behind a gate that computes each signature anew
//! with Amazon's own library for Python, and with credentials from stand-ins for whoever gives some.
//!
//! Numbers in names are complaints about other tools.

#![expect(
    clippy::unwrap_used,
    reason = "a failed step of a test is a failed test"
)]

use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use skidder_tests::amazon::{Amazon, FIXED_KEYS, REGION};
use skidder_tests::daemon::Daemon;
use skidder_tests::environment;
use skidder_tests::servers::{OPENSEARCH_2, Search, Server};
use skidder_tests::site::Site;
use skidder_tests::wait;
use skidder_tests::writers::Plan;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_mins(2);
/// This machine may have credentials of its own.
const WITHOUT_CREDENTIALS_OF_ITS_OWN: [&str; 9] = [
    "env",
    "-u",
    "AWS_ACCESS_KEY_ID",
    "-u",
    "AWS_PROFILE",
    "-u",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "-u",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
];
const ROLE: &str = "arn:aws:iam::123456789012:role/logs";

/// One server for all: a JVM takes longer to start than all else here.
#[test]
fn signed_requests() {
    let Some(server) = Server::start_or_skip(&OPENSEARCH_2, &[]) else {
        return;
    };
    complaint_33_credentials_of_an_instance_rotate(&server);
    credentials_that_were_revoked(&server);
    every_source_of_credentials(&server);
    refusals_are_alarms_and_never_losses(&server);
    a_clock_that_is_wrong(&server);
    plugins_of_logstash_unchanged(&server);
    a_serverless_collection(&server);
}

/// What one test needs.
struct Case {
    folder: TempDir,
    amazon: Amazon,
    search: Search,
}

impl Case {
    fn new(server: &Server, service: &str, lifetime: Duration) -> Option<Self> {
        let folder = tempfile::Builder::new()
            .prefix("skidder-amazon-")
            .tempdir()
            .unwrap();
        let amazon =
            Amazon::start_or_skip(folder.path(), &server.host(), service, lifetime).unwrap()?;
        Some(Self {
            folder,
            amazon,
            search: server.search(),
        })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn host(&self) -> String {
        format!("http://127.0.0.1:{}", self.amazon.gate())
    }

    /// An aggregator that asks nobody but the stand-ins for credentials.
    fn aggregator(&self, name: &str, pipeline: &str) -> Daemon {
        self.aggregator_with(name, pipeline, &[])
    }

    /// The same with these variables, instead of those of this machine.
    fn aggregator_with(&self, name: &str, pipeline: &str, variables: &[(&str, String)]) -> Daemon {
        let metadata = self.amazon.metadata();
        let set = variables
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let set: Vec<String> = set.collect();
        let mut runner = WITHOUT_CREDENTIALS_OF_ITS_OWN.to_vec();
        runner.extend(set.iter().map(String::as_str));
        Daemon::aggregator(self.path(), name, pipeline)
            .unwrap()
            .run_by(&runner)
            .with_variable("HOME", &self.path().to_string_lossy())
            .with_variable("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata)
            .with_variable("AWS_ENDPOINT_URL_STS", &metadata)
            .with_variable("AWS_ENDPOINT_URL_SSO", &metadata)
    }

    /// An output that signs, with more members of `auth_type`.
    fn output(&self, index: &str, members: &str) -> String {
        format!(
            "output {{ opensearch {{ hosts => ['{}'] index => '{index}' manage_template => false \
             retry_initial_interval => 1 retry_max_interval => 1
             auth_type => {{ type => aws_iam region => '{REGION}' {members} }} }} }}",
            self.host()
        )
    }

    fn wait_for(&self, index: &str, count: u64, daemon: &Daemon) {
        let arrived = self.search.wait_for_count(index, count, PATIENCE);
        assert!(
            arrived.as_ref().is_ok_and(|found| *found == count),
            "{index}: {arrived:?}\n{}\n{:?}",
            daemon.log(),
            self.amazon.seen()
        );
    }

    /// How many requests were refused, and by which keys others were signed.
    fn seen(&self) -> (usize, Vec<String>) {
        let seen = self.amazon.seen().unwrap();
        let refused = seen.iter().filter(|one| one["who"].is_null()).count();
        let mut keys: Vec<String> = seen
            .iter()
            .filter_map(|one| one["who"].as_str().map(str::to_owned))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        (refused, keys)
    }
}

/// A way into an aggregator, line by line.
struct Lines {
    port: u16,
    stream: Option<TcpStream>,
}

impl Lines {
    fn new() -> Self {
        let port = environment::free_port().unwrap();
        Self { port, stream: None }
    }

    fn input(&self) -> String {
        format!(
            "input {{ tcp {{ host => '127.0.0.1' port => {} }} }}\n",
            self.port
        )
    }

    fn write(&mut self, line: &str) {
        let port = self.port;
        let stream = self
            .stream
            .get_or_insert_with(|| TcpStream::connect(environment::loopback(port)).unwrap());
        writeln!(stream, "{line}").unwrap();
    }
}

fn complaint_33_credentials_of_an_instance_rotate(server: &Server) {
    let Some(case) = Case::new(server, "es", Duration::from_secs(6)) else {
        return;
    };
    let mut lines = Lines::new();
    let pipeline = lines.input() + &case.output("rotating", "");
    let mut aggregator = case.aggregator("rotating", &pipeline);
    aggregator.start_listening(lines.port).unwrap();
    let mut written = 0;
    let wait_for_keys = |lines: &mut Lines, written: &mut u64, wanted: usize| {
        wait::until("keys to rotate under load", PATIENCE, || {
            lines.write(&format!("line {written}"));
            *written += 1;
            let keys = case.seen().1.len();
            if keys >= wanted {
                Ok(())
            } else {
                Err(format!("{keys} keys"))
            }
        })
        .unwrap();
    };
    wait_for_keys(&mut lines, &mut written, 4);
    case.wait_for("rotating", written, &aggregator);
    assert_eq!(case.seen().0, 0, "{}", aggregator.log());
    assert!(
        !case
            .amazon
            .given()
            .unwrap()
            .contains(&json!("without a token"))
    );

    // Nobody gives new ones for a while: the old ones run out, are refused, and nothing is lost.
    case.amazon.break_metadata(true).unwrap();
    wait::until(
        "requests with old credentials to be refused",
        PATIENCE,
        || {
            lines.write(&format!("line {written}"));
            written += 1;
            if case.seen().0 > 0 {
                Ok(())
            } else {
                Err("none".to_owned())
            }
        },
    )
    .unwrap();
    aggregator
        .process()
        .unwrap()
        .wait_for_log("cannot get credentials to sign requests with", PATIENCE)
        .unwrap();
    case.amazon.break_metadata(false).unwrap();
    case.wait_for("rotating", written, &aggregator);
    assert!(
        aggregator.terminate().unwrap().success(),
        "{}",
        aggregator.log()
    );
}

/// They should have been good for much longer.
fn credentials_that_were_revoked(server: &Server) {
    let Some(case) = Case::new(server, "es", Duration::from_mins(20)) else {
        return;
    };
    let mut lines = Lines::new();
    let pipeline = lines.input() + &case.output("revoked", "");
    let mut aggregator = case.aggregator("revoked", &pipeline);
    aggregator.start_listening(lines.port).unwrap();
    lines.write("before");
    case.wait_for("revoked", 1, &aggregator);
    case.amazon.revoke().unwrap();
    lines.write("after");
    case.wait_for("revoked", 2, &aggregator);
    let (refused, keys) = case.seen();
    assert!(refused > 0 && keys.len() == 2, "{refused} {keys:?}");
    assert!(
        aggregator.terminate().unwrap().success(),
        "{}",
        aggregator.log()
    );
}

/// A way to credentials: its name, members of `auth_type`, variables, and who gives them then.
type Way<'w> = (&'w str, String, Vec<(&'w str, String)>, &'w str);

fn every_source_of_credentials(server: &Server) {
    let Some(case) = Case::new(server, "es", Duration::from_mins(20)) else {
        return;
    };
    let (id, secret) = FIXED_KEYS;
    let fixed = format!("aws_access_key_id => '{id}' aws_secret_access_key => '{secret}'");
    let file = |name: &str, text: &str| -> (PathBuf, String) {
        let path = case.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        let shown = path.to_string_lossy().into_owned();
        (path, shown)
    };
    let metadata = case.amazon.metadata();
    let (_, process) = file(
        "process.json",
        &json!({ "Version": 1, "AccessKeyId": id, "SecretAccessKey": secret }).to_string(),
    );
    file(
        ".aws/config",
        &format!(
            "[default]\nregion = us-east-2\n\
             [profile keys]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n\
             [profile process]\ncredential_process = cat {process}\n\
             [profile chained]\nrole_arn = {ROLE}\nsource_profile = keys\nrole_session_name = chained\n\
             [profile sso]\nsso_session = site\nsso_account_id = 123456789012\nsso_role_name = logs\n\
             [sso-session site]\nsso_region = {REGION}\nsso_start_url = https://site.example/start\n"
        ),
    );
    // The name is the SHA-1 of `site`: where `aws sso login` leaves what it was given.
    file(
        ".aws/sso/cache/c099a42a5555825cdb50df0c04932bcd29613457.json",
        &json!({
            "accessToken": "sso-token",
            "expiresAt": "2100-01-01T00:00:00Z",
            "region": REGION,
            "startUrl": "https://site.example/start",
        })
        .to_string(),
    );
    let (_, web_token) = file("web-token", "web-token");
    let (_, pod_token) = file("pod-token", "container-token");
    let variable = |name, value: &str| (name, value.to_owned());
    let ways: [Way<'_>; 13] = [
        ("options", fixed.clone(), vec![], ""),
        (
            "environment",
            String::new(),
            vec![
                variable("AWS_ACCESS_KEY_ID", id),
                variable("AWS_SECRET_ACCESS_KEY", secret),
            ],
            "",
        ),
        ("profile", "profile => keys".to_owned(), vec![], ""),
        (
            "profile-of-the-environment",
            String::new(),
            vec![variable("AWS_PROFILE", "keys")],
            "",
        ),
        ("process", "profile => process".to_owned(), vec![], ""),
        (
            "chained",
            "profile => chained".to_owned(),
            vec![],
            "role chained",
        ),
        ("single-sign-on", "profile => sso".to_owned(), vec![], "sso"),
        (
            "web-identity",
            String::new(),
            vec![
                variable("AWS_WEB_IDENTITY_TOKEN_FILE", &web_token),
                variable("AWS_ROLE_ARN", ROLE),
            ],
            "web identity",
        ),
        (
            "container",
            String::new(),
            vec![
                variable(
                    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                    &format!("{metadata}/container"),
                ),
                variable("AWS_CONTAINER_AUTHORIZATION_TOKEN", "container-token"),
            ],
            "container",
        ),
        (
            "pod-identity",
            String::new(),
            vec![
                variable(
                    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                    &format!("{metadata}/container"),
                ),
                variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &pod_token),
            ],
            "container",
        ),
        ("instance", String::new(), vec![], "instance"),
        (
            "role",
            format!("{fixed} role_arn => '{ROLE}'"),
            vec![],
            "role skidder",
        ),
        (
            "role-from-outside",
            format!(
                "{fixed} role_arn => '{ROLE}' external_id => 'from-outside' role_session_name => night"
            ),
            vec![],
            "role from outside night",
        ),
    ];
    for (name, members, variables, giver) in ways {
        let before = case.amazon.given().unwrap().len();
        let pipeline = format!(
            "input {{ generator {{ message => '{name}' count => 3 }} }}\n{}",
            case.output(name, &members)
        );
        let mut aggregator = case.aggregator_with(name, &pipeline, &variables);
        aggregator.start().unwrap();
        let ended = aggregator.process().unwrap().wait(PATIENCE);
        assert!(
            ended.as_ref().is_ok_and(std::process::ExitStatus::success),
            "{name}: {ended:?}\n{}",
            aggregator.log()
        );
        case.wait_for(name, 3, &aggregator);
        let given = case.amazon.given().unwrap()[before..].to_vec();
        let expected: Vec<Value> = Some(giver)
            .filter(|giver| !giver.is_empty())
            .map(Value::from)
            .into_iter()
            .collect();
        assert_eq!(given, expected, "{name}\n{}", aggregator.log());
    }
    assert_eq!(case.seen().0, 0);
}

fn refusals_are_alarms_and_never_losses(server: &Server) {
    let Some(case) = Case::new(server, "es", Duration::from_mins(20)) else {
        return;
    };
    let (id, _) = FIXED_KEYS;
    let mut lines = Lines::new();
    let members = format!("aws_access_key_id => '{id}' aws_secret_access_key => 'another'");
    let pipeline = lines.input() + &case.output("refused", &members);
    let mut aggregator = case.aggregator("refused", &pipeline);
    aggregator.start_listening(lines.port).unwrap();
    lines.write("with a wrong secret");
    let wait_for_log = |aggregator: &mut Daemon, words: &str| {
        aggregator
            .process()
            .unwrap()
            .wait_for_log(words, PATIENCE)
            .unwrap();
    };
    wait_for_log(
        &mut aggregator,
        "the secret key does not belong to the access key",
    );
    case.amazon.change_secret("another").unwrap();
    case.wait_for("refused", 1, &aggregator);

    // Throttled in two ways, then without the right, as the service says these.
    let throttled = json!([
        [403, "{\"message\":\"Rate exceeded\"}", { "x-amzn-ErrorType": "ThrottlingException" }],
        [403, "{\"message\":\"Request throttled due to too many requests\"}", {}],
        [429, "{\"message\":\"Too Many Requests\"}", {}],
    ]);
    case.amazon.refuse(&throttled).unwrap();
    lines.write("too much at a time");
    case.wait_for("refused", 2, &aggregator);
    wait_for_log(&mut aggregator, "server is busy, sending again");
    let words = format!(
        "User: {ROLE} is not authorized to perform: es:ESHttpPost because no identity-based policy allows \
         the es:ESHttpPost action"
    );
    // Often enough to be said again: it was said a moment ago that access is denied.
    let denied = json!([403, json!({ "Message": words }).to_string(), {}]);
    case.amazon.refuse(&json!(vec![denied; 40])).unwrap();
    lines.write("without the right");
    wait_for_log(&mut aggregator, "lacks `es:ESHttpPost`");
    case.wait_for("refused", 3, &aggregator);
    assert!(
        aggregator.terminate().unwrap().success(),
        "{}",
        aggregator.log()
    );
}

fn a_clock_that_is_wrong(server: &Server) {
    let Some(case) = Case::new(server, "es", Duration::from_mins(20)) else {
        return;
    };
    let (id, secret) = FIXED_KEYS;
    for (index, seconds) in [("clock-ahead", 3600), ("clock-behind", -7200)] {
        case.amazon.set_clock(seconds).unwrap();
        let members = format!("aws_access_key_id => '{id}' aws_secret_access_key => '{secret}'");
        let pipeline = format!(
            "input {{ generator {{ message => 'a' count => 2 }} }}\n{}",
            case.output(index, &members)
        );
        let before = case.seen().0;
        let mut aggregator = case.aggregator(index, &pipeline);
        aggregator.start().unwrap();
        let ended = aggregator.process().unwrap().wait(PATIENCE).unwrap();
        assert!(ended.success(), "{}", aggregator.log());
        case.wait_for(index, 2, &aggregator);
        // The first is refused, and teaches what time it is there.
        assert_eq!(case.seen().0, before + 1, "{}", aggregator.log());
        assert!(aggregator.log().contains("Set this machine's clock"));
    }
}

/// The configurations stand as in the manuals of the two plugins, but for the host's name and the plain connection.
fn plugins_of_logstash_unchanged(server: &Server) {
    let Some(case) = Case::new(server, "es", Duration::from_mins(20)) else {
        return;
    };
    let (id, secret) = FIXED_KEYS;
    let port = case.amazon.gate();
    let amazon_es = format!(
        "output {{
    amazon_es {{
        hosts => [\"127.0.0.1\"]
        region => \"{REGION}\"
        # aws_access_key_id and aws_secret_access_key are optional if instance profile is configured
        aws_access_key_id => '{id}'
        aws_secret_access_key => '{secret}'
        index => \"production-logs-%{{+YYYY.MM.dd}}\"
        protocol => \"http\"
        port => {port}
    }}
}}"
    );
    let opensearch = format!(
        "output {{
    opensearch {{
        hosts       => [\"http://127.0.0.1:{port}\"]
        auth_type   => {{
            type => 'aws_iam'
            aws_access_key_id => '{id}'
            aws_secret_access_key => '{secret}'
            region => '{REGION}'
            service_name => 'es'
        }}
        index       => \"logstash-logs-%{{+YYYY.MM.dd}}\"
        ecs_compatibility => disabled
        default_server_major_version => 2
        legacy_template => false
    }}
}}"
    );
    for (name, output, index) in [
        ("amazon_es", amazon_es, "production-logs-*"),
        ("opensearch", opensearch, "logstash-logs-*"),
    ] {
        let pipeline = format!("input {{ generator {{ count => 5 }} }}\n{output}\n");
        let mut aggregator = case.aggregator(name, &pipeline);
        aggregator.start().unwrap();
        let ended = aggregator.process().unwrap().wait(PATIENCE).unwrap();
        assert!(ended.success(), "{}", aggregator.log());
        case.wait_for(index, 5, &aggregator);
    }
    let (refused, keys) = case.seen();
    assert_eq!((refused, keys), (0, vec![id.to_owned()]));
    let seen = case.amazon.seen().unwrap();
    // The bodies are compressed, and signed as they are.
    assert!(seen.iter().any(|one| one["gzip"] == true));
}

/// Collections of the type time series take no ids, and our lines have some.
fn a_serverless_collection(server: &Server) {
    const LINES: u64 = 500;
    let Some(case) = Case::new(server, "aoss", Duration::from_mins(20)) else {
        return;
    };
    let (id, secret) = FIXED_KEYS;
    let members = format!(
        "service_name => aoss aws_access_key_id => '{id}' aws_secret_access_key => '{secret}'"
    );
    let site = Site::new().unwrap();
    let mut aggregator = site
        .aggregator(&case.output("serverless", &members))
        .unwrap();
    aggregator.start_listening(site.port).unwrap();
    let mut forwarder = site.forwarder().unwrap();
    forwarder.start().unwrap();
    Plan::new(&site.log(), LINES).write().unwrap();
    case.wait_for("serverless", LINES, &aggregator);
    assert!(forwarder.terminate().unwrap().success());
    assert!(aggregator.terminate().unwrap().success());
    let log = aggregator.log();
    assert!(
        log.contains("takes no ids: they go into the field"),
        "{log}"
    );
    assert_eq!(case.seen().0, 0, "{log}");
    let mut ids: Vec<String> = case
        .search
        .every("serverless", "dedupe_id")
        .unwrap()
        .iter()
        .map(Value::to_string)
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len() as u64, LINES);
}
