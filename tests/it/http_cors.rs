//! Pages of other origins and plain requests (CORS, Fetch §3.2): which are let in, what a browser is told,
//! and what the application sees of it.

use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use pushloop::{
    Accept, CloseCode, Config, ConnId, Cors, Handler, Hosts, Hub, Message, Origins, Request,
    RequestId, Response, Server,
};

use crate::support::net::{Network, Wire};
use crate::support::{handshake, quiet};

const LISTED: [&str; 4] = ["https://app.example", "https://*.sub.example", "null", "file://"];

/// Answers what may change something as an application should; tells what it was asked.
struct Site(Sender<String>);

impl Site {
    fn tell(&self, what: &str, request: &Request) {
        let told = format!("{what} {} {}", request.method(), request.path());
        self.0.send(told).expect("the test listens");
    }
}

impl Handler for Site {
    fn on_head(&mut self, _: &mut Hub, _: RequestId, request: &Request) {
        self.tell("head", request);
    }

    fn on_request(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        self.tell("request", request);
        let response = match (request.method(), request.path()) {
            _ if request.is_websocket() => return hub.accept(id, Accept::default()).expect("fine"),
            (_, "/waits") => return,
            (_, "/closed") => return hub.close(id.conn(), CloseCode::NORMAL, ""),
            (_, "/dropped") => return drop(hub.defer(id)),
            (_, "/stream") => {
                return hub.stream(id, Response::text(200, "first")).expect("it waits");
            }
            (_, "/own") => Response::new(200).header("access-control-allow-origin", "https://own"),
            (_, "/cached") => Response::new(200).header("Vary", "Accept"),
            ("POST", _) => match hub.origin_refusal(request) {
                Some(why) => Response::text(403, why),
                None => Response::text(200, "done"),
            },
            ("GET" | "HEAD", "/") => Response::text(200, "found"),
            ("OPTIONS", _) => Response::new(200).header("Allow", "GET, HEAD, POST"),
            _ => Response::text(404, "nothing here"),
        };
        hub.respond(id, response).expect("it waits");
    }

    fn on_message(&mut self, _: &mut Hub, _: ConnId, _: Message<'_>) {}
}

struct World {
    server: Server<Network>,
    site: Site,
    told: Receiver<String>,
}

/// Pages of the list may use it.
fn listed(config: &mut Config) {
    config.hosts = Hosts::Any;
    config.origins = Origins::List(LISTED.map(String::from).into());
    config.cors = Some(Cors::default());
}

impl World {
    fn new(set: impl FnOnce(&mut Config)) -> Self {
        let (tell, told) = mpsc::channel();
        Self { server: Server::with_net(Network::new(), quiet(set)), site: Site(tell), told }
    }

    fn connects(&mut self) -> Wire {
        self.server.net().connects()
    }

    fn turns(&mut self, timeout: Duration) {
        for _ in 0..10 {
            self.server.turn(&mut self.site, Some(timeout)).expect("the poll works");
        }
    }

    /// Sends, and gives what comes back.
    fn gets(&mut self, wire: &Wire, bytes: &str) -> String {
        wire.sends_bytes(bytes);
        self.turns(Duration::ZERO);
        String::from_utf8(wire.reads_bytes()).expect("text")
    }

    /// The same on a connection of its own.
    fn answers(&mut self, bytes: &str) -> String {
        let wire = self.connects();
        let answer = self.gets(&wire, bytes);
        wire.resets();
        self.turns(Duration::ZERO);
        answer
    }

    fn told(&self) -> Vec<String> {
        self.told.try_iter().collect()
    }
}

fn request(line: &str, lines: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: here.example\r\n{lines}\r\n")
}

fn preflight(method: &str, lines: &str) -> String {
    request("OPTIONS /t", &format!("Access-Control-Request-Method: {method}\r\n{lines}"))
}

/// The values of all fields of this name.
fn values<'a>(answer: &'a str, name: &str) -> Vec<&'a str> {
    let head = answer.split("\r\n\r\n").next().unwrap_or_default();
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

