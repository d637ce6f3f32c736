//! A host in a cloud: what its events carry, and what is done when it is about to go. The metadata service
//! and Auto Scaling are stand-ins on the loopback; the latter checks signatures.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skidder_forwarder::cloud::sigv4::{self, Credentials};

use super::support::{Behaviour, PATIENCE, Place, Program, Receiver, assert_each_once, lines};

const SECRET: &str = "a/secret+of/the/role";
const SESSION: &str = "session==";

/// A request as it came.
struct Request {
    method: String,
    target: String,
    headers: HashMap<String, String>,
    body: String,
}

impl Request {
    fn read(stream: &mut BufReader<TcpStream>) -> Option<Self> {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let mut words = line.split_whitespace();
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut headers = HashMap::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            headers.insert(name.to_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length")?.parse().ok()?;
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        let body = String::from_utf8(body).ok()?;
        Some(Self {
            method,
            target,
            headers,
            body,
        })
    }
}

/// Serves until the test is over; the address.
fn serve(answer: impl Fn(&Request) -> (u16, String) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = BufReader::new(stream);
            let Some(request) = Request::read(&mut stream) else {
                continue;
            };
            let (status, body) = answer(&request);
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            // Whoever asked may be gone.
            drop(stream.get_mut().write_all((head + &body).as_bytes()));
        }
    });
    format!("http://{address}")
}

/// The metadata service, version 2.
#[derive(Clone)]
struct Metadata {
    address: String,
    values: Arc<Mutex<HashMap<String, String>>>,
    without_token: Arc<Mutex<usize>>,
}

impl Metadata {
    fn start() -> Self {
        let values: Arc<Mutex<HashMap<String, String>>> = Arc::default();
        let without_token: Arc<Mutex<usize>> = Arc::default();
        let (for_server, counter) = (Arc::clone(&values), Arc::clone(&without_token));
        let address = serve(move |request| {
            let values = for_server.lock().expect("not poisoned");
            if values.contains_key("off") {
                return (403, String::new());
            }
            let path = request.target.as_str();
            if request.method == "PUT" && path == "/latest/api/token" {
                let seconds = request.headers.get("x-aws-ec2-metadata-token-ttl-seconds");
                let seconds = seconds.and_then(|seconds| seconds.parse::<u32>().ok());
                return match seconds {
                    Some(1..=21_600) => (200, "a-token".to_owned()),
                    _ => (400, String::new()),
                };
            }
            match request
                .headers
                .get("x-aws-ec2-metadata-token")
                .map(String::as_str)
            {
                Some("a-token") => {}
                other => {
                    *counter.lock().expect("not poisoned") += usize::from(other.is_none());
                    return (401, String::new());
                }
            }
            match values.get(path) {
                Some(value) => (200, value.clone()),
                None => (404, String::new()),
            }
        });
        let metadata = Self {
            address,
            values,
            without_token,
        };
        metadata.set(
            "/latest/dynamic/instance-identity/document",
            &json!({
                "instanceId": "i-0123456789abcdef0", "instanceType": "m7g.large", "region": "eu-west-1",
                "availabilityZone": "eu-west-1b", "accountId": "123456789012", "imageId": "ami-1",
                "kernelId": null, "privateIp": "192.0.2.1",
            })
            .to_string(),
        );
        metadata.set(
            "/latest/meta-data/tags/instance/aws:autoscaling:groupName",
            "web group",
        );
        metadata.set("/latest/meta-data/tags/instance/team.name", "shop");
        let role = "/latest/meta-data/iam/security-credentials/";
        metadata.set(role, "web-role");
        metadata.set(
            &format!("{role}web-role"),
            &json!({"Code": "Success", "AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": SECRET,
                "Token": SESSION, "Expiration": "2099-01-01T00:00:00Z"})
            .to_string(),
        );
        metadata
    }

    fn set(&self, path: &str, value: &str) {
        let mut values = self.values.lock().expect("not poisoned");
        values.insert(path.to_owned(), value.to_owned());
    }

    fn remove(&self, path: &str) {
        self.values.lock().expect("not poisoned").remove(path);
    }
}

/// Auto Scaling: what it was told, by requests whose signature is right.
struct AutoScaling {
    address: String,
    told: Arc<Mutex<Vec<HashMap<String, String>>>>,
}

