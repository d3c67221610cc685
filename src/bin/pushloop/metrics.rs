//! `/metrics`: what monitoring systems read, in Prometheus' text format (version 0.0.4).

use std::{
    fmt::{Display, Write},
    fs, io,
    net::SocketAddr,
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use pushloop::{
    Config, ConnId, Handle, Handler, Hub, Message, MetricKind, PrefixCounters, Request, RequestId,
    Response, Server,
};
use rustix::param;

use crate::{options::Options, status::Status};

pub const PATH: &str = "/metrics";
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Connections that a listener of its own takes at once.
const CONNECTIONS_MAX: usize = 16;

/// All of them.
pub fn text(of: &Handle, status: &Status) -> String {
    let counters = of.counters();
    let mut text = Text(String::with_capacity(16 * 1024));
    for metric in counters.iter() {
        text.metric(metric.name, metric.help, metric.kind, metric.value);
    }
    for (name, help, kind, value) in status.metrics() {
        text.metric(name, help, kind, value);
    }
    text.prefixes(&of.prefix_counters());
    text.family("pushloop_build_info", "The version of the server", MetricKind::Gauge);
    text.sample(concat!("pushloop_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1);
    text.process(status);
    text.0
}

/// A number of a prefix: its name, help and kind, and where it is.
type OfPrefix = (&'static str, &'static str, MetricKind, fn(&PrefixCounters) -> u64);

const BY_PREFIX: [OfPrefix; 4] = [
    (
        "pushloop_prefix_publications_total",
        "Messages published to topics whose names begin so",
        MetricKind::Counter,
        |it| it.publications,
    ),
    (
        "pushloop_prefix_published_bytes_total",
        "Bytes of messages published to topics whose names begin so",
        MetricKind::Counter,
        |it| it.published_bytes,
    ),
    (
        "pushloop_prefix_subscribers",
        "Subscriptions to topics whose names begin so",
        MetricKind::Gauge,
        |it| it.subscribers,
    ),
    (
        "pushloop_prefix_topics",
        "Topics whose names begin so that have subscribers now",
        MetricKind::Gauge,
        |it| it.topics,
    ),
];

/// The value of a label, between its quotes.
fn label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

struct Text(String);

impl Text {
    fn family(&mut self, name: &str, help: &str, kind: MetricKind) {
        let kind = match kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
        };
        // Writing to a String does not fail.
        let _ = write!(self.0, "# HELP {name} {help}.\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, value: impl Display) {
        let _ = writeln!(self.0, "{name} {value}");
    }

    /// What is counted by the prefixes of `[[topics]]`, of which there are 64 at the most.
    fn prefixes(&mut self, prefixes: &[(String, PrefixCounters)]) {
        if prefixes.is_empty() {
            return;
        }
        for (name, help, kind, value) in BY_PREFIX {
            self.family(name, help, kind);
            for (prefix, counters) in prefixes {
                self.sample(&format!("{name}{{prefix=\"{}\"}}", label(prefix)), value(counters));
            }
        }
    }

    fn metric(&mut self, name: &str, help: &str, kind: MetricKind, value: u64) {
        // A unit comes last, but for `total`.
        let name = match name.strip_prefix("bytes_") {
            Some(what) => format!("{what}_bytes"),
            None => name.to_owned(),
        };
        let total = match kind {
            MetricKind::Counter => "_total",
            MetricKind::Gauge => "",
        };
        let name = format!("pushloop_{name}{total}");
        self.family(&name, help, kind);
        self.sample(&name, value);
    }

    /// What every program tells of its process, by the names that all use.
    fn process(&mut self, status: &Status) {
        let started = status.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let cpu = cpu_time().map(|time| time.as_secs_f64());
        let resident = resident_bytes();
        let (counter, gauge) = (MetricKind::Counter, MetricKind::Gauge);
        for (name, help, kind, value) in [
            (
                "start_time_seconds",
                "When the process started, since 1970",
                gauge,
                Some(started.as_secs_f64()),
            ),
            ("cpu_seconds_total", "Processor time of the process", counter, cpu),
            (
                "resident_memory_bytes",
                "Memory of the process",
                gauge,
                resident.map(|bytes| bytes as f64),
            ),
        ] {
            // Where there is no /proc, less is told.
            let Some(value) = value else { continue };
            let name = format!("process_{name}");
            self.family(&name, help, kind);
            self.sample(&name, value);
        }
    }
}

/// proc_pid_stat(5): user and system time are the 14th and the 15th field, in ticks.
fn cpu_time() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is a name in parentheses, which may have spaces and parentheses.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let ticks = ticks()? + ticks()?;
    Some(Duration::from_secs_f64(ticks as f64 / param::clock_ticks_per_second() as f64))
}

/// proc_pid_statm(5): the second field, in pages.
fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * param::page_size() as u64)
}

/// The answer to a GET of them.
pub fn answer(of: &Handle, status: &Status) -> Response {
    let response = Response::new(200).body(text(of, status));
    response.header("Content-Type", CONTENT_TYPE).header("Cache-Control", "no-store")
}

/// How many descriptors that listener takes from the connections.
pub fn descriptors(options: &Options) -> usize {
    // And the listener's own, the poll's and the waker's.
    if options.metrics_listen.is_some() { CONNECTIONS_MAX + 8 } else { 0 }
}

/// Answers on an address of its own, from a loop of its own: when the server's is stuck, that is seen.
pub fn listen(address: SocketAddr, of: Handle, status: Arc<Status>) -> io::Result<String> {
    let mut config = Config::default();
    config.connections_max = CONNECTIONS_MAX;
    let mut server = Server::bind_with(address, config)?;
    let bound = server.local_addr().unwrap_or(address);
    thread::spawn(move || {
        // It ends with the process.
        let _ = server.run(&mut Exporter { of, status });
    });
    Ok(format!("pushloop: metrics at http://{bound}{PATH}\n"))
}

struct Exporter {
    of: Handle,
    status: Arc<Status>,
}

impl Handler for Exporter {
    fn on_request(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        let response = match (request.method(), request.path()) {
            ("GET" | "HEAD", PATH) => answer(&self.of, &self.status),
            (_, PATH) => {
                Response::text(405, "this address takes GET and HEAD").header("Allow", "GET, HEAD")
            }
            _ => Response::text(404, "the metrics are at /metrics"),
        };
        // The peer may be gone by now, which needs no answer.
        let _ = hub.respond(id, response);
    }

    /// No WebSocket is accepted, so that none comes.
    fn on_message(&mut self, _: &mut Hub, _: ConnId, _: Message<'_>) {}
}