/// What a page says of itself; whether it is let in by `SameOrigin`, the list, and `Any`; whether it is in
/// the list.
const PAGES: [(&str, [bool; 3], bool); 17] = [
    ("", [true; 3], false),
    ("Sec-Fetch-Site: none\r\n", [true; 3], false),
    ("Sec-Fetch-Site: same-origin\r\n", [true; 3], false),
    ("Sec-Fetch-Site: same-site\r\n", [false, false, true], false),
    ("Sec-Fetch-Site: cross-site\r\n", [false, false, true], false),
    ("Origin: http://here.example\r\n", [true; 3], false),
    // The other scheme may be a proxy's work.
    ("Origin: https://here.example\r\n", [true; 3], false),
    ("Origin: http://here.example:8080\r\n", [false, false, true], false),
    ("Origin: https://app.example\r\n", [false, true, true], true),
    ("Origin: https://a.sub.example\r\nSec-Fetch-Site: cross-site\r\n", [false, true, true], true),
    ("Origin: null\r\n", [false, true, true], true),
    ("Origin: file://\r\n", [false, true, true], true),
    ("Origin: http://app.example\r\n", [false, false, true], false),
    ("Origin: https://sub.example\r\n", [false, false, true], false),
    ("Origin: http://evil.example\r\n", [false, false, true], false),
    ("Origin: \r\n", [false, false, true], false),
    ("Origin: http://here.example\r\nOrigin: http://here.example\r\n", [false; 3], false),
];

/// Every class of page, by every policy, with every kind of request, with and without cookies.
#[test]
fn pages_by_policy_credentials_and_method() {
    let list = Origins::List(LISTED.map(String::from).into());
    let mut checked = 0;
    for (at, policy) in [Origins::SameOrigin, list, Origins::Any].into_iter().enumerate() {
        for credentials in [None, Some(false), Some(true)] {
            let mut world = World::new(|config| {
                (config.hosts, config.origins) = (Hosts::Any, policy.clone());
                config.cors = credentials.map(|allowed| {
                    let mut cors = Cors::default();
                    cors.credentials = allowed;
                    cors
                });
            });
            for (lines, allowed, is_listed) in PAGES {
                let page = lines.strip_prefix("Origin: ").and_then(|it| it.lines().next());
                let asks = credentials.is_some() && page.is_some();
                for (method, sent, status, seen) in [
                    ("GET", request("GET /", lines), [200; 2], true),
                    ("HEAD", request("HEAD /", lines), [200; 2], true),
                    ("GET", request("GET /no", lines), [404; 2], true),
                    ("POST", request("POST /t", lines), [200, 403], true),
                    ("OPTIONS", request("OPTIONS /t", lines), [200; 2], true),
                    ("may I", preflight("POST", lines), [204, 403], !asks),
                    ("may I not", preflight("DELETE", lines), [403; 2], !asks),
                    ("WebSocket", handshake_of(lines), [101, 403], allowed[at]),
                ] {
                    let status = match method {
                        "may I" | "may I not" if !asks => 200,
                        _ => status[usize::from(!allowed[at])],
                    };
                    let answer = world.answers(&sent);
                    let case =
                        format!("{method} from {lines:?}, {policy:?}, {credentials:?}: {answer}");
                    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{case}");
                    assert_eq!(!world.told().is_empty(), seen, "{case}");
                    let is_cors = credentials.is_some() && status != 101;
                    let origin = page.filter(|_| is_cors && allowed[at]);
                    let origin = if at == 2 { origin.map(|_| "*") } else { origin };
                    let cookies = origin.is_some() && is_listed && at == 1;
                    for (name, value) in [
                        ("Vary", is_cors.then_some("Origin")),
                        ("Access-Control-Allow-Origin", origin),
                        (
                            "Access-Control-Allow-Credentials",
                            (cookies && credentials == Some(true)).then_some("true"),
                        ),
                        ("Access-Control-Max-Age", (status == 204).then_some("7200")),
                    ] {
                        assert_eq!(values(&answer, name), Vec::from_iter(value), "{name}: {case}");
                    }
                    checked += 1;
                }
            }
        }
    }
    assert_eq!(checked, 3 * 3 * 17 * 8);
}

fn handshake_of(lines: &str) -> String {
    handshake("/", lines).replace("Host: localhost", "Host: here.example")
}

