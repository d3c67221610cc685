//! Every limit of the server: its name with its unit, its default, and why that default.

mod clients;
mod presence;
mod proxies;
mod tls;
mod topic;

use std::time::Duration;

pub use clients::ClientLimits;
pub use presence::PresenceConfig;
pub use proxies::{ClientHeader, InvalidNetwork, IpNetwork, Proxies};
pub use tls::TlsLimits;
pub use topic::{History, OnLag, TopicOptions};

/// The limits and policies of a [`Server`](crate::Server).
///
/// Every field has a default that is safe for a server that strangers can reach. There is no struct
/// literal, so that a field can be added: start from the default and assign what you need.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let mut config = pushloop::Config::default();
/// config.message_bytes_max = 1 << 20;
/// let server = pushloop::Server::bind_with("127.0.0.1:0", config)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Which web pages may open a WebSocket here. Default: [`Origins::SameOrigin`].
    pub origins: Origins,
    /// Whether these pages may read the answers to their plain requests as well. Default `None`: a page
    /// of another origin may send what needs no preflight, and gets no answer.
    pub cors: Option<Cors>,
    /// Which names this server answers to; a request for another gets 421. Default:
    /// [`Hosts::Automatic`].
    pub hosts: Hosts,
    /// The proxies that are believed when they say where a connection comes from. Default: none.
    pub proxies: Proxies,
    /// What one client may take. Default: no limits.
    pub client_limits: ClientLimits,
    /// What TLS handshakes may take, with the feature `tls`.
    pub tls_limits: TlsLimits,
    /// What happens when more than [`send_queue_bytes_max`](Self::send_queue_bytes_max) would wait to
    /// be sent directly to a connection. Default: [`Overflow::Close`].
    pub overflow: Overflow,
    /// The options of topics for which neither
    /// [`Hub::configure_topic`](crate::Hub::configure_topic) nor
    /// [`Hub::configure_topics`](crate::Hub::configure_topics) sets others.
    pub topic: TopicOptions,

    /// Bytes of a request's line and headers, blank line included. Default 8 KiB, as most proxies.
    /// More is answered with 431.
    pub head_bytes_max: usize,
    /// Header lines of a request. Default 64. More is answered with 431.
    pub headers_max: usize,
    /// Bytes of the body of a plain HTTP request. Default 64 KiB, like a message. More is answered
    /// with 413.
    pub body_bytes_max: usize,
    /// How long the head of a request may take to come, from its first byte (or from the accept) to its
    /// last, and then how long its body. Dripping bytes does not extend it, but see
    /// [`body_bytes_per_second_min`](Self::body_bytes_per_second_min). Default 5 s; then a request that
    /// has begun gets 408, and the connection is closed.
    pub handshake_timeout: Duration,
    /// How fast a body has to come on the whole, in bytes a second, once
    /// [`handshake_timeout`](Self::handshake_timeout) is over. Of a body in chunks, their data counts.
    /// Default 1,024: a body of 64 KiB may take 69 s. 0 counts as 1.
    pub body_bytes_per_second_min: usize,
    /// How long the application may take to answer a request, and then how long the kernel may take for
    /// each 16 KiB of the answer; of a [stream](crate::Hub::stream), how long the peer may take nothing of
    /// what waits. Default 30 s; a request that is not answered in time gets 503.
    pub answer_timeout: Duration,
    /// How long a plain HTTP connection may wait between two requests. Default 15 s.
    pub keep_alive_timeout: Duration,

    /// Bytes of the payload of a message that comes, all its frames together, inflated if it is
    /// compressed. Default 64 KiB. More closes the connection with 1009: decided from the frame's
    /// header, and while inflating at the first byte beyond.
    pub message_bytes_max: usize,
    /// Frames of one message, empty ones counted; and DEFLATE streams in a compressed one. Default
    /// 1,024. More closes with 1008. 0 counts as 1.
    pub message_frames_max: u32,

    /// Whether compression (permessage-deflate, RFC 7692) is agreed on with clients that offer it.
    /// Default `true`.
    #[cfg(feature = "deflate")]
    pub deflate: bool,
    /// Whether our messages may refer back to earlier ones of their connection, where the client does
    /// not forbid it. Default `false`: every message is compressed on its own, so that nothing is kept
    /// of it, and a publication is compressed once for all. With `true`, a connection keeps up to 8 KiB
    /// of what it was sent, and compressing a short message takes several times as long.
    #[cfg(feature = "deflate")]
    pub deflate_context_takeover: bool,
    /// A message of fewer bytes is sent as it is. Default 64: what is shorter hardly shrinks.
    #[cfg(feature = "deflate")]
    pub deflate_bytes_min: usize,
    /// How far back the messages of a client may refer that offers to keep to a bound
    /// (`client_max_window_bits`, RFC 7692 §7.1.2.2), as Chromium does and Firefox does not: by 2 to this
    /// power of bytes. So much is kept of what such a client sent, from its first compressed message on;
    /// of others, 32 KiB, and nothing of one that offers to compress each message on its own. 9 to 15.
    ///
    /// Default 15, which asks for nothing: Netty without JZlib makes the offer and cannot keep to it.
    /// For a crowd of browsers, 12 takes an eighth of the memory, and JSON of a chat takes 38 % of its
    /// length, as against 33 with 15, 49 with 9, and 77 for each message on its own.
    #[cfg(feature = "deflate")]
    pub deflate_client_window_bits: u8,
    /// Bytes that are kept so of what clients sent, in the whole process. Default 256 MiB: for 8,192
    /// clients that have sent 32 KiB and more. Beyond, the connections for which most is kept, and no
    /// message came or went for longest, are closed with 1013, until four fifths of it are left. Above
    /// four fifths, compression is not agreed on with further clients of which windows would be kept.
    #[cfg(feature = "deflate")]
    pub deflate_windows_bytes_max: usize,

    /// Bytes that may wait to be sent to one connection directly, with the message being added and the
    /// bookkeeping. Default 256 KiB: the answers to one turn's input fit, so that as a rule only a peer
    /// that reads too slowly meets the limit. Publications do not count: they wait in their topics. More
    /// than 1 GiB counts as 1 GiB.
    pub send_queue_bytes_max: usize,
    /// Bytes that a topic keeps for subscribers that lag, with the bookkeeping. Default 256 KiB. Beyond,
    /// the topic gives up its oldest publications, and [`OnLag`] says what becomes of a subscriber that
    /// has not read them.
    pub topic_lag_bytes_max: usize,
    /// Bytes of a topic that some of the subscribers that keep up have not been given yet. There are
    /// such bytes while a publication to many takes several turns. Default 16 MiB. Beyond, a publication
    /// is refused with [`PublishError::TopicFull`](crate::PublishError::TopicFull).
    pub topic_unserved_bytes_max: usize,
    /// Bytes that may wait to be sent in the whole process; a publication counts once, however many get
    /// it. Default 256 MiB. Above four fifths, topics give up what they keep for subscribers that lag.
    /// If that is not enough, the blocked connections for which most waits are closed with 1013. At the
    /// limit, sends and publications are refused.
    pub send_queues_bytes_max: usize,
    /// Bytes of requests and messages that have begun to come and are not whole, of requests that the
    /// application has not answered, and of input that waits for a turn to inflate it, in the whole
    /// process. Default 256 MiB. Beyond, the connections that have held most for longest are closed,
    /// with 1013 or 503, until four fifths of it are left.
    pub incomplete_bytes_max: usize,

    /// Connections at once. Default 1,000,000: in effect, as many as the system grants descriptors. A
    /// further one takes the place of one that waits for its next request. If there is none, it is closed
    /// as soon as it is accepted, and counted.
    pub connections_max: usize,
    /// Whether it is counted what each connection gets ([`Hub::delivered`](crate::Hub::delivered)), in 8 bytes
    /// for each. Default `false`.
    pub count_deliveries: bool,
    /// Connections beyond [`connections_max`](Self::connections_max) that are let in nevertheless, so
    /// that health checks are answered by a server that is full. Default 0. The application refuses what
    /// else they ask for: [`Hub::is_in_reserve`](crate::Hub::is_in_reserve) tells them from the others.
    /// If more come, the one that came first is dropped for the newest, and counted.
    pub connections_reserved: usize,
    /// Topics at once, of all connections. Default 1,000,000. A topic without subscribers counts as long
    /// as a connection that has left it still reads what is due.
    pub topics_max: usize,
    /// Topics of one connection. It may have left as many again while it was behind. Default 128, and
    /// 65,535 at the most.
    pub topics_per_connection_max: usize,
    /// Bytes of a topic's name. Default 255.
    pub topic_name_bytes_max: usize,
    /// Topics that have options of their own, whether they have subscribers or not. Default 100,000.
    pub topics_configured_max: usize,
    /// Prefixes of topics' names with options of their own
    /// ([`Hub::configure_topics`](crate::Hub::configure_topics)). Default 64: each topic that begins is compared with all.
    pub topic_prefixes_max: usize,

    /// Bytes of history in the whole process, with the bookkeeping ([`History`]). Default 256 MiB. Beyond,
    /// the oldest publications are given back, whatever their topics' options, and counted.
    pub history_bytes_max: usize,
    /// How long a topic with a [`History`] keeps its [`Position`](crate::Position) after its last
    /// subscriber and its last publication. Default 24 h. A topic that is forgotten begins a new life.
    pub topic_memory: Duration,
    /// Topics without subscribers whose positions are kept so. Default 100,000. Beyond, those that were
    /// without subscribers and publications for longest are forgotten, and counted.
    pub topics_remembered_max: usize,
    /// How long the key of a publication is remembered ([`Hub::publish_once`](crate::Hub::publish_once)).
    /// Default 5 min.
    pub idempotency_memory: Duration,
    /// Keys that are remembered. Default 100,000. Beyond, the oldest are forgotten, and counted.
    pub idempotency_keys_max: usize,
    /// Bytes of a key. Default 255.
    pub idempotency_key_bytes_max: usize,

    /// A connection that was silent for so long gets a Ping; `None` for never. Default 25 s, below the
    /// minute after which proxies and NATs commonly forget a connection. A connection whose peer takes
    /// nothing gets none: see [`blocked_timeout`](Self::blocked_timeout).
    pub ping_interval: Option<Duration>,
    /// How long after a Ping a peer may stay silent. Any byte counts as life, and so does reading what
    /// has waited for it. Default 10 s.
    pub pong_timeout: Duration,
    /// How long a peer may take nothing of what waits for it, whether it sends or not. Default 30 s;
    /// then the connection is closed with 1013. A Ping cannot tell: it would wait behind what the peer
    /// does not read.
    pub blocked_timeout: Duration,
    /// Closes a connection with 1001 that carried no message in either direction for so long.
    /// Default `None`.
    pub idle_timeout: Option<Duration>,
    /// How long the peer may take to answer our Close frame, from when the frame is out. While other
    /// bytes are queued in front of it: how long the kernel may take for each 16 KiB of them; but in a
    /// shutdown its deadline counts. Default 5 s; then the connection is dropped.
    pub close_timeout: Duration,
    /// How long input is read and discarded after our last byte, so that the peer can read it
    /// before the kernel resets the connection; and anew after each 256 KiB, because many a client
    /// reads only once all that it has to say is written. Default 2 s.
    pub linger_timeout: Duration,
    /// Bytes discarded while lingering. Default 16 MiB: after a message, or a body, of that length
    /// that was refused by its head, the client still reads why.
    pub linger_bytes_max: usize,

    /// Over how long a shutdown spreads its Close frames, so that not all clients come back at once.
    /// Default 0: all are closed at once. Few connections take less time: a hundredth of a second for
    /// each at the most.
    pub shutdown_spread: Duration,

    /// Connections accepted from one listener in one turn. Default 64; more than 65,536 counts as so
    /// many. Of this and the other budgets of a turn, 0 counts as 1.
    pub accepts_per_turn: usize,
    /// Bytes read from one connection in one turn. If many wait, a connection that sends little is read
    /// in smaller portions. Default 128 KiB: half of a batch.
    pub read_bytes_per_turn: usize,
    /// Bytes written to one connection in one turn, when it has something of its own or lagged. Default
    /// 128 KiB. A subscriber that keeps up gets all that its topics published, within
    /// [`fan_out_bytes_per_turn`](Self::fan_out_bytes_per_turn).
    pub write_bytes_per_turn: usize,
    /// How many subscribers that keep up are given publications in one turn; and as many that lagged.
    /// Default 512. What is left goes on in the next turn, and others are read in between.
    pub fan_out_writes_per_turn: usize,
    /// Bytes that these subscribers are given, those of each kind together. Default 1 MiB.
    pub fan_out_bytes_per_turn: usize,
    /// Connections that are read for a request in one turn, or of which a next request is looked for in
    /// what was read before. Default 16: what an application does for a request, or for a connection
    /// that it opens, may take long.
    pub requests_per_turn: usize,
    /// Subscriptions that end with their connections at the start of a turn, and again while it reads,
    /// at the most and but for those of the last connection. Default 1,024. Further connections that
    /// end, or are to be read, wait for the next turn.
    pub departures_per_turn: usize,
    /// Commands taken from the [`Handle`](crate::Handle)s in one turn. Default 1,024.
    pub commands_per_turn: usize,
    /// Timers of connections handled in one turn. Default 512: each may be a Ping.
    pub expiries_per_turn: usize,
    /// Bytes that one batch of events receives from all connections. Default 256 KiB: it stays in
    /// the processor's cache. At least `read_bytes_per_turn` is used. Of either, more than 64 MiB
    /// counts as 64 MiB.
    pub receive_buffer_bytes: usize,

    /// Commands that wait between the [`Handle`](crate::Handle)s and the loop. Default 65,536. The loop
    /// takes all that wait at once, and until it has carried them out, over several turns, as many
    /// again may come.
    pub mailbox_commands_max: usize,
    /// Bytes of those commands. Default 16 MiB; and so 32 MiB at the most, with what was taken.
    pub mailbox_bytes_max: usize,
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// The largest receive buffer, in bytes.
const RECEIVE_BYTES_MAX: usize = 64 * MIB;
/// The largest limit on what waits for one connection, in bytes: places in it are kept in four bytes.
const SEND_BYTES_MAX: usize = 1 << 30;
/// Attempts to accept in one turn, at the most: a listener may fail each time, for good.
const ACCEPTS_MAX: usize = 64 * 1024;

