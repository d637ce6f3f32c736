//! What the server says, and when: the traps on the receiving side.

use std::{sync::Arc, time::Duration};

use skidder_lumberjack::{
    ByteBudget, Delivery, Limits, ProtocolError, ServerError, ServerOptions, serve, serve_until,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::frames::{
    PATIENCE, Served, bare, compressed, events, json, read_ack, sequences, window,
};

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test(start_paused = true)]
async fn version_1_is_acknowledged_once_with_the_last_sequence_and_only_when_safe() {
    let mut served = Served::new();
    served.send(&bare(b'1', 1025, 1024)).await;
    let Delivery { window, ack } = served.delivery().await;
    assert_eq!(window.events.len(), 1024);
    // Neither a keep-alive nor a partial acknowledgement, which a version 1 peer takes for all.
    served.silence(HOUR).await;
    ack.progress(512);
    served.silence(HOUR).await;
    ack.acknowledge();
    assert_eq!(served.ack().await, (b'1', 2048));
    served.silence(Duration::from_secs(59)).await;
    assert!(served.close().await.is_ok());
}

#[tokio::test]
async fn the_version_of_the_peer_is_echoed() {
    for version in [b'1', b'2'] {
        let mut served = Served::new();
        served
            .send(&[window(version, 1), json(version, 1, b"{}")].concat())
            .await;
        served.delivery().await.ack.acknowledge();
        assert_eq!(served.ack().await, (version, 1));
        assert!(served.close().await.is_ok());
    }
}

#[tokio::test]
async fn windows_are_acknowledged_one_by_one_and_in_order() {
    let mut served = Served::new();
    for count in [3, 5, 2] {
        served.send(&bare(b'2', 1, count)).await;
    }
    let first = served.delivery().await;
    let second = served.delivery().await;
    let third = served.delivery().await;
    third.ack.acknowledge();
    second.ack.acknowledge();
    served.silence(Duration::from_millis(50)).await;
    first.ack.acknowledge();
    assert_eq!(served.ack().await, (b'2', 3));
    assert_eq!(served.ack().await, (b'2', 5));
    assert_eq!(served.ack().await, (b'2', 2));
    assert!(served.close().await.is_ok());
}

#[tokio::test]
async fn partial_acknowledgements_name_an_event_of_the_window_and_never_its_last() {
    let mut served = Served::new();
    served.send(&bare(b'2', 101, 10)).await;
    let delivery = served.delivery().await;
    delivery.ack.progress(4);
    assert_eq!(served.ack().await, (b'2', 104));
    delivery.ack.progress(2);
    delivery.ack.progress(10);
    delivery.ack.progress(11);
    served.silence(Duration::from_millis(50)).await;
    delivery.ack.acknowledge();
    assert_eq!(served.ack().await, (b'2', 110));
    assert!(served.close().await.is_ok());
}

#[tokio::test]
async fn progress_of_a_later_window_waits_for_the_earlier_one() {
    let mut served = Served::new();
    served
        .send(&[bare(b'2', 1, 3), bare(b'2', 1, 9)].concat())
        .await;
    let first = served.delivery().await;
    let second = served.delivery().await;
    second.ack.progress(5);
    served.silence(Duration::from_millis(50)).await;
    first.ack.acknowledge();
    assert_eq!(served.ack().await, (b'2', 3));
    assert_eq!(served.ack().await, (b'2', 5));
    second.ack.acknowledge();
    assert_eq!(served.ack().await, (b'2', 9));
}

#[tokio::test]
async fn numbers_that_are_not_consecutive_are_not_acknowledged_in_part() {
    let mut served = Served::new();
    let frames = [
        json(b'2', 5, b"{}"),
        json(b'2', 5, b"{}"),
        json(b'2', 9, b"{}"),
    ]
    .concat();
    served.send(&[window(b'2', 3), frames].concat()).await;
    let delivery = served.delivery().await;
    delivery.ack.progress(2);
    served.silence(Duration::from_millis(50)).await;
    delivery.ack.acknowledge();
    assert_eq!(served.ack().await, (b'2', 9));
}

#[tokio::test]
async fn a_window_of_size_zero_is_answered_with_0_in_version_2_and_in_its_turn() {
    let mut served = Served::new();
    served
        .send(&[window(b'2', 0), bare(b'2', 1, 2), window(b'2', 0)].concat())
        .await;
    assert_eq!(served.ack().await, (b'2', 0));
    let delivery = served.delivery().await;
    served.silence(Duration::from_millis(50)).await;
    delivery.ack.acknowledge();
    assert_eq!(served.ack().await, (b'2', 2));
    assert_eq!(served.ack().await, (b'2', 0));
    assert!(served.close().await.is_ok());
}

