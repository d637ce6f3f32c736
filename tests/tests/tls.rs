//! Certificates that do not fit: the forwarder says what is wrong and sends nothing.

#![expect(
    clippy::unwrap_used,
    reason = "a failed step of a test is a failed test"
)]

use std::path::Path;
use std::time::Duration;

use skidder_tests::certificates::Authority;
use skidder_tests::daemon::{BeatsInput, Daemon, ForwarderConfig};
use skidder_tests::site::{Site, elasticsearch_output, wait_for_lines_at_stub};
use skidder_tests::stub::Stub;
use skidder_tests::writers::Plan;

const LINES: u64 = 500;
const DEADLINE: Duration = Duration::from_mins(2);

/// Starts both daemons with configs changed by the test.
fn start(
    site: &Site,
    stub: &Stub,
    change: impl FnOnce(&mut BeatsInput, &mut ForwarderConfig<'_>),
) -> (Daemon, Daemon) {
    let (mut input, mut shipping) = (site.input(), site.shipping());
    change(&mut input, &mut shipping);
    let pipeline = format!("{input}{}", elasticsearch_output(&stub.host(), "tls", ""));
    let mut aggregator = Daemon::aggregator(site.path(), "aggregator", &pipeline).unwrap();
    aggregator.start_listening(site.port).unwrap();
    Plan::new(&site.log(), LINES).write().unwrap();
    let mut forwarder =
        Daemon::forwarder(site.path(), "forwarder", &shipping.yaml().unwrap()).unwrap();
    forwarder.start().unwrap();
    (aggregator, forwarder)
}

/// Waits until the forwarder's log holds all these words in one line, and checks that nothing
/// went through and that it goes on trying.
fn refused(words: &[&str], forwarder: &mut Daemon, stub: &Stub) {
    skidder_tests::wait::until(
        &format!("{words:?} in the forwarder's log"),
        DEADLINE,
        || {
            let log = forwarder.log();
            if log
                .lines()
                .any(|line| words.iter().all(|word| line.contains(word)))
            {
                Ok(())
            } else {
                Err(log)
            }
        },
    )
    .unwrap();
    assert!(
        forwarder.process().unwrap().running(),
        "it must go on trying"
    );
    assert_eq!(stub.counts().requests, 0, "something was sent");
}

#[test]
fn mutual_tls_works() {
    let (site, stub) = (Site::new().unwrap(), Stub::recording().unwrap());
    let (_aggregator, _forwarder) = start(&site, &stub, |_, _| {});
    wait_for_lines_at_stub(&stub, LINES, DEADLINE)
        .unwrap()
        .assert_once_each();
}

#[test]
fn the_certificate_of_another_host_is_refused() {
    let (site, stub) = (Site::new().unwrap(), Stub::recording().unwrap());
    let other = site
        .authority
        .server("other", &["logs.other.example"])
        .unwrap();
    let (_aggregator, mut forwarder) = start(&site, &stub, |input, _| input.identity = Some(other));
    // What was expected, and what the certificate says.
    refused(&["localhost", "logs.other.example"], &mut forwarder, &stub);
}

#[test]
fn an_unknown_authority_is_refused() {
    let (site, stub) = (Site::new().unwrap(), Stub::recording().unwrap());
    let stranger = Authority::new(site.path(), "stranger").unwrap();
    let (_aggregator, mut forwarder) = start(&site, &stub, |_, shipping| {
        shipping
            .tls
            .as_mut()
            .unwrap()
            .authority
            .clone_from(&stranger.certificate);
    });
    refused(
        &["localhost", "CA that is not trusted", "ssl ca"],
        &mut forwarder,
        &stub,
    );
}

#[test]
fn a_missing_client_certificate_is_refused() {
    let (site, stub) = (Site::new().unwrap(), Stub::recording().unwrap());
    let (aggregator, mut forwarder) = start(&site, &stub, |_, shipping| {
        shipping.tls.as_mut().unwrap().identity = None;
    });
    refused(
        &["localhost", "client certificate", "ssl certificate"],
        &mut forwarder,
        &stub,
    );
    assert!(
        aggregator.log().contains("certificate"),
        "{}",
        aggregator.log()
    );
}

#[test]
fn a_client_certificate_of_an_unknown_authority_is_refused() {
    let (site, stub) = (Site::new().unwrap(), Stub::recording().unwrap());
    let stranger = Authority::new(site.path(), "stranger").unwrap();
    let foreign = stranger.client("foreign").unwrap();
    let (_aggregator, mut forwarder) = start(&site, &stub, |_, shipping| {
        shipping.tls.as_mut().unwrap().identity = Some(foreign);
    });
    refused(&["localhost", "certificate"], &mut forwarder, &stub);
}

#[test]
fn plain_text_does_not_reach_a_tls_listener_nor_the_other_way_round() {
    let (site, stub) = (Site::new().unwrap(), Stub::recording().unwrap());
    let (_aggregator, mut forwarder) = start(&site, &stub, |_, shipping| shipping.tls = None);
    refused(&["localhost"], &mut forwarder, &stub);

    let (site, stub) = (Site::new().unwrap(), Stub::recording().unwrap());
    let (_aggregator, mut forwarder) = start(&site, &stub, |input, _| {
        (input.identity, input.client_authority) = (None, None);
    });
    refused(&["localhost", "TLS"], &mut forwarder, &stub);
}

#[test]
fn check_finds_a_certificate_that_is_not_there() {
    let site = Site::new().unwrap();
    let mut shipping = site.shipping();
    shipping.tls.as_mut().unwrap().authority = Path::new("no/such/authority.pem").to_owned();
    let config = site.path().join("broken.yml");
    std::fs::write(&config, shipping.yaml().unwrap()).unwrap();
    let mut command = skidder_tests::daemon::Program::Forwarder.command();
    let output = command
        .arg("check")
        .arg("--config")
        .arg(&config)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{text}");
    assert!(
        text.contains("no/such/authority.pem") && text.contains("broken.yml"),
        "{text}"
    );
}