impl Config {
    /// What a turn receives at the most.
    pub(crate) fn batch_bytes(&self) -> usize {
        self.receive_buffer_bytes.max(self.read_bytes_per_turn).max(1)
    }

    /// A zero budget would spin for ever; an unbounded one cannot be allocated.
    pub(crate) fn clamp_budgets(&mut self) {
        for budget in [
            &mut self.accepts_per_turn,
            &mut self.read_bytes_per_turn,
            &mut self.write_bytes_per_turn,
            &mut self.fan_out_writes_per_turn,
            &mut self.fan_out_bytes_per_turn,
            &mut self.requests_per_turn,
            &mut self.departures_per_turn,
            &mut self.commands_per_turn,
            &mut self.expiries_per_turn,
        ] {
            *budget = (*budget).max(1);
        }
        self.accepts_per_turn = self.accepts_per_turn.min(ACCEPTS_MAX);
        for bytes in [&mut self.read_bytes_per_turn, &mut self.receive_buffer_bytes] {
            *bytes = (*bytes).min(RECEIVE_BYTES_MAX);
        }
        self.message_frames_max = self.message_frames_max.max(1);
        #[cfg(feature = "deflate")]
        {
            self.deflate_client_window_bits = self.deflate_client_window_bits.clamp(9, 15);
        }
        for bytes in [&mut self.send_queue_bytes_max, &mut self.topic_unserved_bytes_max] {
            *bytes = (*bytes).min(SEND_BYTES_MAX);
        }
        // One for a pipelined request, and one for a new connection's.
        self.requests_per_turn = self.requests_per_turn.max(2);
        self.topics_per_connection_max = self.topics_per_connection_max.min(u16::MAX.into());
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            origins: Origins::SameOrigin,
            cors: None,
            hosts: Hosts::Automatic,
            proxies: Proxies::default(),
            client_limits: ClientLimits::default(),
            tls_limits: TlsLimits::default(),
            overflow: Overflow::Close,
            topic: TopicOptions::default(),
            head_bytes_max: 8 * KIB,
            headers_max: 64,
            body_bytes_max: 64 * KIB,
            handshake_timeout: Duration::from_secs(5),
            body_bytes_per_second_min: KIB,
            answer_timeout: Duration::from_secs(30),
            keep_alive_timeout: Duration::from_secs(15),
            message_bytes_max: 64 * KIB,
            message_frames_max: 1024,
            #[cfg(feature = "deflate")]
            deflate: true,
            #[cfg(feature = "deflate")]
            deflate_context_takeover: false,
            #[cfg(feature = "deflate")]
            deflate_bytes_min: 64,
            #[cfg(feature = "deflate")]
            deflate_client_window_bits: 15,
            #[cfg(feature = "deflate")]
            deflate_windows_bytes_max: 256 * MIB,
            send_queue_bytes_max: 256 * KIB,
            topic_lag_bytes_max: 256 * KIB,
            topic_unserved_bytes_max: 16 * MIB,
            send_queues_bytes_max: 256 * MIB,
            incomplete_bytes_max: 256 * MIB,
            connections_max: 1_000_000,
            count_deliveries: false,
            connections_reserved: 0,
            topics_max: 1_000_000,
            topics_per_connection_max: 128,
            topic_name_bytes_max: 255,
            topics_configured_max: 100_000,
            topic_prefixes_max: 64,
            history_bytes_max: 256 * MIB,
            topic_memory: Duration::from_secs(24 * 60 * 60),
            topics_remembered_max: 100_000,
            idempotency_memory: Duration::from_secs(5 * 60),
            idempotency_keys_max: 100_000,
            idempotency_key_bytes_max: 255,
            ping_interval: Some(Duration::from_secs(25)),
            pong_timeout: Duration::from_secs(10),
            blocked_timeout: Duration::from_secs(30),
            idle_timeout: None,
            close_timeout: Duration::from_secs(5),
            linger_timeout: Duration::from_secs(2),
            linger_bytes_max: 16 * MIB,
            shutdown_spread: Duration::ZERO,
            accepts_per_turn: 64,
            read_bytes_per_turn: 128 * KIB,
            write_bytes_per_turn: 128 * KIB,
            fan_out_writes_per_turn: 512,
            fan_out_bytes_per_turn: MIB,
            requests_per_turn: 16,
            departures_per_turn: 1024,
            commands_per_turn: 1024,
            expiries_per_turn: 512,
            receive_buffer_bytes: 256 * KIB,
            mailbox_commands_max: 65_536,
            mailbox_bytes_max: 16 * MIB,
        }
    }
}

