//! A log of messages that every gateway reads in the same order, and knows when it missed some.
//!
//! One stream in Redis: `{prefix}:NAME`. Its entries are numbered without gaps, and each has a random mark of its
//! own. A reader remembers number and mark of the last entry it has read ([`Position`]): as long as the log still
//! has exactly that entry, what follows is all that was written since. A log that was trimmed, emptied, or went
//! back in time (a server that restarted from an old snapshot, a failover to a replica that lagged) is
//! recognised, and the reader is told that it must assume anything ([`Read::Lost`]).
//!
//! When the log went back, readers that are away would find their position in it and miss what was lost. The
//! first reader that notices therefore writes the message that stands for everything.

use std::{fmt, str::FromStr, sync::LazyLock};

use redis::{RedisResult, Script};
use tokio::sync::watch;

use super::link::{Away, Redis, Status};

/// Entries that are kept: a reader that was away for more has lost its place.
pub const KEPT: u64 = 10_000;

/// Entries that one call reads.
pub const CHUNK: usize = 64;

/// Bytes of a message. A chunk of the largest is within the bounds of a reply.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// Entries at the end of the log that are looked through for an earlier word about a loss.
const LOOK_BACK: u64 = 64;

/// The functions that both scripts use. A number is written out in full, which Lua by itself does not do.
macro_rules! script {
    ($body:literal) => {
        concat!(
            r"
local log = KEYS[1]
local function number(entry) return tonumber(string.match(entry[1], '^%d+')) end
local function last() return redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1] end
local function id(sequence) return string.format('%.0f-0', sequence) end
local function add(sequence, kept, mark, message, run)
  redis.call('XADD', log, 'MAXLEN', kept, id(sequence), 'n', mark, 'm', message, 'r', run)
  redis.pcall('PUBLISH', log, string.format('%.0f', sequence))
end
local function begin(kept, mark)
  redis.call('DEL', log)
  add(1, kept, mark, '', '')
  return last()
end
",
            $body
        )
    };
}

/// Appends a message. Arguments: entries kept, its mark, the mark of a beginning, the message.
static APPEND: LazyLock<Script> = LazyLock::new(|| {
    Script::new(script!(
        r"
local tail = last() or begin(ARGV[1], ARGV[3])
local sequence = number(tail) + 1
add(sequence, ARGV[1], ARGV[2], ARGV[4], '')
return sequence
"
    ))
});

/// Reads what follows a position. Arguments: entries kept, a fresh mark, the reader's number (0: none yet) and
/// mark, how many entries, the largest message, the server's run, what stands for everything, how far to look back.
/// Gives back how the position stands (0 known, 1 too old, 2 not in this log), number and mark of the last entry, and
/// the entries.
static READ: LazyLock<Script> = LazyLock::new(|| {
    Script::new(script!(
        r"
local kept, fresh, mine, mark = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local tail = last() or begin(kept, fresh)
local first = number(redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1])
local known
if mine == 0 then
  known = first == 1
else
  local own = redis.call('XRANGE', log, id(mine), id(mine))[1]
  known = own and own[2][2] == mark
end
if known then
  local entries = {}
  for _, entry in ipairs(redis.call('XRANGE', log, id(mine + 1), '+', 'COUNT', ARGV[5])) do
    local message = entry[2][4] or '?'
    if #message > tonumber(ARGV[6]) then message = '?' end
    entries[#entries + 1] = {number(entry), entry[2][2] or '', message}
  end
  return {0, number(tail), tail[2][2] or '', entries}
end
if mine < first then
  return {1, number(tail), tail[2][2] or '', {}}
end
local said = false
if ARGV[7] ~= '' then
  for _, entry in ipairs(redis.call('XREVRANGE', log, '+', '-', 'COUNT', ARGV[9])) do
    if entry[2][6] == ARGV[7] then said = true end
  end
end
if not said then
  add(number(tail) + 1, kept, fresh, ARGV[8], ARGV[7])
  tail = last()
end
return {2, number(tail), tail[2][2] or '', {}}
"
    ))
});

/// A log; clones share it.
#[derive(Clone)]
pub struct Log {
    redis: Redis,
    name: &'static str,
}