/// Whatever answers, the page is told: it would see no status otherwise.
#[test]
fn errors_streams_and_the_servers_own_answers_can_be_read() {
    let origin = "Origin: https://app.example\r\n";
    let limits = |config: &mut Config| {
        listed(config);
        (config.body_bytes_max, config.incomplete_bytes_max) = (1000, 4000);
    };
    let with_body =
        |line: &str, length: u32| request(line, &format!("{origin}Content-Length: {length}\r\n"));
    let chunked = request("POST /t", &format!("{origin}Transfer-Encoding: chunked\r\n"));
    let minutes = Duration::from_secs(30);
    for (sent, after, status) in [
        (with_body("POST /t", 1000), minutes, 408),
        (with_body("POST /t", 1001), Duration::ZERO, 413),
        (with_body("POST /t", 1000) + &"x".repeat(999), minutes, 408),
        (chunked.clone() + "3e9\r\n", Duration::ZERO, 413),
        (chunked + "2\r\nhi\r\n-1\r\n", Duration::ZERO, 400),
        (request("GET /waits", origin), minutes, 503),
        (request("GET /closed", origin), Duration::ZERO, 503),
        (request("GET /dropped", origin), Duration::ZERO, 503),
        (request("GET /nothing", origin), Duration::ZERO, 404),
        (request("GET /stream", origin), Duration::ZERO, 200),
        (request("HEAD /stream", origin), Duration::ZERO, 200),
        (request("GET /", &format!("{origin}Upgrade: websocket\r\n")), Duration::ZERO, 400),
        (
            handshake_of("Sec-WebSocket-Protocol: ,\r\n")
                .replace("\r\n\r\n", &format!("\r\n{origin}\r\n")),
            Duration::ZERO,
            400,
        ),
        (
            request("GET /waits", &format!("{origin}X: {}\r\n", "x".repeat(5000))),
            Duration::ZERO,
            503,
        ),
    ] {
        let mut world = World::new(limits);
        let wire = world.connects();
        wire.sends_bytes(&sent);
        world.turns(Duration::ZERO);
        world.turns(after);
        let answer = String::from_utf8(wire.reads_bytes()).expect("text");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
        assert_eq!(
            values(&answer, "Access-Control-Allow-Origin"),
            ["https://app.example"],
            "{answer}"
        );
        assert_eq!(values(&answer, "Vary"), ["Origin"], "{answer}");
    }
    // A name that is not this server's, and a head that is none: of these, no page is known.
    let mut world = World::new(|config| {
        limits(config);
        config.hosts = Hosts::List(vec![]);
    });
    let answer = world.answers(&request("GET /", "Origin: http://here.example\r\n"));
    assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
    let answer = world.answers(&request("GET /", &format!("{origin}No colon\r\n")));
    assert!(answer.starts_with("HTTP/1.1 400 ") && values(&answer, "Vary").is_empty(), "{answer}");
}

/// It comes before any check of the application's, a token's say, and the request may follow at once.
#[test]
fn a_preflight_never_reaches_the_application() {
    let mut world = World::new(listed);
    let origin = "Origin: https://app.example\r\n";
    let wire = world.connects();
    for _ in 0..2 {
        let more = format!("{origin}Access-Control-Request-Headers: content-type\r\n");
        let post = request("POST /t", &format!("{origin}Content-Length: 2\r\n")) + "hi";
        let both = world.gets(&wire, &(preflight("POST", &more) + &post));
        let (first, second) = both.split_once("\r\n\r\n").expect("two answers");
        assert!(first.starts_with("HTTP/1.1 204 No Content\r\n"), "{first}");
        for (name, value) in [
            ("Access-Control-Allow-Methods", "GET, HEAD, POST"),
            ("Access-Control-Allow-Headers", "Authorization, Content-Type"),
            ("Access-Control-Max-Age", "7200"),
            ("Access-Control-Allow-Origin", "https://app.example"),
            ("Vary", "Origin"),
            ("Connection", "keep-alive"),
        ] {
            assert_eq!(values(first, name), [value], "{first}");
        }
        assert!(second.starts_with("HTTP/1.1 200 ") && second.ends_with("done"), "{second}");
        assert_eq!(world.told(), ["head POST /t", "request POST /t"]);
    }
    let counters = world.server.hub().counters();
    assert_eq!((counters.requests, counters.handshakes_refused), (4, 0));
}