/// Which web pages may open a WebSocket (RFC 6455 §10.2).
///
/// A browser lets any page connect anywhere and says in `Origin` which page it is. A client that
/// is not a browser sends no `Origin` and is let in: it could send what it likes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origins {
    /// Only pages from the host and port that the request itself was sent to.
    #[default]
    SameOrigin,
    /// Those, and pages from these origins, each like `https://example.org` or
    /// `http://localhost:5173`: no path and no slash at the end ([`is_origin`](crate::is_origin)
    /// tells). What is no origin matches no page. `https://*.example.org` is for all subdomains, and not
    /// for `https://example.org`. `null` and `file://` are what browsers and web views say of pages
    /// that have no origin: sandboxed frames, files, applications. Any page can make itself such a one.
    List(Vec<String>),
    /// Every page. Right for public data only.
    Any,
}

/// What pages of other origins may do by plain requests, such as `fetch` (CORS, Fetch §3.2), if
/// [`Config::origins`] lets them in.
///
/// Every plain answer then has `Vary: Origin`, and one to such a page `Access-Control-Allow-Origin`, errors
/// and what the server answers itself too; `*` under [`Origins::Any`]. A response of the application with an
/// `Access-Control-Allow-Origin` of its own is sent as it is. A preflight, which is an `OPTIONS` with
/// `Origin` and `Access-Control-Request-Method`, is answered before the application sees it: with 204, or
/// with 403 for a page that may not or a method that is not listed.
///
/// CORS keeps no request from being sent: whether a page may change something is for
/// [`Hub::allows_origin`](crate::Hub::allows_origin).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cors {
    /// The methods that a preflight may ask for. Default: `GET`, `HEAD` and `POST`.
    pub methods: Vec<String>,
    /// The header fields that a page may set. Default: `Authorization` and `Content-Type`.
    pub headers: Vec<String>,
    /// How long a browser may keep the answer to a preflight, in whole seconds. Default 2 h, which is as
    /// long as Chromium does.
    pub max_age: Duration,
    /// Whether a page may send the user's cookies along, and read what is answered to that. Default
    /// `false`. It is for origins in [`Origins::List`] only: under [`Origins::Any`] it has no effect, nor for
    /// a page of the same host over the other of `http` and `https`.
    pub credentials: bool,
}

