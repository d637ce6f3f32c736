//! Names of servers are looked up again and again, and connections to where they no longer lead end.
//!
//! An HTTP client asks for an address when it opens a connection and keeps that for as long as it is
//! used, which for a busy output is for ever: after a fail-over, or when a managed cluster has replaced
//! its nodes, it would talk to the old ones until they are gone. So names are looked up every
//! `dns_interval` (and a second after a server did not answer); if one leads elsewhere the client gets
//! new connections, to the new addresses, and the old ones end with the requests that are on them.
//!
//! A name that cannot be looked up keeps the addresses that it had.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, info, warn};

use super::client::Client;
use super::hosts::HostPool;
use crate::throttle::Throttle;

/// A server that does not answer is looked up again after this time.
pub(super) const AFTER_DOUBT: Duration = Duration::from_secs(1);

/// What looks a name up.
pub(super) type Lookup = Arc<
    dyn Fn(String, u16) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>
        + Send
        + Sync,
>;

/// The system's way.
pub(super) fn system() -> Lookup {
    Arc::new(|name, port| {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, port)).await?.collect()) })
    })
}

/// A name, its port, and where it leads.
pub(super) type Addresses = Vec<(String, Vec<SocketAddr>)>;

/// Looks the names up for as long as it runs.
pub(super) async fn watch(
    client: Arc<Client>,
    pool: Arc<HostPool>,
    names: Vec<(String, u16)>,
    interval: Duration,
    lookup: Lookup,
) {
    if names.is_empty() {
        return;
    }
    let mut known: Addresses = names
        .iter()
        .map(|(name, _)| (name.clone(), Vec::new()))
        .collect();
    let failures = Throttle::default();
    loop {
        let mut changed = false;
        for ((name, port), (_, addresses)) in names.iter().zip(&mut known) {
            let found = match lookup(name.clone(), *port).await {
                Ok(found) if !found.is_empty() => found,
                Ok(_) => continue,
                Err(error) => {
                    if let Some(times) = failures.due(1) {
                        warn!(host = name, %error, times, "cannot look up the address of a server, keeping the one that is known");
                    }
                    continue;
                }
            };
            if places(&found) == places(addresses) {
                continue;
            }
            if addresses.is_empty() {
                debug!(host = name, addresses = ?found, "looked up a server");
            } else {
                info!(host = name, before = ?addresses, now = ?found,
                    "the name of a server leads elsewhere: going there, old connections end with the requests that are on them");
            }
            *addresses = found;
            changed = true;
        }
        if changed && let Err(error) = client.renew(&known) {
            warn!(%error, "cannot make new connections");
        }
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = pool.doubt.notified() => tokio::time::sleep(AFTER_DOUBT.min(interval)).await,
        }
    }
}

/// The addresses in an order of their own: name servers give them in a new one each time.
fn places(addresses: &[SocketAddr]) -> Vec<IpAddr> {
    let mut places: Vec<_> = addresses.iter().map(SocketAddr::ip).collect();
    places.sort_unstable();
    places.dedup();
    places
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::super::options::ElasticsearchOptions;
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Answers every request; tells its number when one came, and its negative when a connection ended.
    fn serve(listener: TcpListener, number: i32, told: mpsc::Sender<i32>) {
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let told = told.clone();
                tokio::spawn(async move {
                    let mut buffer = vec![0; 64 << 10];
                    while let Ok(1..) = stream.read(&mut buffer).await {
                        told.send(number).await.ok();
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                        if stream.write_all(answer).await.is_err() {
                            break;
                        }
                    }
                    told.send(-number).await.ok();
                });
            }
        });
    }

    #[tokio::test]
    async fn complaint_34_a_name_that_leads_elsewhere_is_followed_and_old_connections_end() {
        let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = first.local_addr().unwrap().port();
        let second = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
        let (told, mut tells) = mpsc::channel(16);
        serve(first, 1, told.clone());
        serve(second, 2, told);

        let options = ElasticsearchOptions {
            hosts: vec![format!("search.test:{port}")],
            ..ElasticsearchOptions::default()
        };
        assert_eq!(options.names().unwrap(), [("search.test".to_owned(), port)]);
        let client = Arc::new(Client::new(&options).unwrap());
        let endpoints = options.endpoints().unwrap();
        let endpoint = endpoints[0].clone();
        let pool = Arc::new(HostPool::new(endpoints, 1000));
        let leads_to = Arc::new(Mutex::new("127.0.0.1"));
        let lookups = Arc::new(tokio::sync::Notify::new());
        let lookup: Lookup = {
            let (leads_to, lookups) = (Arc::clone(&leads_to), Arc::clone(&lookups));
            Arc::new(move |_, port| {
                let address = *leads_to.lock().unwrap();
                lookups.notify_one();
                Box::pin(async move { Ok(vec![(address.parse::<IpAddr>().unwrap(), port).into()]) })
            })
        };
        let watching = tokio::spawn(watch(
            Arc::clone(&client),
            pool,
            options.names().unwrap(),
            Duration::from_millis(20),
            lookup,
        ));
        for _ in 0..2 {
            lookups.notified().await;
        }
        assert!(client.probe(&endpoint).await);
        assert_eq!(tells.recv().await, Some(1));
        *leads_to.lock().unwrap() = "127.0.0.2";
        // The connection to the first ends by itself, without another request.
        let ended = tokio::time::timeout(PATIENCE, tells.recv()).await.unwrap();
        assert_eq!(ended, Some(-1));
        assert!(client.probe(&endpoint).await);
        assert_eq!(tells.recv().await, Some(2));
        watching.abort();
    }

    #[test]
    fn addresses_are_compared_whatever_their_order() {
        let of = |text: &[&str]| {
            let addresses: Vec<_> = text.iter().map(|one| one.parse().unwrap()).collect();
            places(&addresses)
        };
        assert_eq!(
            of(&["10.0.0.1:1", "10.0.0.2:1"]),
            of(&["10.0.0.2:1", "10.0.0.1:1", "10.0.0.1:1"])
        );
        assert_ne!(of(&["10.0.0.1:1"]), of(&["10.0.0.2:1"]));
    }
}