impl AutoScaling {
    /// The first completion is refused, as when there are too many requests.
    fn start() -> Self {
        let told: Arc<Mutex<Vec<HashMap<String, String>>>> = Arc::default();
        let for_server = Arc::clone(&told);
        let address = serve(move |request| {
            if !is_signed(request) {
                let error =
                    "<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message></Error>";
                return (403, error.to_owned());
            }
            let parameters: HashMap<String, String> = request
                .body
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .map(|(name, value)| (name.to_owned(), value.replace("%20", " ")))
                .collect();
            let mut told = for_server.lock().expect("not poisoned");
            let action = parameters["Action"].clone();
            let earlier = told.iter().any(|earlier| earlier["Action"] == action);
            told.push(parameters);
            match action.as_str() {
                "DescribeLifecycleHooks" => (
                    200,
                    "<LifecycleHooks><member><LifecycleHookName>up</LifecycleHookName>\
                     <LifecycleTransition>autoscaling:EC2_INSTANCE_LAUNCHING</LifecycleTransition></member>\
                     <member><LifecycleHookName>down</LifecycleHookName>\
                     <LifecycleTransition>autoscaling:EC2_INSTANCE_TERMINATING</LifecycleTransition>\
                     </member></LifecycleHooks>"
                        .to_owned(),
                ),
                "CompleteLifecycleAction" if !earlier => (
                    400,
                    "<Error><Code>Throttling</Code><Message>Rate exceeded</Message></Error>".to_owned(),
                ),
                _ => (200, "<Response/>".to_owned()),
            }
        });
        Self { address, told }
    }

    fn told(&self, action: &str) -> Vec<HashMap<String, String>> {
        let told = self.told.lock().expect("not poisoned");
        let told = told.iter().filter(|told| told["Action"] == action);
        told.cloned().collect()
    }
}

fn is_signed(request: &Request) -> bool {
    let got = &request.headers["authorization"];
    let names = got
        .split_once("SignedHeaders=")
        .and_then(|(_, rest)| rest.split_once(','))
        .map(|(names, _)| names.split(';').collect::<Vec<_>>());
    let names = names.expect("signed headers");
    assert!(
        names.contains(&"host") && names.contains(&"x-amz-security-token"),
        "{got}"
    );
    let headers: Vec<(&str, &str)> = names
        .iter()
        .map(|name| (*name, request.headers[*name].as_str()))
        .collect();
    assert_eq!(request.headers["x-amz-security-token"], SESSION);
    let expected = sigv4::Request {
        method: &request.method,
        path: &request.target,
        query: "",
        headers: &headers,
        body: request.body.as_bytes(),
        region: "eu-west-1",
        service: "autoscaling",
        time: &request.headers["x-amz-date"],
    };
    let credentials = Credentials {
        key: "ASIAEXAMPLE".to_owned(),
        secret: SECRET.to_owned(),
        token: None,
    };
    *got == sigv4::authorization(&expected, &credentials)
}

/// A forwarder in the cloud.
fn start(
    place: &Place,
    receiver: &Receiver,
    metadata: &Metadata,
    network: &str,
    more: &str,
) -> Program {
    let network = format!(
        "{{servers: [\"{}\"], tls: off, timeout: 20s, cloud: ec2, cloud interval: 50ms, \
         metadata timeout: 5s, {network}}}",
        receiver.address
    );
    let config = place.config_with(&network, "*.log", more);
    run(place, &config, metadata)
}

fn run(place: &Place, config: &Path, metadata: &Metadata) -> Program {
    let config = config.to_str().expect("text");
    let environment = [(
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        metadata.address.as_str(),
    )];
    Program::start_with(
        &["run", "--config", config],
        place.root.path(),
        &environment,
    )
}

