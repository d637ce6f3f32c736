//! Keep-alives and time limits, in paused time: nothing here waits for real.

use std::time::Duration;

use skidder_lumberjack::{ByteBudget, ServerError, ServerOptions};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, advance, sleep},
};

use crate::frames::{Served, bare, compressed, events, json, window};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn version_2_is_kept_alive_while_a_window_is_pending() {
    let mut served = Served::new();
    served.send(&bare(b'2', 1, 10)).await;
    let delivery = served.delivery().await;
    let mut last = Instant::now();
    for _ in 0..100 {
        assert_eq!(served.ack().await, (b'2', 0));
        let pause = last.elapsed();
        assert!(pause > seconds(2) && pause < seconds(4), "{pause:?}");
        last = Instant::now();
    }
    delivery.ack.acknowledge();
    assert_eq!(served.ack().await, (b'2', 10));
    // And no longer.
    served.silence(seconds(59)).await;
    assert!(served.close().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_partial_acknowledgement_counts_as_a_keep_alive() {
    let mut served = Served::new();
    served.send(&bare(b'2', 1, 10)).await;
    let delivery = served.delivery().await;
    for safe in 1..=5 {
        served.silence(seconds(2)).await;
        delivery.ack.progress(safe);
        assert_eq!(served.ack().await, (b'2', safe));
    }
    delivery.ack.acknowledge();
    assert_eq!(served.ack().await, (b'2', 10));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_waits_for_our_memory_is_kept_alive() {
    let budget = ByteBudget::new(1000);
    let options = ServerOptions {
        budget: budget.clone(),
        ..ServerOptions::default()
    };
    let all = budget.account().try_reserve(1000).expect("all of it");
    let mut other = budget.account();
    let overdrawn = other.try_reserve(1).expect("one may overdraw");
    let mut served = Served::with(&options);
    let frames = compressed(b'2', &events(b'2', 1, 500));
    served.send(&[window(b'2', 500), frames].concat()).await;
    for _ in 0..20 {
        assert_eq!(served.ack().await, (b'2', 0));
    }
    drop((all, overdrawn));
    other.settle();
    let delivery = served.delivery().await;
    delivery.ack.acknowledge();
    assert_eq!(served.ack().await, (b'2', 500));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_only_after_its_last_acknowledgement() {
    let mut served = Served::new();
    served.send(&bare(b'1', 1, 1)).await;
    let delivery = served.delivery().await;
    served.silence(seconds(24 * 3600)).await;
    delivery.ack.acknowledge();
    assert_eq!(served.ack().await, (b'1', 1));
    served.silence(seconds(59)).await;
    let end = served.ended().await;
    assert!(matches!(end, Err(ServerError::Idle { .. })), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_never_says_anything_is_closed_as_idle() {
    let begun = Instant::now();
    let end = Served::new().ended().await;
    assert!(
        matches!(&end, Err(error @ ServerError::Idle { .. }) if !error.is_peer_fault()),
        "{end:?}"
    );
    assert!(begun.elapsed() >= seconds(60));
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_trickles_in_is_cut_off() {
    let mut served = Served::new();
    served.send(&window(b'2', 2)).await;
    let frame = json(b'2', 1, &[b'x'; 200]);
    let begun = Instant::now();
    for byte in &frame {
        if served.peer.write_all(&[*byte]).await.is_err() {
            break;
        }
        advance(seconds(1)).await;
        // Lets the server run before the next byte.
        sleep(Duration::from_millis(1)).await;
    }
    assert!(begun.elapsed() >= seconds(60));
    let end = served.ended().await;
    assert!(
        matches!(
            end,
            Err(ServerError::FrameTimeout {
                received: 0,
                announced: 2,
                ..
            })
        ),
        "{end:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_window_may_take_long_if_its_frames_keep_coming() {
    let mut served = Served::new();
    served.send(&window(b'2', 10)).await;
    for number in 1..=10 {
        served.silence(seconds(50)).await;
        served.send(&events(b'2', number, 1)).await;
    }
    served.delivery().await.ack.acknowledge();
    assert_eq!(served.ack().await, (b'2', 10));
}

#[tokio::test(start_paused = true)]
async fn a_large_frame_may_take_long_if_its_bytes_keep_coming() {
    let mut served = Served::new();
    served.send(&window(b'2', 1)).await;
    let frame = json(b'2', 1, &vec![b'x'; 10 << 20]);
    for part in frame.chunks(1 << 20) {
        served.silence(seconds(50)).await;
        served.send(part).await;
    }
    let delivery = served.delivery().await;
    delivery.ack.acknowledge();
    assert_eq!(served.ack().await, (b'2', 1));
}

#[tokio::test(start_paused = true)]
async fn a_window_that_is_never_finished_is_cut_off() {
    let mut served = Served::new();
    served
        .send(&[window(b'2', 2), events(b'2', 1, 1)].concat())
        .await;
    let end = served.ended().await;
    assert!(
        matches!(
            end,
            Err(ServerError::FrameTimeout {
                received: 1,
                announced: 2,
                ..
            })
        ),
        "{end:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_no_acknowledgements_is_cut_off() {
    let (peer, stream) = tokio::io::duplex(16);
    let (sender, mut deliveries) = tokio::sync::mpsc::channel(4);
    let options = ServerOptions::default();
    let server =
        tokio::spawn(async move { skidder_lumberjack::serve(stream, &options, sender).await });
    let (_unread, mut writer) = tokio::io::split(peer);
    writer.write_all(&bare(b'2', 1, 1)).await.expect("writes");
    let _delivery = deliveries.recv().await.expect("a window");
    let end = server.await.expect("no panic");
    assert!(
        matches!(end, Err(ServerError::WriteTimeout { .. })),
        "{end:?}"
    );
}
