//! A connection that has its age is closed between two windows, whatever its sender does.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use skidder_tests::daemon::{BeatsInput, Daemon};
use skidder_tests::environment::loopback;
use skidder_tests::site::Site;

/// A window of one event of version 2, whose acknowledgement is [`ACKNOWLEDGEMENT`].
const WINDOW: &[u8] = b"2W\0\0\0\x012J\0\0\0\x01\0\0\0\x02{}";
const ACKNOWLEDGEMENT: &[u8] = b"2A\0\0\0\x01";
const KEEP_ALIVE: &[u8] = b"2A\0\0\0\0";

#[test]
fn an_old_connection_is_closed_between_two_windows() {
    let _alone = crate::alone();
    let site = Site::new().unwrap();
    let input = BeatsInput {
        port: site.port,
        identity: None,
        client_authority: None,
    };
    let input = input
        .to_string()
        .replace("beats {", "beats { max_connection_age => 1");
    let pipeline = format!("{input} output {{ null {{ }} }}");
    let mut aggregator = Daemon::aggregator(site.path(), "aggregator", &pipeline).unwrap();
    aggregator.start_listening(site.port).unwrap();
    let mut acknowledged = 0;
    for _ in 0..2 {
        let mut stream = TcpStream::connect(loopback(site.port)).unwrap();
        stream.set_read_timeout(Some(crate::PATIENCE)).unwrap();
        let connected = Instant::now();
        // Two windows are on their way at any time; the last one may come too late to be taken.
        stream.write_all(WINDOW).unwrap();
        loop {
            if stream.write_all(WINDOW).is_err() {
                break;
            }
            let mut frame = [0; 6];
            // It ends with a whole acknowledgement, and is not reset.
            match stream.read(&mut frame).unwrap() {
                0 => break,
                length => stream.read_exact(&mut frame[length..]).unwrap(),
            }
            match &frame[..] {
                ACKNOWLEDGEMENT => acknowledged += 1,
                other => assert_eq!(other, KEEP_ALIVE),
            }
        }
        let age = connected.elapsed();
        assert!(age > Duration::from_millis(750), "{age:?}");
        // Acknowledgements that came before the end was seen.
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        acknowledged += rest
            .chunks(6)
            .filter(|frame| *frame == ACKNOWLEDGEMENT)
            .count() as u64;
    }
    assert!(
        aggregator.terminate().unwrap().success(),
        "{}",
        aggregator.log()
    );
    // What was taken was acknowledged, and nothing else was.
    let log = aggregator.log();
    let received = format!("received={acknowledged}");
    assert!(
        acknowledged > 0 && log.contains(&received),
        "{acknowledged}\n{log}"
    );
}