#[test]
fn events_carry_what_the_host_is() {
    let (place, receiver, metadata) = (Place::new(), Receiver::start(), Metadata::start());
    place.append("app.log", "one\n");
    let tags = "cloud tags: [team.name, missing]";
    let program = start(&place, &receiver, &metadata, tags, "");
    receiver.wait_for(1);
    let event = &receiver.arrived()[0];
    let cloud: Value = serde_json::from_str(&event.fields["cloud"]).expect("an object");
    let expected = json!({
        "provider": "aws", "instance": {"id": "i-0123456789abcdef0"}, "machine": {"type": "m7g.large"},
        "availability_zone": "eu-west-1b", "region": "eu-west-1", "account": {"id": "123456789012"},
        "image": {"id": "ami-1"}, "autoscaling": {"group": {"name": "web group"}},
    });
    assert_eq!(cloud, expected);
    assert_eq!(event.fields["labels"], r#"{"team_name":"shop"}"#);
    assert_eq!(
        *metadata.without_token.lock().expect("not poisoned"),
        0,
        "version 1"
    );
    drop(program);
}

#[test]
fn without_metadata_lines_are_shipped_and_it_is_asked_again() {
    let (place, receiver, metadata) = (Place::new(), Receiver::start(), Metadata::start());
    metadata.set("off", "");
    place.append("app.log", "one\n");
    let program = start(&place, &receiver, &metadata, "workers: 1", "");
    receiver.wait_for(1);
    assert!(!receiver.arrived()[0].fields.contains_key("cloud"));
    program.wait_for_log("notices that the instance is about to go cannot be seen");
    metadata.remove("off");
    program.wait_for_log("events carry what the cloud says");
    place.append("app.log", "two\n");
    receiver.wait_for(2);
    assert!(receiver.arrived()[1].fields["cloud"].contains("i-0123456789abcdef0"));
    let log = program.log();
    assert_eq!(
        log.matches("events carry nothing of the cloud").count(),
        1,
        "{log}"
    );
    assert_eq!(log.matches("notices that the instance").count(), 1, "{log}");
}

#[test]
fn complaint_40_a_terminated_instance_is_drained_before_its_hook_is_completed() {
    let (place, metadata, autoscaling) = (Place::new(), Metadata::start(), AutoScaling::start());
    let slow = Behaviour::Slow(Duration::from_millis(500));
    let receiver = Receiver::start_with(None, slow, Duration::from_millis(200));
    let network = format!("autoscaling endpoint: \"{}\"", autoscaling.address);
    let program = start(&place, &receiver, &metadata, &network, "spool size: 100");
    program.wait_for_log("started");
    let text = lines("line", 0..600);
    place.append("app.log", &text);
    receiver.wait_for(100);
    metadata.set(
        "/latest/meta-data/autoscaling/target-lifecycle-state",
        "InService",
    );
    metadata.set(
        "/latest/meta-data/autoscaling/target-lifecycle-state",
        "Terminated",
    );
    program.wait_for_log("the lifecycle hook is completed");
    assert_each_once(&receiver, &text);
    let log = program.log();
    let drained = log.find("drained, 0 bytes left").expect("drained");
    assert!(Some(drained) < log.find("hook is completed"), "{log}");
    assert!(
        log.contains("Throttling") && log.contains("tried again"),
        "{log}"
    );
    let completed = autoscaling.told("CompleteLifecycleAction");
    assert_eq!(completed.len(), 2, "one was refused");
    for (name, value) in [
        ("AutoScalingGroupName", "web group"),
        ("LifecycleHookName", "down"),
        ("InstanceId", "i-0123456789abcdef0"),
        ("LifecycleActionResult", "CONTINUE"),
    ] {
        assert_eq!(completed[1][name], value);
    }
    let beats = autoscaling.told("RecordLifecycleActionHeartbeat");
    assert!(!beats.is_empty() && beats[0]["LifecycleHookName"] == "down");
    // It is heard once, and reading goes on to the very end.
    place.append("app.log", "last\n");
    receiver.wait_for_message("last");
    assert_eq!(autoscaling.told("CompleteLifecycleAction").len(), 2);
}

#[test]
fn complaint_40_a_spot_interruption_and_a_recommendation_are_heard_once() {
    let (place, receiver, metadata) = (Place::new(), Receiver::start(), Metadata::start());
    place.append("app.log", "one\n");
    let program = start(&place, &receiver, &metadata, "workers: 1", "");
    receiver.wait_for(1);
    let drains = || program.log().matches("drained, 0 bytes left").count();
    let wait_for = |count| {
        let deadline = Instant::now() + PATIENCE;
        while drains() < count {
            assert!(Instant::now() < deadline, "{}", program.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let rebalance = "/latest/meta-data/events/recommendations/rebalance";
    metadata.set(rebalance, r#"{"noticeTime":"2026-11-25T08:00:00Z"}"#);
    wait_for(1);
    let spot = "/latest/meta-data/spot/instance-action";
    metadata.set(
        spot,
        r#"{"action":"terminate","time":"2026-11-25T08:02:00Z"}"#,
    );
    wait_for(2);
    metadata.set(
        spot,
        r#"{"action":"terminate","time":"2026-11-25T09:02:00Z"}"#,
    );
    wait_for(3);
    let log = program.log();
    assert_eq!(
        log.matches("a rebalance recommendation").count(),
        1,
        "{log}"
    );
    assert_eq!(log.matches("a spot interruption").count(), 2, "{log}");
}
