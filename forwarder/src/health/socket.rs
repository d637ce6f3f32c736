//! The Unix socket that the commands `status`, `log-level`, `reload`, `drain` and `resume`
//! speak over.
//!
//! A client sends one line, the answer is lines of JSON. Whoever may open the socket may ask and order, so
//! its mode is what guards it: the file gets its mode before it gets its name. Answers come in
//! pages, so that a hundred thousand files take no memory of ours.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::Health;
use super::status::Summary;
use crate::crowd::Crowd;
use crate::drain::{self, Drained};
use crate::reload::Reloader;
use crate::socket_file::SocketFile;

/// Connections at once; others wait.
pub const MAX_CONNECTIONS: usize = 8;
/// The longest question.
pub const MAX_QUESTION_BYTES: usize = 256;
/// From the connection to the end of the answer; a `drain` may take its own time on top.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// After an error that every `accept` would meet.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// The socket and its file.
pub struct Socket {
    listener: UnixListener,
    _file: SocketFile,
}

impl Socket {
    /// Makes the socket in place of one that was left behind.
    pub fn bind(path: &Path, mode: u32) -> io::Result<Self> {
        let bind = |path: &Path| UnixListener::bind(path);
        let (listener, file) = SocketFile::make(path, mode, (None, None), bind)?;
        Ok(Self {
            listener,
            _file: file,
        })
    }
}

/// Answers for ever. If the socket cannot be had, that is said and shipping goes on without.
pub async fn serve(path: PathBuf, mode: u32, health: Rc<Health>, reloader: Rc<Reloader>) {
    let socket = match Socket::bind(&path, mode) {
        Ok(socket) => socket,
        Err(error) => {
            let path = path.display();
            warn!(%path, %error, "cannot make the `status socket`, the commands `status`, `log-level` and \
                `reload` will not work");
            return std::future::pending().await;
        }
    };
    let mut crowd = Crowd::new(MAX_CONNECTIONS);
    loop {
        tokio::select! {
            accepted = socket.listener.accept(), if crowd.has_room() => match accepted {
                Ok((stream, _)) => {
                    let (health, reloader) = (Rc::clone(&health), Rc::clone(&reloader));
                    crowd.add((), async move {
                        // Whoever asked has gone, or was too slow: nobody is left to be told.
                        drop(answer(stream, &health, &reloader).await);
                    });
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
            () = crowd.next(), if !crowd.is_empty() => {}
        }
    }
}

async fn answer(mut stream: UnixStream, health: &Health, reloader: &Reloader) -> io::Result<()> {
    let question = timeout(DEADLINE, question(&mut stream)).await??;
    let words: Vec<&str> = question.split_whitespace().collect();
    if let ["drain", milliseconds] = words.as_slice()
        && let Ok(milliseconds) = milliseconds.parse()
    {
        let patience = Duration::from_millis(milliseconds);
        let drained = drain_unless_gone(&mut stream, health, patience).await?;
        return timeout(DEADLINE, end(&mut stream, &json!({"drained": drained}))).await?;
    }
    timeout(DEADLINE, tell(&mut stream, &words, health, reloader)).await?
}

async fn question(stream: &mut UnixStream) -> io::Result<String> {
    let mut question = Vec::with_capacity(64);
    while !question.contains(&b'\n') && question.len() < MAX_QUESTION_BYTES {
        if stream.read_buf(&mut question).await? == 0 {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&question).into_owned())
}

/// Whoever gives up waiting has not drained: reading goes on.
async fn drain_unless_gone(
    stream: &mut UnixStream,
    health: &Health,
    patience: Duration,
) -> io::Result<Drained> {
    let mut more = [0; 1];
    tokio::select! {
        drained = drain::drain(health, patience.min(drain::MAX_PATIENCE), true) => Ok(drained),
        _ = stream.read(&mut more) => {
            health.hold(false).await;
            Err(io::ErrorKind::ConnectionAborted.into())
        }
    }
}

async fn tell(
    stream: &mut UnixStream,
    words: &[&str],
    health: &Health,
    reloader: &Reloader,
) -> io::Result<()> {
    let done = match words {
        ["status"] => {
            status(stream, health).await?;
            return end(stream, &json!({})).await;
        }
        ["log-level", level] => {
            let done = reloader.set_level(level);
            done.map(|()| format!("the log level is {level}"))
        }
        ["reload"] => reloader.reload("asked for by the socket"),
        ["resume"] => match health.hold(false).await {
            Some(()) => Ok("reading goes on".to_owned()),
            None => Err("the files are not looked at any more".to_owned()),
        },
        _ => Err(
            "unknown question; there are `status`, `log-level LEVEL`, `reload`, \
             `drain MILLISECONDS` and `resume`"
                .to_owned(),
        ),
    };
    let answer = match done {
        Ok(message) => json!({"done": message}),
        Err(message) => json!({"error": message}),
    };
    end(stream, &answer).await
}

/// The last of an answer.
async fn end(stream: &mut UnixStream, answer: &serde_json::Value) -> io::Result<()> {
    line(stream, answer).await?;
    line(stream, &json!({"end": true})).await?;
    stream.shutdown().await
}

async fn status(stream: &mut UnixStream, health: &Health) -> io::Result<()> {
    let summary = Summary::of(health).await;
    line(stream, &json!({"summary": summary})).await?;
    let mut after = 0;
    while let Some((rows, last)) = health.files(after).await {
        if rows.is_empty() {
            break;
        }
        after = last;
        line(stream, &json!({"files": rows})).await?;
    }
    Ok(())
}

async fn line(stream: &mut UnixStream, value: &serde_json::Value) -> io::Result<()> {
    let mut text = value.to_string();
    text.push('\n');
    stream.write_all(text.as_bytes()).await
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_socket_has_its_mode_and_takes_the_place_of_an_old_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("s");
        let mode = || {
            let metadata = std::fs::metadata(&path).expect("is there");
            metadata.permissions().mode() & 0o777
        };
        let left = std::os::unix::net::UnixListener::bind(&path).expect("binds");
        drop(left);
        let socket = Socket::bind(&path, 0o600).expect("binds");
        assert_eq!(mode(), 0o600);
        drop(socket);
        assert_eq!(path.try_exists().ok(), Some(false));
        let socket = Socket::bind(&path, 0o660).expect("binds");
        assert_eq!(mode(), 0o660);
        drop(socket);
        std::fs::write(&path, "a file").expect("writes");
        assert!(Socket::bind(&path, 0o600).is_err());
        assert_eq!(std::fs::read(&path).expect("is there"), b"a file");
    }
}
