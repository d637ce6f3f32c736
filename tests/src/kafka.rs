//! Questions to a Kafka broker, in its own protocol: topics, offsets, what a group has committed.
//!
//! Only what one broker that is the whole cluster answers, in the oldest versions of requests that Kafka 4 takes: in these texts have a
//! length in two bytes and arrays one in four.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

const TIMEOUT: Duration = Duration::from_secs(20);
/// No answer here is longer.
const MAX_ANSWER: usize = 1 << 20;

const LIST_OFFSETS: (i16, i16) = (2, 1);
const OFFSET_FETCH: (i16, i16) = (9, 1);
const CREATE_TOPICS: (i16, i16) = (19, 2);
const NO_ERROR: i16 = 0;
/// The coordinator of the group reads what it knows.
const COORDINATOR_LOADS: i16 = 14;
/// Nobody looks after groups before the first one is there.
const NOT_COORDINATOR: i16 = 16;
const TOPIC_ALREADY_EXISTS: i16 = 36;
/// Asks for the offset behind the last message.
const LATEST: i64 = -1;

/// A broker that is asked.
#[derive(Clone, Copy, Debug)]
pub struct Cluster {
    address: SocketAddr,
}

impl Cluster {
    /// The cluster of the broker at this address.
    pub fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Whether it takes requests: topics can be made only when it is a member of its cluster.
    pub fn ready(&self) -> Result<()> {
        self.create("ready", 1, &[])
    }

    /// Makes a topic, unless it is there.
    pub fn create(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) -> Result<()> {
        let mut request = Request::new(CREATE_TOPICS);
        request.count(1).text(topic).i32(partitions).i16(1).count(0);
        request.count(settings.len());
        for (name, value) in settings {
            request.text(name).text(value);
        }
        request.i32(15_000).bytes.push(0);
        let mut answer = self.ask(&request)?;
        let _throttled = answer.i32()?;
        ensure!(
            answer.i32()? == 1,
            "an answer about another number of topics"
        );
        let _name = answer.text()?;
        let error = answer.i16()?;
        ensure!(
            [NO_ERROR, TOPIC_ALREADY_EXISTS].contains(&error),
            "making the topic {topic}: error {error}, {:?}",
            answer.text()?
        );
        Ok(())
    }

    /// The offset behind the last message of each partition.
    pub fn ends(&self, topic: &str, partitions: i32) -> Result<Vec<i64>> {
        let mut request = Request::new(LIST_OFFSETS);
        request
            .i32(-1)
            .count(1)
            .text(topic)
            .count(partitions as usize);
        for partition in 0..partitions {
            request.i32(partition).i64(LATEST);
        }
        let mut answer = self.ask(&request)?;
        answer.partitions(partitions, |answer| {
            let error = answer.i16()?;
            ensure!(error == 0, "the offsets of {topic}: error {error}");
            let _time = answer.i64()?;
            answer.i64()
        })
    }

    /// What a group has committed of each partition; -1 if nothing.
    pub fn committed(&self, group: &str, topic: &str, partitions: i32) -> Result<Vec<i64>> {
        let mut request = Request::new(OFFSET_FETCH);
        request
            .text(group)
            .count(1)
            .text(topic)
            .count(partitions as usize);
        for partition in 0..partitions {
            request.i32(partition);
        }
        let mut answer = self.ask(&request)?;
        answer.partitions(partitions, |answer| {
            let offset = answer.i64()?;
            let _metadata = answer.text()?;
            let error = answer.i16()?;
            ensure!(
                [NO_ERROR, COORDINATOR_LOADS, NOT_COORDINATOR].contains(&error),
                "the offsets of the group {group}: error {error}"
            );
            Ok(offset)
        })
    }

    fn ask(&self, request: &Request) -> Result<Answer> {
        let mut stream = TcpStream::connect_timeout(&self.address, TIMEOUT)
            .with_context(|| format!("connecting to {}", self.address))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.write_all(&(request.bytes.len() as u32).to_be_bytes())?;
        stream.write_all(&request.bytes)?;
        let mut length = [0; 4];
        stream
            .read_exact(&mut length)
            .context("reading an answer")?;
        let length = u32::from_be_bytes(length) as usize;
        ensure!(
            (4..MAX_ANSWER).contains(&length),
            "an answer of {length} bytes"
        );
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes).context("reading an answer")?;
        // It begins with the request's number.
        Ok(Answer { bytes, at: 4 })
    }
}

struct Request {
    bytes: Vec<u8>,
}

impl Request {
    fn new((key, version): (i16, i16)) -> Self {
        let mut request = Self { bytes: Vec::new() };
        request.i16(key).i16(version).i32(1).text("skidder-tests");
        request
    }

    fn i16(&mut self, number: i16) -> &mut Self {
        self.bytes.extend_from_slice(&number.to_be_bytes());
        self
    }

    fn i32(&mut self, number: i32) -> &mut Self {
        self.bytes.extend_from_slice(&number.to_be_bytes());
        self
    }

    fn i64(&mut self, number: i64) -> &mut Self {
        self.bytes.extend_from_slice(&number.to_be_bytes());
        self
    }

    fn count(&mut self, number: usize) -> &mut Self {
        self.i32(number as i32)
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.i16(text.len() as i16);
        self.bytes.extend_from_slice(text.as_bytes());
        self
    }
}

struct Answer {
    bytes: Vec<u8>,
    at: usize,
}

impl Answer {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let taken = self.bytes[self.at..].first_chunk().copied();
        self.at += N;
        taken.context("an answer that is too short")
    }

    fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.take()?))
    }

    fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.take()?))
    }

    fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.take()?))
    }

    fn text(&mut self) -> Result<Option<String>> {
        let Ok(length) = usize::try_from(self.i16()?) else {
            return Ok(None);
        };
        let bytes = self.bytes.get(self.at..self.at + length);
        let text = String::from_utf8(bytes.context("an answer that is too short")?.to_vec())?;
        self.at += length;
        Ok(Some(text))
    }

    /// What is told of each partition of the one topic.
    fn partitions(
        &mut self,
        partitions: i32,
        mut each: impl FnMut(&mut Self) -> Result<i64>,
    ) -> Result<Vec<i64>> {
        ensure!(self.i32()? == 1, "an answer about another number of topics");
        let _topic = self.text()?;
        ensure!(
            self.i32()? == partitions,
            "an answer about other partitions"
        );
        let mut told = vec![-1; partitions as usize];
        for _ in 0..partitions {
            let partition = self.i32()?;
            let told_of = usize::try_from(partition)
                .ok()
                .and_then(|at| told.get_mut(at));
            match told_of {
                Some(told_of) => *told_of = each(self)?,
                None => bail!("an answer about partition {partition}"),
            }
        }
        Ok(told)
    }
}
