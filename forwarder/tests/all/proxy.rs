//! Through proxies, good and bad ones.

use std::net::TcpListener;
use std::time::Duration;

use skidder_forwarder::config::{self, Overrides};
use skidder_forwarder::link::backoff::Random;
use skidder_forwarder::link::connect;
use skidder_lumberjack::Version;
use tokio::io::AsyncReadExt;

use super::proxies::{Asked, Manner, Proxy, login};
use super::support::{
    Authority, Behaviour, Place, Program, Receiver, Running, assert_each_once, lines, native_tls,
};

fn network(place: &Place, authority: &Authority, server: &str, proxy: &str) -> String {
    let ca = place.root.path().join("ca.pem");
    std::fs::write(&ca, &authority.pem).expect("writes");
    format!(
        "{{servers: [\"{server}\"], proxy: \"{proxy}\", ssl ca: {}, timeout: 20s, reconnect delay: 100ms}}",
        ca.display()
    )
}

#[test]
fn tls_goes_end_to_end_and_the_proxy_resolves_the_name() {
    for scheme in ["http", "socks5", "socks5h"] {
        let (place, authority) = (Place::new(), Authority::new("right"));
        let tls = native_tls(&authority.issue(&["logs.invalid"]));
        let keep_alive = Duration::from_secs(3);
        let receiver = Receiver::start_with(Some(tls), Behaviour::Acknowledge, keep_alive);
        let proxy = Proxy::start(scheme, Manner::Open, &[("logs.invalid", receiver.address)]);
        let server = format!("logs.invalid:{}", receiver.address.port());
        let url = format!("{scheme}://{}", proxy.address);
        let network = network(&place, &authority, &server, &url);
        let config = place.config_with(&network, "app.log", "");
        place.append("app.log", &lines("line", 0..5000));
        let running = Running::start(&config);
        receiver.wait_for(5000);
        assert_eq!(running.stop().events_left, 0);
        assert_each_once(&receiver, &lines("line", 0..5000));
        assert_eq!(receiver.arrived()[0].version, Version::Native, "{scheme}");
        let asked = proxy.asked.try_recv().expect("was asked");
        let expected = Asked {
            target: server,
            login: None,
        };
        assert_eq!(asked, expected, "{scheme}");
    }
}

#[test]
fn a_password_of_the_environment_is_used_and_never_shown() {
    const PASSWORD: &str = "s3cr@t:/w";
    for scheme in ["http", "socks5"] {
        let (place, authority) = (Place::new(), Authority::new("right"));
        let tls = native_tls(&authority.issue(&["logs.invalid"]));
        let keep_alive = Duration::from_secs(3);
        let receiver = Receiver::start_with(Some(tls), Behaviour::Acknowledge, keep_alive);
        let names = [("logs.invalid", receiver.address)];
        let proxy = Proxy::start(scheme, Manner::Login("ship", PASSWORD), &names);
        let server = format!("logs.invalid:{}", receiver.address.port());
        let url = format!("{scheme}://ship:${{PROXY_PASSWORD}}@{}", proxy.address);
        let network = network(&place, &authority, &server, &url);
        let config = place.config_with(&network, "app.log", "log level: trace");
        place.append("app.log", &lines("line", 0..10));
        let config = config.to_str().expect("text");
        let arguments = ["run", "--config", config];
        let root = place.root.path();
        // First with a wrong one, which is not shown either.
        let wrong = [("PROXY_PASSWORD", "wr0ng")];
        let program = Program::start_with(&arguments, root, &wrong);
        program.wait_for_log("does not accept the user and password");
        assert!(!program.log().contains("wr0ng"), "{}", program.log());
        drop(program);
        let right = [("PROXY_PASSWORD", PASSWORD)];
        let program = Program::start_with(&arguments, root, &right);
        receiver.wait_for(10);
        let log = program.log();
        for secret in [PASSWORD, "s3cr", "c2hpcDp"] {
            assert!(!log.contains(secret), "{log}");
        }
        let asked = proxy
            .asked
            .iter()
            .find(|asked| asked.login == Some(login("ship", PASSWORD)));
        assert_eq!(asked.expect("was asked").target, server);
        // Nor does `check` show it.
        let environment = |name: &str| (name == "PROXY_PASSWORD").then(|| PASSWORD.to_owned());
        let loaded = config::load_with(config.as_ref(), &Overrides::default(), &environment);
        let loaded = loaded.expect("valid");
        let described = skidder_forwarder::check::describe(&loaded) + &format!("{loaded:?}");
        assert!(described.contains(&format!("{scheme}://{}, with user", proxy.address)));
        assert!(!described.contains("s3cr"), "{described}");
    }
}

