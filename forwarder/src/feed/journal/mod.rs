//! The systemd journal, read by `journalctl` as a child process.
//!
//! Why not the files themselves: `docs/decisions/0014-journalctl.md`. [`export`] understands what it writes, [`names`]
//! says what its fields are called in events, [`cursor`] where an entry is.
//!
//! INVARIANT: every entry behind the cursor that the registry has is sent. The child is started *at* the
//! cursor, not behind it, and the entry that is known is left out: `journalctl --after-cursor` leaves out the next
//! one when that entry is not there any more.
//!
//! The child is not read while there is no room for more entries; it ends with this task.

pub mod cursor;
pub mod export;
pub mod names;

use std::collections::VecDeque;
use std::future::pending;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use self::cursor::Cursor;
use self::export::{Entry, Parser};
use self::names::Keep;
use super::{Gone, Noted, Outlet, Parcel, Record};

/// Bytes that are read from the child at once.
const READ_BYTES: usize = 64 << 10;
/// The end of what the child has complained of.
const COMPLAINT_BYTES: usize = 2 << 10;
/// The first wait before the child is started again; it doubles, …
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// … up to this.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// A child that writes no more has this long to end.
const PATIENCE: Duration = Duration::from_secs(5);
/// Since this version of systemd `--follow` shows the current boot alone, unless `--boot=all` is said.
const KNOWS_ALL_BOOTS: u32 = 242;

/// One element of `journal`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its name in the registry and in events.
    pub name: String,
    /// Added to each event.
    pub fields: Vec<(String, String)>,
    /// The program.
    pub program: PathBuf,
    /// What is asked for, as its arguments.
    pub arguments: Vec<String>,
    /// Only the boot that is running.
    pub current_boot: bool,
    /// At the very first start only what comes is shipped.
    pub from_end: bool,
    /// Which fields events have.
    pub keep: Keep,
    /// The end of a longer message is left out.
    pub max_message_bytes: usize,
}

/// Where to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest entry.
    Oldest,
    /// With those to come.
    End,
    /// Behind the entry with this cursor.
    Behind(String),
}

/// Reads until nobody takes entries any more.
pub async fn run(settings: Settings, start: Start, outlet: Outlet) {
    let journal = settings.name.clone();
    let mut reading = Reading {
        boots: None,
        at: None,
        settings,
        outlet,
    };
    match start {
        Start::Oldest => {}
        Start::Behind(cursor) => reading.at = Some(cursor),
        Start::End => {
            let mut pause = Pause::default();
            loop {
                match reading.find_end().await {
                    Ok(end) => {
                        reading.at = end;
                        break;
                    }
                    Err(why) => {
                        warn!(journal, "cannot look for the end of the journal: {why}");
                        pause.wait().await;
                    }
                }
            }
        }
    }
    if reading
        .outlet
        .send(Parcel::Begun(reading.at.clone()))
        .await
        .is_err()
    {
        return;
    }
    let mut pause = Pause::default();
    loop {
        let before = reading.at.clone();
        let why = match reading.child().await {
            Ok(why) => why,
            Err(Gone) => return,
        };
        if reading.at != before {
            pause = Pause::default();
        }
        warn!(
            journal,
            "journalctl has ended and is started again in {:?}: {why}", pause.next
        );
        if reading
            .outlet
            .note(Noted::JournalRestarts, 1)
            .await
            .is_err()
        {
            return;
        }
        pause.wait().await;
    }
}

/// How long to wait before the next try.
struct Pause {
    next: Duration,
}

impl Default for Pause {
    fn default() -> Self {
        Self { next: FIRST_PAUSE }
    }
}

impl Pause {
    async fn wait(&mut self) {
        sleep(self.next).await;
        self.next = (self.next * 2).min(LONGEST_PAUSE);
    }
}

struct Reading {
    settings: Settings,
    outlet: Outlet,
    /// The argument that says which boots; found out before the first child that reads.
    boots: Option<&'static [&'static str]>,
    /// The last entry that was handed on.
    at: Option<String>,
}