/// An entry of a log, by which a reader knows how far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub sequence: u64,
    /// Its random mark.
    pub mark: String,
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub position: Position,
    /// Empty where a log begins.
    pub message: Vec<u8>,
}

/// What a reader finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// What follows its position, the first [`CHUNK`] of it, and the last entry of the log.
    Next { entries: Vec<Entry>, tail: Position },
    /// What follows its position cannot be had: anything may have been written. It goes on from `tail`.
    Lost { why: &'static str, tail: Position },
}

impl Log {
    /// The log of this name.
    #[must_use]
    pub fn new(redis: Redis, name: &'static str) -> Self {
        redis.listen(name);
        Self { redis, name }
    }

    /// How the connection is.
    #[must_use]
    pub fn status(&self) -> Status {
        self.redis.status()
    }

    /// Hears when there may be something to read.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<u64> {
        self.redis.news()
    }

    /// A mark for a message that is about to be appended.
    #[must_use]
    pub fn mark() -> String {
        let mut bytes = [0; 8];
        if getrandom::fill(&mut bytes).is_err() {
            // Only the sameness of two logs hangs on it.
            fastrand::fill(&mut bytes);
        }
        format!("{:016x}", u64::from_ne_bytes(bytes))
    }

    /// Appends a message under its mark; its number.
    ///
    /// # Errors
    /// When it is not known to be in the log. After a missed deadline it may still get there.
    pub async fn append(&self, mark: &str, message: &[u8]) -> Result<u64, Away> {
        if message.len() > MAX_MESSAGE {
            let bytes = message.len();
            return Err(Away(format!("the message has {bytes} bytes, at most {MAX_MESSAGE} are passed on")));
        }
        self.redis
            .call(|mut call| async move {
                let mut invocation = APPEND.key(call.config.key(self.name));
                invocation.arg(KEPT).arg(mark).arg(Self::mark()).arg(message);
                invocation.invoke_async(&mut call.connection).await
            })
            .await
    }

    /// Reads what follows `position`; a reader without one has read nothing yet. `everything` is the message
    /// that stands for all that may have been lost.
    ///
    /// # Errors
    /// When the server does not answer or refuses.
    pub async fn read(&self, position: Option<&Position>, everything: &[u8]) -> Result<Read, Away> {
        let (sequence, mark) = position.map_or((0, ""), |position| (position.sequence, &*position.mark));
        let found: Found = self
            .redis
            .call(|mut call| async move {
                let mut invocation = READ.key(call.config.key(self.name));
                invocation.arg(KEPT).arg(Self::mark()).arg(sequence).arg(mark).arg(CHUNK).arg(MAX_MESSAGE);
                invocation.arg(call.run).arg(everything).arg(LOOK_BACK);
                let found: RedisResult<Found> = invocation.invoke_async(&mut call.connection).await;
                found
            })
            .await?;
        let (state, sequence, mark, entries) = found;
        let tail = Position { sequence, mark };
        let entry = |(sequence, mark, message)| Entry { position: Position { sequence, mark }, message };
        Ok(match state {
            0 => Read::Next { entries: entries.into_iter().map(entry).collect(), tail },
            1 => Read::Lost { why: "the log no longer reaches back to what was read last", tail },
            _ => {
                Read::Lost { why: "the log is not the one that was read last: Redis lost what it held", tail }
            }
        })
    }
}

/// What [`READ`] gives back.
type Found = (u64, u64, String, Vec<(u64, String, Vec<u8>)>);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, self.mark)
    }
}

impl FromStr for Position {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (sequence, mark) = text.split_once(':').ok_or(())?;
        let sequence = sequence.parse().map_err(|_| ())?;
        Ok(Self { sequence, mark: mark.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_written_and_read() {
        let position = Position { sequence: 57, mark: Log::mark() };
        assert_eq!(position.to_string().parse(), Ok(position));
        for wrong in ["", "57", "x:1", "-1:a"] {
            assert!(wrong.parse::<Position>().is_err(), "{wrong}");
        }
        assert_ne!(Log::mark(), Log::mark());
    }

    #[test]
    fn a_chunk_of_the_largest_messages_is_within_the_bounds_of_a_reply() {
        let entry = MAX_MESSAGE + 256;
        assert!((CHUNK * entry) as u64 <= crate::shared::bounds::MAX_REPLY);
    }
}
