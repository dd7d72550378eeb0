//! The scenarios of a campaign: each is one task for several servers in turn.

use serde::{Deserialize, Serialize};

use crate::certificates::Key;
use crate::load::Framing;
use crate::measure::Workload;
use crate::peers::ServerSpec;

/// One task, and its servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scenario {
    /// Unique in a campaign, for the journal and for links: `echo-raw-64-1`.
    pub id: String,
    /// The section in a report.
    pub section: Section,
    /// The title within its section: `64 B, 1 in flight`.
    pub title: String,
    /// The value on the horizontal axis, in the scaling sections.
    pub scale: Option<u64>,
    /// The task of each server.
    pub task: Task,
    /// The servers, in the order of each round, without those that could not be built.
    pub servers: Vec<ServerSpec>,
    /// The name of the server that the others are compared with; it is one of them.
    pub floor: Option<String>,
    /// The number of measurements of each server.
    pub rounds: usize,
    /// True if the server may use the load's CPU, too: for more than one worker.
    pub spread: bool,
}

/// The parts of a report, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Section {
    /// Closed-loop echo of bytes.
    Echo,
    /// Closed-loop echo of framed messages.
    Framed,
    /// Messages at a fixed rate.
    Open,
    /// WebSocket echo.
    WebSocket,
    /// Closed-loop echo over TLS, of bytes and of WebSocket messages.
    Tls,
    /// WebSocket broadcast.
    Broadcast,
    /// Short connections.
    Churn,
    /// Short connections over TLS.
    Handshakes,
    /// Echo beside clients that do not read.
    SlowReaders,
    /// Memory per idle connection.
    Memory,
    /// User instructions per message.
    Instructions,
    /// System calls per message.
    Syscalls,
    /// Echo with increasing numbers of connections.
    Connections,
    /// Echo with increasing message sizes.
    Sizes,
    /// Echo with more workers.
    Workers,
    /// A fixed rate beside increasing numbers of running timers.
    Timers,
}

impl Section {
    /// Every section, in the order of a report.
    pub const ALL: [Self; 16] = [
        Self::Echo,
        Self::Framed,
        Self::Open,
        Self::WebSocket,
        Self::Tls,
        Self::Broadcast,
        Self::Churn,
        Self::Handshakes,
        Self::SlowReaders,
        Self::Memory,
        Self::Instructions,
        Self::Syscalls,
        Self::Connections,
        Self::Sizes,
        Self::Workers,
        Self::Timers,
    ];

    /// The section's heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Echo => "Echo",
            Self::Framed => "Framed echo",
            Self::Open => "Open loop",
            Self::WebSocket => "WebSocket echo",
            Self::Tls => "Echo over TLS",
            Self::Broadcast => "WebSocket broadcast",
            Self::Churn => "Short connections",
            Self::Handshakes => "TLS handshakes",
            Self::SlowReaders => "Beside slow readers",
            Self::Memory => "Memory per idle connection",
            Self::Instructions => "User instructions per message",
            Self::Syscalls => "System calls per message",
            Self::Connections => "Scaling: connections",
            Self::Sizes => "Scaling: message size",
            Self::Workers => "Scaling: workers",
            Self::Timers => "Scaling: running timers",
        }
    }

    /// A sentence or two of explanation for the reader.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::Echo => {
                "Each connection keeps messages in flight and sends the next for each answer; every byte is compared."
            }
            Self::Framed => {
                "As above, but the servers split the stream into messages. The floors echo bytes without looking."
            }
            Self::Open => {
                "Messages leave on a schedule, answered or not, so that servers can batch little. Latency counts from \
                 when a message should have left."
            }
            Self::WebSocket => {
                "Masked binary messages there, unmasked ones back, every byte compared. Deflated: JSON documents as text, \
                 without context takeover; every answer is verified."
            }
            Self::Tls => {
                "The same echoes over TLS 1.3 with AES-256-GCM, X25519 and a certificate with an ECDSA key, for all servers \
                 alike; every byte is compared after decryption."
            }
            Self::Broadcast => {
                "One client publishes at a fixed rate, all others receive. An operation is one delivery; latency counts \
                 from when the message should have been published. Where some do not read, the server's memory over the \
                 time of measuring says whether it keeps what they do not take."
            }
            Self::Churn => {
                "Connect, echo one message of 64 bytes, close. An operation is one connection."
            }
            Self::Handshakes => {
                "Connect, do a TLS 1.3 handshake, echo one message of 64 bytes, close. An operation is one connection. \
                 Resumed: each client uses a ticket that an earlier connection has got."
            }
            Self::SlowReaders => {
                "Some clients write as much as they can and never read. Figures are those of the others; memory is the \
                 server's at the end."
            }
            Self::Memory => {
                "Resident memory of the server process per connection that is held open, and what the kernel keeps for \
                 both ends of it."
            }
            Self::Instructions => {
                "Counted by callgrind, which sees user mode only. Go and Node servers cannot run under it, \
                 those on io_uring do not end under it."
            }
            Self::Syscalls => {
                "Counted by tracepoints in a run of its own. Calls shared by many messages, as a poll is, count in part."
            }
            Self::Connections => "Ping-pong of 64 bytes, one message in flight per connection.",
            Self::Sizes => "Ping-pong of raw bytes, one message in flight per connection.",
            Self::Workers => {
                "Ping-pong with 64 bytes; server and load share all CPUs, so only the time per message can be compared."
            }
            Self::Timers => {
                "A fixed rate of messages while so many timers run, each set for 5 to 65 seconds and again when it fires."
            }
        }
    }
}

/// The task of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// A load, with the counters at both ends of its window.
    Load(Workload),
    /// Holding connections, to measure their memory.
    Hold(Hold),
    /// A load of a number of operations under callgrind.
    Instructions(Workload),
    /// A load under system call tracepoints.
    Syscalls(Workload),
}

/// Connections that are held and silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The number of connections.
    pub connections: usize,
    /// The framing of the one message that each exchanges, and the handshake before it.
    pub framing: Framing,
    /// The key of the server's certificate; `None` without TLS.
    #[serde(default)]
    pub tls: Option<Key>,
}