impl Reading {
    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(&self.settings.program);
        command
            .args(["--quiet", "--no-pager", "--output=export"])
            .args(more)
            .args(self.boots.unwrap_or_default())
            .args(&self.settings.arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    fn spawn(&self, more: &[&str]) -> Result<Child, String> {
        self.command(more).spawn().map_err(|error| {
            let program = self.settings.program.display();
            format!("cannot run `{program}`: {error}; install systemd, or say where it is with `journalctl`")
        })
    }

    /// What a child writes that ends by itself; a bounded part of it.
    async fn ask(&self, what: &[&str]) -> Result<Vec<u8>, String> {
        let mut child = self.spawn(what)?;
        let Some((output, mut errors)) = child.stdout.take().zip(child.stderr.take()) else {
            return Err("it has no output".to_owned());
        };
        let mut bytes = Vec::new();
        let mut complaint = Complaint::default();
        let mut output = output.take(READ_BYTES as u64);
        tokio::select! {
            read = output.read_to_end(&mut bytes) => read.map_err(|error| format!("cannot read what it writes: {error}"))?,
            () = complaint.read_on(&mut errors) => 0,
        };
        match ended(&mut child, complaint, &mut errors).await {
            (true, _) => Ok(bytes),
            (false, why) => Err(why),
        }
    }

    /// Finds out how to ask for every boot.
    async fn find_boots(&mut self) -> Result<(), String> {
        if self.settings.current_boot {
            self.boots = Some(&["--boot"]);
        } else if self.boots.is_none() {
            // `systemd 252 (252.39-1~deb12u1)`
            let text = self.ask(&["--version"]).await?;
            let text = String::from_utf8_lossy(&text);
            let version = text.split_whitespace().nth(1);
            let version = version.and_then(|word| word.parse::<u32>().ok());
            let knows = version.is_none_or(|version| version >= KNOWS_ALL_BOOTS);
            self.boots = Some(if knows { &["--boot=all"] } else { &[] });
        }
        Ok(())
    }

    /// The cursor of the last entry of those that are asked for; none if there is no such entry.
    async fn find_end(&mut self) -> Result<Option<String>, String> {
        self.find_boots().await?;
        let bytes = self.ask(&["--lines=1", "--output-fields=_BOOT_ID"]).await?;
        let mut parser = Parser::new(Keep::Some(Vec::new()), 0);
        let mut last = None;
        let fed = parser.feed(&bytes, &mut |entry| last = Some(entry.cursor));
        fed.map_err(|malformed| malformed.to_string())?;
        Ok(last)
    }

    /// Runs the child until it ends; why it did.
    async fn child(&mut self) -> Result<String, Gone> {
        if let Err(why) = self.find_boots().await {
            return Ok(why);
        }
        let known = self.at.as_deref().and_then(Cursor::parse);
        if let (Some(at), None) = (&self.at, &known) {
            warn!(
                journal = self.settings.name,
                cursor = at,
                "the cursor in the registry is none: the journal is read from its oldest entry"
            );
            self.outlet.note(Noted::JournalGaps, 1).await?;
        }
        let cursor = known
            .as_ref()
            .map(|cursor| format!("--cursor={}", cursor.text()));
        let mut more = vec!["--follow", "--no-tail"];
        more.extend(cursor.as_deref());
        let mut child = match self.spawn(&more) {
            Ok(child) => child,
            Err(why) => return Ok(why),
        };
        info!(
            journal = self.settings.name,
            from = self.at,
            "reading the journal"
        );
        let Some((mut output, mut errors)) = child.stdout.take().zip(child.stderr.take()) else {
            return Ok("it has no output".to_owned());
        };
        let mut parser = Parser::new(self.settings.keep.clone(), self.settings.max_message_bytes);
        let mut buffer = vec![0; READ_BYTES];
        let mut complaint = Complaint::default();
        let mut expected = known;
        let why = loop {
            let read = tokio::select! {
                read = output.read(&mut buffer) => read,
                () = complaint.read_on(&mut errors) => continue,
            };
            let bytes = match read {
                Ok(0) => break None,
                Ok(count) => &buffer[..count],
                Err(error) => break Some(format!("cannot read what it writes: {error}")),
            };
            let mut entries = Vec::new();
            let fed = parser.feed(bytes, &mut |entry| entries.push(entry));
            self.hand_on(entries, &mut expected).await?;
            if let Err(malformed) = fed {
                break Some(malformed.to_string());
            }
        };
        Ok(match why {
            Some(why) => why,
            None => ended(&mut child, complaint, &mut errors).await.1,
        })
    }

    /// Hands entries on but the one that is known.
    async fn hand_on(
        &mut self,
        mut entries: Vec<Entry>,
        expected: &mut Option<Cursor>,
    ) -> Result<(), Gone> {
        if let Some(first) = entries.first()
            && let Some(known) = expected.take()
        {
            if known.is(&first.cursor) {
                entries.remove(0);
            } else {
                warn!(
                    journal = self.settings.name,
                    was = known.text(),
                    from = first.cursor,
                    "the entry at which the reading stopped is not in the journal any more: it goes on with \
                     the oldest one behind it; what the journal has dropped meanwhile was not shipped"
                );
                self.outlet.note(Noted::JournalGaps, 1).await?;
            }
        }
        let truncated = entries.iter().filter(|entry| entry.truncated).count();
        if truncated > 0 {
            self.outlet
                .note(Noted::MessagesTruncated, truncated as u64)
                .await?;
        }
        if let Some(last) = entries.last() {
            self.at = Some(last.cursor.clone());
            let records = entries.into_iter().map(record).collect();
            self.outlet.send(Parcel::Records(records)).await?;
        }
        Ok(())
    }
}

/// The end of what a child complains of.
#[derive(Default)]
struct Complaint {
    bytes: VecDeque<u8>,
}

impl Complaint {
    /// Reads on, for ever.
    async fn read_on(&mut self, errors: &mut ChildStderr) {
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = errors.read(&mut buffer).await {
            self.bytes.extend(&buffer[..count]);
            let surplus = self.bytes.len().saturating_sub(COMPLAINT_BYTES);
            self.bytes.drain(..surplus);
        }
        pending::<()>().await;
    }