/// What [`connect::connect`] says with these options.
async fn attempt(options: &str) -> Result<connect::Connected, String> {
    let place = Place::new();
    let config = place.config_with(&format!("{{{options}}}"), "app.log", "");
    let network = config::load(&config, &Overrides::default())
        .expect("valid")
        .network;
    let mut random = Random::new();
    let connecting = connect::connect(&network.servers[0], &network, &mut random);
    connecting.await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn names_can_be_resolved_here() {
    for scheme in ["http", "socks5"] {
        let receiver = Receiver::start();
        let proxy = Proxy::start(scheme, Manner::Open, &[]);
        let (at, port) = (proxy.address, receiver.address.port());
        // Filebeat's name of the option, where it is Filebeat's proxy.
        let name = if scheme == "http" {
            "proxy"
        } else {
            "proxy_url"
        };
        let options = format!(
            "servers: [\"localhost:{port}\"], tls: off, {name}: \"{scheme}://{at}\", proxy_use_local_resolver: true"
        );
        attempt(&options).await.map(drop).expect("connects");
        let asked: Vec<_> = proxy.asked.try_iter().map(|asked| asked.target).collect();
        assert_eq!(
            asked.last(),
            Some(&receiver.address.to_string()),
            "{asked:?}"
        );
        assert!(
            asked.iter().all(|target| !target.contains("localhost")),
            "{asked:?}"
        );
    }
}

#[tokio::test]
async fn what_the_server_says_first_is_not_the_proxys() {
    let head = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\nContent-Length: 99\r\n\r\nhello";
    let socks = "\x05\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00hello";
    for (scheme, answer) in [("http", head), ("socks5", socks)] {
        let proxy = Proxy::start(scheme, Manner::Say(answer.into()), &[]);
        let (at, server) = (proxy.address, "logs.invalid:5044");
        let options = format!("servers: [\"{server}\"], tls: off, proxy: \"{scheme}://{at}\"");
        let mut stream = attempt(&options).await.expect("a tunnel").stream;
        let mut said = [0; 5];
        stream.read_exact(&mut said).await.expect("reads");
        assert_eq!(&said, b"hello");
    }
}

#[tokio::test]
async fn every_failure_of_a_proxy_says_what_to_do() {
    let said = |text: &str| Manner::Say(text.as_bytes().to_vec());
    let negotiate = "HTTP/1.1 407 Login\r\nProxy-Authenticate: Negotiate\r\n\r\n";
    let cases = [
        (
            "http",
            Manner::Login("a", "b"),
            "proxy: http://user:password@host:port",
        ),
        (
            "http",
            said(negotiate),
            "a log-in by Negotiate, and only Basic",
        ),
        (
            "http",
            said("HTTP/1.1 403 Forbidden\r\n\r\n"),
            "403 Forbidden; its rules forbid it",
        ),
        (
            "http",
            said("HTTP/1.1 405 No\r\n\r\n"),
            "does it allow CONNECT",
        ),
        (
            "http",
            Manner::Open,
            "502 Bad Gateway; it does not reach logs.invalid:5044",
        ),
        ("http", said("\x05\x00"), "write `socks5://`"),
        ("http", said("\x15\x03\x01"), "wants TLS"),
        (
            "http",
            said("220 smtp.example.com\r\n"),
            "no HTTP proxy; is it the right port",
        ),
        ("http", said("HTTP/1.1 banana\r\n\r\n"), "no HTTP proxy"),
        (
            "http",
            said("HTTP/1.1 20"),
            "closed the connection without an answer",
        ),
        (
            "http",
            Manner::Stall,
            "no answer from the proxy for 300ms; does it speak HTTP",
        ),
        ("http", Manner::Babble("junk", "junk"), "no HTTP proxy"),
        (
            "http",
            Manner::Babble("HTTP/1.1 200 OK\r\n", "a: b\r\n"),
            "longer than 16384 bytes",
        ),
        (
            "http",
            Manner::Babble("", "HTTP/1.1 100 Wait\r\n\r\n"),
            "longer than 16384 bytes",
        ),
        (
            "socks5",
            Manner::Login("a", "b"),
            "wants a log-in: `socks5://user:password@host:port`",
        ),
        (
            "socks5",
            Manner::Open,
            "logs.invalid:5044 refuses the connection",
        ),
        ("socks5", Manner::Reply(1), "general failure"),
        (
            "socks5",
            Manner::Reply(2),
            "its rules forbid it; allow connections to logs.invalid:5044",
        ),
        (
            "socks5",
            Manner::Reply(3),
            "the network of logs.invalid:5044 is not reachable",
        ),
        ("socks5", Manner::Reply(4), "does it resolve the name?"),
        ("socks5", Manner::Reply(6), "TTL expired"),
        (
            "socks5",
            Manner::Reply(7),
            "does not know the command CONNECT",
        ),
        ("socks5", Manner::Reply(8), "kind of address"),
        ("socks5", Manner::Reply(99), "failure 99"),
        (
            "socks5",
            said("\x05\x01"),
            "the log-in 1, which was not offered",
        ),
        (
            "socks5",
            said("HTTP/1.1 400 Bad Request\r\n\r\n"),
            "write `http://`",
        ),
        ("socks5", said("\x04\x5b"), "speaks SOCKS4"),
        ("socks5", said("\x05\x00\x05\x00\x00\x09"), "unknown kind 9"),
        (
            "socks5",
            said("\x05"),
            "closed the connection without an answer",
        ),
        (
            "socks5",
            Manner::Stall,
            "no answer from the proxy for 300ms; does it speak SOCKS5",
        ),
        ("socks5", Manner::Babble("junk", "junk"), "no SOCKS5 proxy"),
    ];
    for (scheme, manner, expected) in cases {
        let proxy = Proxy::start(scheme, manner.clone(), &[]);
        let url = format!("{scheme}://{}", proxy.address);
        let patience = if matches!(manner, Manner::Stall) {
            "300ms"
        } else {
            "20s"
        };
        let options = format!(
            "servers: [\"logs.invalid:5044\"], tls: off, proxy: \"{url}\", timeout: {patience}"
        );
        let error = attempt(&options).await.map(drop).expect_err(expected);
        assert!(error.contains(expected), "no `{expected}` in `{error}`");
        let begun = format!("cannot connect to logs.invalid:5044 through the proxy {url}");
        assert!(error.contains(&begun), "{error}");
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_there() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = free.local_addr().expect("an address");
    drop(free);
    let options =
        |at: &str| format!("servers: [\"a.invalid:1\"], tls: off, proxy: \"http://{at}\"");
    let error = attempt(&options(&at.to_string()))
        .await
        .map(drop)
        .expect_err("down");
    assert!(
        error.contains("is the proxy running, is a firewall between?"),
        "{error}"
    );
    let error = attempt(&options(&format!("{}:1", "a".repeat(64))))
        .await
        .map(drop)
        .expect_err("no such name");
    assert!(
        error.contains("cannot resolve the proxy http://aaa"),
        "{error}"
    );
}