impl Default for Cors {
    fn default() -> Self {
        Self {
            methods: ["GET", "HEAD", "POST"].map(String::from).into(),
            headers: ["Authorization", "Content-Type"].map(String::from).into(),
            max_age: Duration::from_secs(2 * 60 * 60),
            credentials: false,
        }
    }
}

/// Which hosts a request may be for (RFC 9110 §7.2), WebSocket or not.
///
/// A page can have its own name resolve to any address, this machine's too (DNS rebinding); its
/// browser then takes it for a page of this server, and `Origin` and `Host` agree. That needs a name:
/// IP addresses, `localhost` and what ends in `.localhost` are always answered, and so is HTTP/1.0
/// without a `Host`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hosts {
    /// No further name while every TCP listener is bound to a loopback address: only programs on this
    /// machine and pages in its browsers reach it there. Any name otherwise, and over a Unix-domain
    /// socket or a [`Net`](crate::Net) other than [`Mio`](crate::Mio): which names lead there is not
    /// known.
    #[default]
    Automatic,
    /// These names too, wherever it listens: `example.org` on any port, `example.org:8443` on one,
    /// `*.example.org` for its subdomains ([`is_host`](crate::is_host) tells). A server behind a
    /// reverse proxy lists the names that the proxy passes on.
    List(Vec<String>),
    /// Every name. Right if every client that can reach the server may use it.
    Any,
}

/// What happens when more than [`Config::send_queue_bytes_max`] would wait to be sent directly to a
/// connection.
///
/// Bytes that the kernel took do not count, and are out of reach: on Linux its send buffer grows to 4
/// MiB by default. If a lagging peer is to get what is recent, hand
/// [`Server::listen_on`](crate::Server::listen_on) a listener with a small one (`SO_SNDBUF`), which the
/// connections that it accepts inherit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// Close the connection with 1013 (try again later): its peer sees an unbroken sequence up to there.
    #[default]
    Close,
    /// Drop the message that is being sent, and count it.
    DropNewest,
}