    fn text(&mut self) -> String {
        let text = String::from_utf8_lossy(self.bytes.make_contiguous());
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// Whether a child that writes no more has done what it should, and what it says.
async fn ended(
    child: &mut Child,
    mut complaint: Complaint,
    errors: &mut ChildStderr,
) -> (bool, String) {
    let status = async {
        tokio::select! {
            status = child.wait() => status,
            () = complaint.read_on(errors) => pending().await,
        }
    };
    let status = match timeout(PATIENCE, status).await {
        Ok(Ok(status)) => status,
        Ok(Err(error)) => return (false, format!("cannot wait for it: {error}")),
        // It is killed when it is dropped.
        Err(_) => return (false, "it writes no more, and does not end".to_owned()),
    };
    // What is in the pipe is still to be read.
    drop(timeout(Duration::from_millis(100), complaint.read_on(errors)).await);
    let text = match complaint.text() {
        text if text.is_empty() => status.to_string(),
        text => format!("{status}: {text}"),
    };
    (status.success(), text)
}

fn record(entry: Entry) -> Record {
    let mut fields = entry.fields;
    if entry.truncated {
        fields.push(("truncated".into(), b"true".to_vec()));
    }
    // Those of one object follow each other.
    fields.sort();
    Record {
        text: entry.message,
        offset: Some(cursor::offset(&entry.cursor)),
        read_at: (entry.realtime / 1000) as i64,
        fields,
        cursor: Some(entry.cursor.into()),
    }
}
