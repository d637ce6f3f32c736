//! Our client against our server over an in-memory stream: both roles agree with each other.

use std::time::Duration;

use skidder_lumberjack::{
    Acked, ByteBudget, Client, ClientOptions, Compression, Delivery, Payload, ServerOptions,
    Version, WindowBuilder, serve,
};
use tokio::{sync::mpsc, time::timeout};

const PATIENCE: Duration = Duration::from_mins(1);

fn json_window(builder: &mut WindowBuilder, events: u32) -> skidder_lumberjack::EncodedWindow {
    for number in 0..events {
        builder
            .push_json(format!("{{\"message\":\"line {number}\"}}").as_bytes())
            .expect("fits");
    }
    builder.finish()
}

#[tokio::test]
async fn windows_of_both_versions_and_compressions_arrive_and_are_acknowledged() {
    for version in [Version::V1, Version::V2] {
        for compression in [Compression::None, Compression::Zlib { level: 3 }] {
            // A stream that holds few bytes, so that every frame is split.
            let (ours, theirs) = tokio::io::duplex(61);
            let budget = ByteBudget::new(1 << 20);
            let options = ServerOptions {
                budget: budget.clone(),
                ..ServerOptions::default()
            };
            let (sender, mut receiver) = mpsc::channel::<Delivery>(1);
            let server = tokio::spawn(async move { serve(theirs, &options, sender).await });
            let consumer = tokio::spawn(async move {
                let mut events = Vec::new();
                while let Some(Delivery { window, ack }) = receiver.recv().await {
                    assert_eq!(window.version, version);
                    for event in &window.events {
                        match &event.payload {
                            Payload::Json(json) => events.push(json.to_vec()),
                            Payload::Line(line) => panic!("not of this version: {line:?}"),
                            Payload::Pairs(pairs) => {
                                events.push(pairs.find(b"line").expect("a line").to_vec());
                            }
                        }
                    }
                    ack.acknowledge();
                }
                events
            });
            let mut client = Client::new(ours, ClientOptions::new(version));
            let mut builder = WindowBuilder::new(version, compression);
            for _ in 0..5 {
                let window = if version == Version::V2 {
                    json_window(&mut builder, 300)
                } else {
                    for number in 0..300 {
                        let line = format!("{{\"message\":\"line {number}\"}}");
                        builder
                            .push_pairs([
                                (&b"host"[..], &b"a"[..]),
                                (&b"line"[..], line.as_bytes()),
                            ])
                            .expect("fits");
                    }
                    builder.finish()
                };
                timeout(PATIENCE, client.send(&window))
                    .await
                    .expect("in time")
                    .expect("sent");
                let acked = timeout(PATIENCE, client.receive_ack())
                    .await
                    .expect("in time")
                    .expect("acknowledged");
                assert_eq!(
                    acked,
                    Acked {
                        events: 300,
                        complete: true
                    }
                );
            }
            client.close().await.expect("closes");
            timeout(PATIENCE, server)
                .await
                .expect("in time")
                .expect("no panic")
                .expect("a clean end");
            let events = consumer.await.expect("no panic");
            assert_eq!(events.len(), 1500);
            assert_eq!(events[299], b"{\"message\":\"line 299\"}");
            assert_eq!(budget.used(), 0, "everything is given back");
        }
    }
}