#[tokio::test]
async fn a_window_of_size_zero_is_not_answered_in_version_1() {
    let mut served = Served::new();
    served
        .send(&[window(b'1', 0), bare(b'1', 1, 2)].concat())
        .await;
    served.delivery().await.ack.acknowledge();
    assert_eq!(served.ack().await, (b'1', 2));
    assert!(served.close().await.is_ok());
}

#[tokio::test]
async fn numbers_beyond_half_their_range_and_at_its_end_are_acknowledged() {
    let mut served = Served::new();
    served.send(&bare(b'1', 1 << 31, 2)).await;
    served.delivery().await.ack.acknowledge();
    assert_eq!(served.ack().await, (b'1', (1 << 31) + 1));
    served.send(&bare(b'1', u32::MAX, 1)).await;
    served.delivery().await.ack.acknowledge();
    assert_eq!(served.ack().await, (b'1', u32::MAX));
    served.send(&bare(b'1', 0, 1)).await;
    served.delivery().await.ack.acknowledge();
    assert_eq!(served.ack().await, (b'1', 0));
    served.send(&bare(b'1', u32::MAX, 3)).await;
    served.delivery().await.ack.acknowledge();
    assert_eq!(served.ack().await, (b'1', 1));
}

#[tokio::test]
async fn a_short_window_is_acknowledged_with_its_own_last_event() {
    let mut served = Served::new();
    served
        .send(&[window(b'2', 5), events(b'2', 1, 2), bare(b'2', 1, 3)].concat())
        .await;
    for (count, last) in [(2, 2), (3, 3)] {
        let delivery = served.delivery().await;
        assert_eq!(delivery.window.events.len(), count);
        delivery.ack.acknowledge();
        assert_eq!(served.ack().await, (b'2', last));
    }
}

#[tokio::test]
async fn a_dropped_handle_closes_the_connection_without_an_acknowledgement() {
    let mut served = Served::new();
    served
        .send(&[bare(b'2', 1, 2), bare(b'2', 1, 3), bare(b'2', 1, 4)].concat())
        .await;
    let first = served.delivery().await;
    let second = served.delivery().await;
    let third = served.delivery().await;
    drop(second);
    third.ack.acknowledge();
    first.ack.acknowledge();
    assert_eq!(served.ack().await, (b'2', 2), "what came before is safe");
    let budget = Arc::clone(&served.budget);
    drop(first.window);
    let end = served.ended().await;
    assert!(matches!(end, Err(ServerError::WindowAbandoned)), "{end:?}");
    drop(third.window);
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn a_receiver_that_is_gone_closes_the_connection_without_an_acknowledgement() {
    let mut served = Served::new();
    served.deliveries.close();
    served.send(&bare(b'1', 1, 1)).await;
    let end = served.ended().await;
    assert!(matches!(end, Err(ServerError::ReceiverGone)), "{end:?}");
}

#[tokio::test]
async fn a_health_check_that_sends_nothing_is_a_clean_end() {
    assert!(Served::new().close().await.is_ok());
}

#[tokio::test]
async fn a_peer_that_leaves_in_the_middle_is_named_and_its_window_not_handed_on() {
    let frames = bare(b'2', 1, 3);
    for length in [1, 5, 6, 10, frames.len() - 1] {
        let mut served = Served::new();
        served.send(&frames[..length]).await;
        drop(served.peer);
        assert!(
            served.deliveries.recv().await.is_none(),
            "a part of a window would come twice"
        );
        let end = served.server.await.expect("no panic");
        assert!(
            matches!(end, Err(ServerError::ClosedMidWindow { .. })),
            "{end:?}"
        );
    }
}

#[tokio::test]
async fn a_peer_that_has_finished_sending_still_gets_its_acknowledgements() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("an address");
    let mut peer = TcpStream::connect(address).await.expect("connects");
    let (stream, _) = listener.accept().await.expect("accepts");
    let (sender, mut deliveries) = mpsc::channel(4);
    let server =
        tokio::spawn(async move { serve(stream, &ServerOptions::default(), sender).await });
    peer.write_all(&bare(b'2', 1, 7)).await.expect("writes");
    peer.shutdown().await.expect("half-closes");
    let delivery = deliveries.recv().await.expect("a window");
    delivery.ack.acknowledge();
    let mut received = Vec::new();
    timeout(PATIENCE, peer.read_to_end(&mut received))
        .await
        .expect("in time")
        .expect("reads");
    assert_eq!(received, b"2A\0\0\0\x07");
    assert!(server.await.expect("no panic").is_ok());
}