/// What is in doubt, or would leave bytes behind that are no request, ends the connection.
#[test]
fn a_preflight_in_doubt_is_the_last_of_its_connection() {
    let origin = "Origin: https://app.example\r\n";
    let twice = format!("Access-Control-Request-Method: POST\r\n{origin}");
    for (sent, status) in [
        (preflight("POST", &format!("{origin}Content-Length: 9\r\n")) + "GET ", 204),
        (preflight("POST", &format!("{origin}Connection: close\r\n")), 204),
        (preflight("POST", origin).replace("HTTP/1.1", "HTTP/1.0"), 204),
        (preflight("post", origin), 403),
        (preflight("", origin), 403),
        (preflight("GET, POST", origin), 403),
        (preflight("PUT", origin), 403),
        (preflight("POST", &twice), 403),
        (preflight("POST", "Origin: http://evil.example\r\n"), 403),
        (preflight("POST", &format!("{origin}{origin}")), 403),
        (preflight("POST", origin).replace("OPTIONS /t", "OPTIONS t"), 400),
        (handshake_of(&twice).replace("GET /", "OPTIONS /"), 405),
    ] {
        let mut world = World::new(listed);
        let wire = world.connects();
        let answer = world.gets(&wire, &sent);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{sent}: {answer}");
        assert_eq!(values(&answer, "Connection"), ["close"], "{sent}: {answer}");
        assert_eq!(world.gets(&wire, &request("GET /", "")), "", "{sent}");
        assert!(world.told().is_empty() && wire.is_ended(), "{sent}");
    }
    // What would be one with another method is the application's.
    let mut world = World::new(listed);
    for line in ["GET /", "POST /t"] {
        let answer = world.answers(&request(line, &twice));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    // At the end of the server, all that is asked is asked for the last time.
    let wire = world.connects();
    world.gets(&wire, "OPT");
    world.server.hub().shutdown(Duration::from_secs(10));
    let answer = world.gets(&wire, &preflight("POST", origin)["OPT".len()..]);
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert_eq!(values(&answer, "Connection"), ["close"], "{answer}");
}

#[test]
fn what_is_allowed_is_what_was_set() {
    let origin = "Origin: https://app.example\r\n";
    let mut world = World::new(|config| {
        listed(config);
        let cors = config.cors.as_mut().expect("it is set");
        cors.methods = vec!["PUT".into(), "X-ODD".into()];
        cors.headers = vec!["X-Token".into(), "X\r\nSet-Cookie: a=b".into()];
        cors.max_age = Duration::from_millis(1999);
    });
    let answer = world.answers(&preflight("X-ODD", origin));
    assert_eq!(values(&answer, "Access-Control-Allow-Methods"), ["PUT, X-ODD"], "{answer}");
    assert_eq!(values(&answer, "Access-Control-Max-Age"), ["1"], "{answer}");
    // What cannot be sent is not, and adds nothing.
    assert_eq!(values(&answer, "Access-Control-Allow-Headers"), [""; 0], "{answer}");
    assert!(!answer.contains("Set-Cookie"), "{answer}");
    assert!(world.answers(&preflight("POST", origin)).starts_with("HTTP/1.1 403 "));
    // The application's word goes before ours, and Vary is a list.
    let own = world.answers(&request("GET /own", origin));
    assert_eq!(values(&own, "Access-Control-Allow-Origin"), ["https://own"], "{own}");
    assert!(values(&own, "Vary").is_empty(), "{own}");
    let cached = world.answers(&request("GET /cached", origin));
    assert_eq!(values(&cached, "Vary"), ["Accept", "Origin"], "{cached}");
}

/// What was compared, as it came but for what no line of a log should have, and what to set.
#[test]
fn a_refusal_names_the_origin_and_the_host() {
    let mut world = World::new(|config| config.hosts = Hosts::Any);
    let (long, cut) = ("x".repeat(129), "x".repeat(128) + "...");
    let whole = "x".repeat(128);
    for (lines, host, page, named) in [
        ("Origin: http://app:81\r\n", "app", "the Origin is \"http://app:81\"", "app"),
        ("Origin: null\r\n", "app:81", "the Origin is \"null\"", "app:81"),
        ("Origin: a\r\nOrigin: b\r\n", "app", "the Origin is \"a, b\"", "app"),
        ("Sec-Fetch-Site: cross-site\r\n", "app", "the Sec-Fetch-Site is \"cross-site\"", "app"),
        ("Origin: http://a\t\u{e9}\r\n", "app", "the Origin is \"http://a???\"", "app"),
        (&format!("Origin: {whole}\r\n"), &whole, &format!("is \"{whole}\""), &whole),
        (&format!("Origin: {long}\r\n"), &long, &format!("is \"{cut}\""), &cut),
    ] {
        for sent in [handshake("/", lines), request("POST /t", lines)] {
            let old = if sent.starts_with("POST") { "here.example" } else { "localhost" };
            let answer = world.answers(&sent.replace(old, host));
            assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
            let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
            assert!(body.contains(page), "{body}");
            assert!(body.contains(&format!("the Host is \"{named}\"")), "{body}");
            assert!(body.contains("Config::origins (pushloop --allow-origin "), "{body}");
            assert!(body.is_ascii() && body.len() < 600 && body.lines().count() == 1, "{body}");
        }
    }
}
