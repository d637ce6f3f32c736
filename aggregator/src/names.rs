//! Asks name servers, for the filter `dns`.
//!
//! One thread for each set of servers, with a runtime of its own, so that no worker and no connection
//! waits for a name server. A question is sent over UDP from a port that the kernel picks, under an
//! identifier nobody can guess, and again over TCP if the answer does not fit. What does not belong to the
//! question is not looked at: the right answer may still come.
//!
//! INVARIANT: at most [`MAX_UNDER_WAY`] sockets are open at a time and [`MAX_QUEUED`] questions wait for
//! one; every question is answered within [`Settings::patience`] of being asked.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use skidder_pipeline::filter::dns::message::{self, MAX_UDP_BYTES, RecordType, Reply};
use skidder_pipeline::filter::dns::{Answer, MAX_QUESTIONS, Question, Resolver, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::warn;

/// How many questions have a socket at a time.
pub const MAX_UNDER_WAY: usize = 256;
/// How many questions wait for one. Those that a filter asks ahead fit in.
pub const MAX_QUEUED: usize = MAX_QUESTIONS;

type Answered = Box<dyn FnOnce(Answer) + Send>;

struct Asked {
    question: Question,
    answered: Answered,
    deadline: Instant,
}

/// The questions of one filter.
pub struct NameServers {
    settings: Arc<Settings>,
    /// The thread's queue; it is started by the first question, so that a configuration that is only checked
    /// has none.
    thread: Mutex<Option<mpsc::Sender<Asked>>>,
}

impl NameServers {
    /// Asks these servers.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings: Arc::new(settings),
            thread: Mutex::new(None),
        }
    }

    fn queue(&self) -> io::Result<mpsc::Sender<Asked>> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = &*thread {
            return Ok(queue.clone());
        }
        let (queue, questions) = mpsc::channel(MAX_QUEUED);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let settings = Arc::clone(&self.settings);
        std::thread::Builder::new()
            .name("dns".into())
            .spawn(move || runtime.block_on(serve(settings, questions)))?;
        *thread = Some(queue.clone());
        Ok(queue)
    }
}

impl Resolver for NameServers {
    fn ask(&self, question: Question, answered: Answered) {
        let queue = match self.queue() {
            Ok(queue) => queue,
            Err(error) => {
                warn!(%error, "name servers cannot be asked: no thread for it");
                answered(Answer::TimedOut);
                return;
            }
        };
        let asked = Asked {
            question,
            answered,
            deadline: Instant::now() + self.settings.patience(),
        };
        if let Err(refused) = queue.try_send(asked) {
            // So many are waiting that this one would not have its turn in time.
            (refused.into_inner().answered)(Answer::TimedOut);
        }
    }
}

/// Takes questions until the filter is gone.
async fn serve(settings: Arc<Settings>, mut questions: mpsc::Receiver<Asked>) {
    let sockets = Arc::new(Semaphore::new(MAX_UNDER_WAY));
    let random = RandomState::new();
    let mut count: u64 = 0;
    while let Some(asked) = questions.recv().await {
        count += 1;
        let id = random.hash_one(count);
        let place = timeout_at(asked.deadline, Arc::clone(&sockets).acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            (asked.answered)(Answer::TimedOut);
            continue;
        };
        let settings = Arc::clone(&settings);
        tokio::spawn(async move {
            let answer = timeout_at(asked.deadline, look_up(&settings, &asked.question, id)).await;
            drop(place);
            (asked.answered)(answer.unwrap_or(Answer::TimedOut));
        });
    }
}

/// Asks for each name and each kind until something is found.
async fn look_up(settings: &Settings, question: &Question, id: u64) -> Answer {
    let mut number: u16 = 0;
    for name in &question.names {
        for kind in question.kinds {
            // Each question has an identifier of its own.
            number = number.wrapping_add(1);
            let id = (id >> 16) as u16 ^ (id as u16).wrapping_mul(number);
            match ask_all(settings, name, *kind, id).await {
                Reply::Found(text) => return Answer::Found(text),
                Reply::Truncated => return Answer::TimedOut,
                Reply::Missing | Reply::Refused => {}
            }
        }
    }
    Answer::Missing
}

/// Asks one server after the other, again and again as often as it is set; [`Reply::Truncated`] if none
/// has answered.
async fn ask_all(settings: &Settings, name: &str, kind: RecordType, id: u16) -> Reply {
    let Some(message) = message::question(id, name, kind) else {
        return Reply::Missing;
    };
    for _ in 0..=settings.max_retries {
        let mut refused = false;
        for server in &settings.servers {
            let exchange = exchange(*server, &message, name, kind, id);
            match timeout(settings.timeout, exchange).await {
                // An error is a server that is not there: the next one, and later again.
                Err(_) | Ok(Err(_)) => {}
                Ok(Ok(Reply::Refused)) => refused = true,
                Ok(Ok(reply)) => return reply,
            }
        }
        if refused {
            return Reply::Refused;
        }
    }
    Reply::Truncated
}

/// One question to one server.
async fn exchange(
    server: SocketAddr,
    question: &[u8],
    name: &str,
    kind: RecordType,
    id: u16,
) -> io::Result<Reply> {
    let any: SocketAddr = if server.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any).await?;
    // Only this server is heard from here on.
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut answer = vec![0; MAX_UDP_BYTES];
    loop {
        let length = socket.recv(&mut answer).await?;
        match message::reply(&answer[..length], id, name, kind) {
            None => {}
            Some(Reply::Truncated) => break,
            Some(reply) => return Ok(reply),
        }
    }
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(question);
    stream.write_all(&framed).await?;
    // A length of two bytes bounds it.
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    match message::reply(&answer, id, name, kind) {
        Some(Reply::Truncated) | None => Err(io::ErrorKind::InvalidData.into()),
        Some(reply) => Ok(reply),
    }
}