#[tokio::test]
async fn what_came_before_a_violation_is_acknowledged_and_then_the_connection_closed() {
    let mut served = Served::new();
    served
        .send(&[bare(b'2', 1, 2), b"2Q".to_vec()].concat())
        .await;
    let delivery = served.delivery().await;
    served.silence(Duration::from_millis(50)).await;
    delivery.ack.acknowledge();
    assert_eq!(served.ack().await, (b'2', 2));
    let end = served.ended().await;
    assert!(
        matches!(
            end,
            Err(ServerError::Protocol(ProtocolError::UnknownFrame {
                got: b'Q'
            }))
        ),
        "{end:?}"
    );
    assert!(end.is_err_and(|error| error.is_peer_fault()));
}

#[tokio::test]
async fn a_malformed_peer_ends_no_connection_but_its_own() {
    let options = ServerOptions::default();
    let mut good = Served::with(&options);
    good.send(&window(b'2', 2)).await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"2W\0\0\0\x01\x32C\0\0\0\x03abc",
        b"2W\xff\xff\xff\xff",
        b"1D\0\0\0\x01\xff\xff\xff\xff",
    ] {
        let mut bad = Served::with(&options);
        bad.send(bytes).await;
        let end = bad.ended().await;
        assert!(matches!(end, Err(ServerError::Protocol(_))), "{end:?}");
    }
    good.send(&events(b'2', 1, 2)).await;
    good.delivery().await.ack.acknowledge();
    assert_eq!(good.ack().await, (b'2', 2));
    assert!(good.close().await.is_ok());
}

#[tokio::test]
async fn no_more_windows_are_taken_than_may_be_pending() {
    let options = ServerOptions {
        max_pending_windows: 2,
        ..ServerOptions::default()
    };
    let mut served = Served::with(&options);
    for _ in 0..5 {
        served.send(&bare(b'2', 1, 1)).await;
    }
    let first = served.delivery().await;
    let second = served.delivery().await;
    let more = timeout(Duration::from_millis(50), served.deliveries.recv()).await;
    assert!(more.is_err(), "the third waits");
    first.ack.acknowledge();
    let third = served.delivery().await;
    second.ack.acknowledge();
    third.ack.acknowledge();
    for _ in 0..2 {
        served.delivery().await.ack.acknowledge();
    }
    for _ in 0..5 {
        assert_eq!(served.ack().await, (b'2', 1));
    }
    assert!(served.close().await.is_ok());
}

#[tokio::test]
async fn no_window_is_read_while_too_many_bytes_are_pending() {
    let options = ServerOptions {
        max_pending_bytes: 100,
        ..ServerOptions::default()
    };
    let mut served = Served::with(&options);
    let large = format!("\"{:0200}\"", 0);
    for _ in 0..2 {
        let event = json(b'2', 1, large.as_bytes());
        served.send(&[window(b'2', 1), event].concat()).await;
    }
    // It has more bytes than that by itself, and is taken all the same.
    let first = served.delivery().await;
    let more = timeout(Duration::from_millis(50), served.deliveries.recv()).await;
    assert!(more.is_err(), "the second waits");
    first.ack.acknowledge();
    served.delivery().await.ack.acknowledge();
    for _ in 0..2 {
        assert_eq!(served.ack().await, (b'2', 1));
    }
    assert!(served.close().await.is_ok());
}

#[tokio::test]
async fn the_last_acknowledgement_arrives_although_the_peer_goes_on_sending() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("an address");
    let mut peer = TcpStream::connect(address).await.expect("connects");
    let (stream, _) = listener.accept().await.expect("accepts");
    let (sender, mut deliveries) = mpsc::channel(4);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(async move {
        let shutdown = async { drop(stopped.await) };
        serve_until(stream, &ServerOptions::default(), sender, shutdown).await
    });
    peer.write_all(&bare(b'2', 1, 7)).await.expect("writes");
    let delivery = deliveries.recv().await.expect("a window");
    stop.send(()).expect("the server listens");
    // When it reads no more, its end of the channel is all that keeps it open.
    assert!(deliveries.try_recv().is_err());
    peer.write_all(&bare(b'2', 1, 1000)).await.expect("writes");
    delivery.ack.acknowledge();
    let mut received = Vec::new();
    timeout(PATIENCE, peer.read_to_end(&mut received))
        .await
        .expect("in time")
        .expect("the connection is closed, not reset");
    assert!(received.ends_with(b"2A\0\0\0\x07"), "{received:?}");
    // Nor does what it sends then do any harm.
    peer.write_all(&bare(b'2', 1, 1000)).await.expect("writes");
    peer.shutdown().await.expect("half-closes");
    assert!(server.await.expect("no panic").is_ok());
    assert!(deliveries.recv().await.is_none(), "nothing else was taken");
}

#[tokio::test]
async fn shutdown_takes_an_open_window_to_its_end_and_leaves_the_next_one() {
    let (mut peer, stream) = tokio::io::duplex(64 * 1024);
    let (sender, mut deliveries) = mpsc::channel(4);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(async move {
        let shutdown = async { drop(stopped.await) };
        serve_until(stream, &ServerOptions::default(), sender, shutdown).await
    });
    peer.write_all(&[bare(b'2', 1, 1), window(b'2', 2)].concat())
        .await
        .expect("writes");
    let first = deliveries.recv().await.expect("a window");
    stop.send(()).expect("the server listens");
    peer.write_all(&[events(b'2', 1, 2), bare(b'2', 1, 3)].concat())
        .await
        .expect("writes");
    let second = timeout(PATIENCE, deliveries.recv())
        .await
        .expect("in time")
        .expect("the open window");
    assert_eq!(second.window.events.len(), 2);
    first.ack.acknowledge();
    second.ack.acknowledge();
    let third = timeout(PATIENCE, deliveries.recv()).await.expect("in time");
    assert!(third.is_none(), "the third window is left to be sent again");
    assert_eq!(read_ack(&mut peer).await, (b'2', 1));
    assert_eq!(read_ack(&mut peer).await, (b'2', 2));
    assert!(server.await.expect("no panic").is_ok());
}

#[tokio::test(start_paused = true)]
async fn shutdown_between_windows_closes_at_once() {
    let (mut peer, stream) = tokio::io::duplex(1024);
    let (sender, _deliveries) = mpsc::channel(4);
    let end = serve_until(stream, &ServerOptions::default(), sender, async {}).await;
    assert!(end.is_ok());
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).await.expect("reads");
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn huge_windows_of_many_clients_stay_within_the_budget() {
    const CLIENTS: u32 = 12;
    const WINDOWS: u32 = 4;
    const BUDGET: usize = 2 << 20;
    let frames: Vec<u8> = (1..=100_u32)
        .flat_map(|number| json(b'2', number, format!("{number:08000}").as_bytes()))
        .collect();
    // About 0.8 MB each, compressed for one half of the clients.
    let compressed = [window(b'2', 100), compressed(b'2', &frames)].concat();
    let bare = [window(b'2', 100), frames].concat();
    let options = ServerOptions {
        budget: ByteBudget::new(BUDGET),
        max_pending_windows: 2,
        limits: Limits {
            max_window_bytes: 1 << 20,
            max_inflated_bytes: 1 << 20,
            ..Limits::default()
        },
        ..ServerOptions::default()
    };
    let (sender, mut deliveries) = mpsc::channel::<Delivery>(1);
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let (mut peer, stream) = tokio::io::duplex(8192);
        let (options, sender) = (options.clone(), sender.clone());
        let bytes = if number % 2 == 0 {
            bare.clone()
        } else {
            compressed.clone()
        };
        tokio::spawn(async move { serve(stream, &options, sender).await });
        clients.push(tokio::spawn(async move {
            for _ in 0..WINDOWS {
                peer.write_all(&bytes).await.expect("writes");
                while read_ack(&mut peer).await != (b'2', 100) {}
            }
        }));
    }
    drop(sender);
    let mut taken = 0;
    while taken < CLIENTS * WINDOWS {
        let Delivery { window, ack } = timeout(PATIENCE, deliveries.recv())
            .await
            .expect("no deadlock")
            .expect("a window");
        assert_eq!(sequences(&window), (1..=100).collect::<Vec<_>>());
        taken += 1;
        drop(window);
        ack.acknowledge();
    }
    for client in clients {
        timeout(PATIENCE, client)
            .await
            .expect("in time")
            .expect("no panic");
    }
    let budget = &options.budget;
    // The budget and one window: its bytes twice while they grow, and the list of its events.
    let most = BUDGET + (3 << 20);
    assert!(budget.peak() <= most, "peak {}", budget.peak());
}
