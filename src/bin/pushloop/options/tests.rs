//! The command line, and the other sources.

use std::collections::BTreeSet;

use pushloop::History;

use super::*;

fn parsed(line: &str) -> Result<Asked, String> {
    parse(line.split_whitespace().map(OsString::from), [])
}

#[track_caller]
fn options(line: &str) -> Options {
    match parsed(line) {
        Ok(Asked::Serve(taken)) => taken.options,
        other => panic!("{line}: {other:?}"),
    }
}

/// What is taken of variables, without the rest.
fn of_variables(variables: &[(&str, &str)]) -> Result<Given, String> {
    sources::of_environment(variables.iter().map(|(name, value)| (name.into(), value.into())))
}

fn texts(given: &Given, name: &str) -> Vec<String> {
    let values = given.get(name).into_iter().flatten();
    values.map(|value| value.text.to_str().expect("it was text").to_owned()).collect()
}

#[test]
fn the_default_is_this_machine_only_and_the_librarys() {
    let place = Place::Tcp(([127, 0, 0, 1], 9001).into());
    let options = options("");
    assert_eq!(options.listen, [Listen { place, speech: Speech::Plain }]);
    assert_eq!(options.patterns.of("t"), ByTopic::default());
    let library = pushloop::Config::default();
    assert_eq!(options.history_bytes_max, library.history_bytes_max);
    assert_eq!(options.presence_delay, pushloop::PresenceConfig::default().leave_delay);
    let history = self::options("--history 7").patterns.of("t").history;
    assert_eq!(history, Some(History::of(7)));
}

#[test]
fn listening_beyond_this_machine_has_to_be_meant() {
    for address in ["0.0.0.0:80", "[::]:80", "192.0.2.1:80"] {
        let error = parsed(&format!("--listen localhost:1 --listen {address}")).unwrap_err();
        assert!(error.starts_with(&format!("--listen: {address} can be reached")), "{error}");
        assert!(parsed(&format!("--listen {address} --anyone-may-publish")).is_ok());
    }
    assert!(parsed("--listen [::1]:80 --listen localhost:81 --listen unix:/tmp/x").is_ok());
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    for line in [
        "--allow-origin example.org",
        "--allow-origin http://a/b",
        "--allow-origin https://*",
        "--allow-origin https://a.*.org",
        "--allow-origin Null",
        "--allow-origin file:",
        "--allow-origin */",
    ] {
        let error = parsed(line).unwrap_err();
        assert!(error.contains("is no origin") && !error.contains('\n'), "{line}: {error}");
    }
    for (value, origin) in [
        ("https://example.org/", "https://example.org"),
        ("https://*.example.org", "https://*.example.org"),
        ("file://", "file://"),
        ("file:///", "file://"),
        ("null", "null"),
        ("*", "*"),
    ] {
        let options = options(&format!("--allow-origin {value}"));
        assert_eq!(options.allow_origins, [origin]);
    }
    for line in ["--allow-host http://a", "--allow-host a/b", "--allow-host a.*.b"] {
        let error = parsed(line).unwrap_err();
        assert!(error.contains("is no host") && !error.contains('\n'), "{line}: {error}");
    }
    assert!(parsed("--allow-host a:80 --allow-host *.b --allow-host *").is_ok());
    for line in ["--listen", "--listen 80", "--listen unix:", "--listne x", "extra", "-x"] {
        let error = parsed(line).unwrap_err();
        assert!(!error.is_empty() && !error.contains('\n'), "{line}: {error}");
    }
}

#[test]
fn a_proxy_is_named_before_it_is_believed() {
    let open = "--anyone-may-publish";
    for line in ["--client-header forwarded", "--listen-proxied 127.0.0.1:1"] {
        assert!(parsed(line).unwrap_err().contains("--trust-proxy"), "{line}");
        assert!(parsed(&format!("{line} {open} --trust-proxy unix")).is_ok(), "{line}");
    }
    // It lets strangers in.
    let error = parsed("--trust-proxy unix").unwrap_err();
    assert!(error.starts_with("--trust-proxy: ") && error.contains(open), "{error}");
    for line in ["--trust-proxy", "--trust-proxy 10.0.0.0/33", "--client-header x-real-ip"] {
        assert!(parsed(&format!("{line} {open}")).is_err(), "{line}");
    }
}

#[test]
fn how_it_ends_is_in_whole_seconds() {
    let drain = options("--drain-delay 5 --drain-spread 0 --drain-deadline 3600").drain;
    let seconds = [drain.delay, drain.spread, drain.deadline].map(|time| time.as_secs());
    assert_eq!(seconds, [5, 0, 3600]);
    for line in ["--drain-delay", "--drain-spread -1", "--drain-deadline 1.5"] {
        assert!(parsed(line).is_err(), "{line}");
    }
}

#[test]
fn what_is_out_of_range_is_refused_and_the_ends_are_not() {
    for (option, good, bad) in [
        ("--unix-mode", &["0", "0660", "777"][..], &["1000", "8", "rw", "-1", ""][..]),
        ("--head-bytes-max", &["1024", "1048576"], &["1023", "1048577", "16k", "-1"]),
        ("--log-lines-per-second", &["1", "1000000"], &["0", "1000001", "-1"]),
        ("--log-level", &["error", "debug"], &["trace", "Warn", ""]),
        ("--log-format", &["lines", "json"], &["text", "JSON"]),
        ("--keep-alive", &["0", "4294967295"], &["4294967296", "-1", "1.5"]),
        ("--subprotocol", &["json", "v1.chat~"], &["a,b", "a;b", "\u{e9}", "\""]),
    ] {
        for (values, is_good) in [(good, true), (bad, false)] {
            for value in values {
                let arguments = [option, value].map(OsString::from);
                assert_eq!(parse(arguments, []).is_ok(), is_good, "{option} {value}");
            }
        }
    }
    assert!(parsed("--no-deflate --deflate-takeover").is_err());
    assert!(parsed("--presence-delay 0").unwrap_err().contains("add --presence"));
    assert!(parsed("--presence-delay 0 --presence").is_ok());
    assert!(parsed("--history 1 --history-file x").is_ok());
    for line in ["--history-file x", "--history 1 --history-file"] {
        assert!(parsed(line).unwrap_err().contains("--history"), "{line}");
    }
    assert!(parsed("--history 1 --history-file-optional").is_err());
}

#[test]
fn what_has_no_use_says_so_where_it_was_given() {
    for (line, said) in [
        ("--no-deflate --deflate-takeover", "--no-deflate: "),
        ("--history-age 1", "--history-age: "),
        ("--history-file x", "--history-file: "),
        ("--history 1 --history-file-optional", "--history-file-optional: "),
        ("--presence=false --presence-delay 1", "--presence-delay: "),
    ] {
        let error = parsed(line).unwrap_err();
        assert!(error.starts_with(said), "{line}: {error}");
    }
    // A switch that is off asks for nothing.
    options("--no-deflate=false --deflate-takeover");
    let error = parsed("--presence=maybe").unwrap_err();
    assert!(error.starts_with("--presence: 'maybe' is neither true"), "{error}");
}

#[test]
fn a_name_that_is_near_is_said() {
    for (line, near) in [
        ("--listne x", Some("--listen is near")),
        ("--keep_alive 1", Some("--keep-alive is near")),
        ("--histori 1", Some("--history is near")),
        ("--port 80", None),
        ("--x", None),
    ] {
        let error = parsed(line).unwrap_err();
        assert!(error.starts_with("invalid option"), "{line}: {error}");
        assert_eq!(error.contains("is near"), near.is_some(), "{line}: {error}");
        assert!(error.contains(near.unwrap_or_default()), "{line}: {error}");
    }
}

#[test]
fn variables_are_options_and_a_list_has_commas_or_lines() {
    let given = of_variables(&[
        ("PUSHLOOP_ALLOW_HOST", "a.org, b.org\nc.org,\n"),
        ("PUSHLOOP_KEEP_ALIVE", "5"),
        ("PUSHLOOP_PRESENCE", "true"),
        ("PUSHLOOP_CLIENT_HEADER", ""),
        ("HOME", "/"),
    ]);
    let given = given.expect("they are options");
    assert_eq!(texts(&given, "allow-host"), ["a.org", "b.org", "c.org"]);
    assert_eq!(texts(&given, "keep-alive"), ["5"]);
    assert_eq!(given.len(), 3);
    for (name, value, said) in [
        ("PUSHLOOP_KEEP_ALIVE", "5s", "PUSHLOOP_KEEP_ALIVE: '5s' is no number of seconds"),
        ("PUSHLOOP_PRESENCE", "yes", "PUSHLOOP_PRESENCE: 'yes' is neither true nor false"),
        ("PUSHLOOP_ALLOW_HOST", "a.org,b/c", "PUSHLOOP_ALLOW_HOST: 'b/c' is no host"),
        (
            "PUSHLOOP_KEEPALIVE",
            "5",
            "PUSHLOOP_KEEPALIVE: no option has this variable: PUSHLOOP_KEEP_A",
        ),
        ("PUSHLOOP_HELP", "1", "PUSHLOOP_HELP: no option has this variable"),
        ("PUSHLOOP_PORT", "80", "PUSHLOOP_PORT: no option has this variable"),
    ] {
        let error = of_variables(&[(name, value)]).unwrap_err();
        assert!(error.starts_with(said) && !error.contains('\n'), "{error}");
    }
}

/// Kubernetes sets them for a service that is called so, and the server would not start there.
#[test]
fn variables_of_kubernetes_are_no_options() {
    let given = of_variables(&[
        ("PUSHLOOP_SERVICE_HOST", "10.0.0.1"),
        ("PUSHLOOP_SERVICE_PORT", "9001"),
        ("PUSHLOOP_SERVICE_PORT_HTTP", "9001"),
        ("PUSHLOOP_PORT", "tcp://10.0.0.1:9001"),
        ("PUSHLOOP_PORT_9001_TCP", "tcp://10.0.0.1:9001"),
        ("PUSHLOOP_PORT_9001_TCP_PROTO", "tcp"),
        ("PUSHLOOP_PORT_9001_TCP_ADDR", "10.0.0.1"),
        ("PUSHLOOP_METRICS_PORT_9001_TCP_PORT", "9001"),
        ("PUSHLOOP_METRICS_SERVICE_HOST", "10.0.0.1"),
    ]);
    assert_eq!(given, Ok(Given::new()));
}

#[test]
fn a_file_has_a_key_for_each_option() {
    let text = "allow-host = ['a.org', 'b.org'] # two\nlisten = '127.0.0.1:80'\nkeep-alive = 0x1_0\n\
                presence = true\nallow-origin = []\n";
    let given = file::of_text("f", text).expect("they are options").given;
    assert_eq!(texts(&given, "allow-host"), ["a.org", "b.org"]);
    assert_eq!(texts(&given, "keep-alive"), ["16"]);
    assert_eq!(given.len(), 4);
    let origin = &given["keep-alive"][0].origin;
    assert_eq!(origin.to_string(), "f:3: keep-alive");
}

#[test]
fn a_file_that_is_wrong_is_refused_with_its_line_and_what_would_be_taken() {
    for (text, said) in [
        ("\n\nkeep_alive = 1", "f:3: no option is called \"keep_alive\": keep-alive is near"),
        ("x = 1", "f:1: no option is called \"x\""),
        ("\nconfig = 'g'", "f:2: config is for the command line"),
        (
            "keep-alive = '75s'",
            "f:1: keep-alive: it is text, and to be keep-alive = SECONDS, a whole",
        ),
        ("keep-alive = 1.5", "f:1: keep-alive: it is a number with a fraction, and to be"),
        ("keep-alive = -1", "f:1: keep-alive: '-1' is no number of seconds"),
        ("keep-alive = 4294967296", "f:1: keep-alive: '4294967296' is no number of seconds"),
        ("keep-alive = 00:00:10", "f:1: keep-alive: it is a date, and to be"),
        ("history = 99999999999999999999999999999999999999999", "f:1: history: '9999"),
        ("unix-mode = 0o660", "f:1: unix-mode: it is a number, and to be unix-mode = \"OCTAL\""),
        ("presence = 'true'", "f:1: presence: it is text, and to be presence = true, or false"),
        ("unix-mode = ['0660']", "f:1: unix-mode: it is a list"),
        ("allow-host = [\n'a',\n'b/c']", "f:3: allow-host: 'b/c' is no host"),
        (
            "allow-host = ['a', 1]",
            "f:1: allow-host: it is a number, and to be allow-host = \"NAME\", or",
        ),
        ("allow-host = [['a']]", "f:1: allow-host: it is a list"),
        ("[listen]\nx = 1", "f:1: listen: it is a table"),
        ("history-file = ''", "f:1: history-file: it is empty"),
        ("presence = true\nlisten = ['[::]:80']", "f:2: listen: [::]:80 can be reached from"),
        ("keep-alive = 1\nkeep-alive = 2", "f:2: duplicate key"),
        ("\nkeep-alive 1", "f:2: "),
        ("keep-alive = \u{0}", "f:1: "),
        ("b = 1\na = 2", "f:1: no option is called \"b\""),
        ("topic = 1", "f:1: no option is called \"topic\": topics is near"),
        ("topics = 1", "f:1: topics is a number, and to be tables: [[topics]]"),
        ("\n[topics]\nprefix = 'a'", "f:2: topics is a table, and to be tables: [[topics]]"),
        ("topics = ['a']", "f:1: topics has text, and is to have tables: [[topics]]"),
        ("\n[[topics]]\nhistory = 1", "f:2: [[topics]] has a prefix"),
        (
            "[[topics]]\nprefix = ''",
            "f:2: prefix is the beginning of names of topics: 1 to 255 bytes",
        ),
        ("[[topics]]\nprefix = 1", "f:2: prefix is the beginning of names"),
        (
            "[[topics]]\nprefix = 'a'\nkeep-alive = 1",
            "f:3: [[topics]] has no \"keep-alive\", but prefix, history, presence, anyone-may-publish, \
             history-age, history-bytes, on-lag; what is for all stands above the first one",
        ),
        (
            "[[topics]]\nprefix = 'a'\nhistory = 'x'",
            "f:3: history: it is text, and to be history = N",
        ),
        (
            "[[topics]]\nprefix = 'a'\non-lag = 'x'",
            "f:3: on-lag: 'x' is neither close nor skip nor",
        ),
        (
            "[[topics]]\nprefix = 'a'\n[[topics]]\nprefix = 'b'\n[[topics]]\nprefix = 'a'",
            "f:6: prefix: there are two of \"a\"",
        ),
    ] {
        let error = of_file(text).unwrap_err();
        assert!(error.starts_with(said) && !error.contains('\n'), "{text}: {error}");
    }
    let deep = format!("listen = {}", "[".repeat(100_000));
    assert!(file::of_text("f", &deep).unwrap_err().starts_with("f:1: "));
}

fn of_file(text: &str) -> Result<Options, String> {
    let file::InFile { given, topics } = file::of_text("f", text)?;
    Taken::of(given, topics).map(|taken| taken.options)
}

#[test]
fn a_prefix_says_what_is_different_for_its_topics() {
    let text = "history-age = 60\npresence = true\n\
                [[topics]]\nprefix = 'chat/'\nhistory = 5\n\
                [[topics]]\nprefix = 'chat/log/'\nhistory = 9\nhistory-age = 7\nhistory-bytes = 8\n\
                [[topics]]\nprefix = 'prices/'\non-lag = 'latest'\npresence = false\n";
    let patterns = of_file(text).expect("it is right").patterns;
    let history = |publications, age, bytes| {
        let mut history = History::of(publications);
        (history.age, history.bytes) = (Duration::from_secs(age), bytes);
        Some(history)
    };
    let others = ByTopic { presence: true, ..ByTopic::default() };
    for (name, expected) in [
        ("chat", others),
        ("chat/a", ByTopic { history: history(5, 60, 1 << 20), ..others }),
        ("chat/log/a", ByTopic { history: history(9, 7, 8), ..others }),
        ("prices/a", ByTopic { on_lag: OnLag::Latest, ..ByTopic::default() }),
    ] {
        assert_eq!(patterns.of(name), expected, "{name}");
    }
    // What belongs to a history belongs to one of some topics.
    let chat = "[[topics]]\nprefix = 'chat/'\n";
    for (text, is_right) in [
        (format!("history-file = 'x'\n{chat}history = 1"), true),
        (format!("history-file = 'x'\n{chat}"), false),
        (format!("presence-delay = 1\n{chat}presence = true"), true),
        (format!("presence-delay = 1\n{chat}presence = false"), false),
        (format!("{chat}history-age = 1"), false),
        (format!("history = 1\n{chat}history-age = 1"), true),
    ] {
        assert_eq!(of_file(&text).is_ok(), is_right, "{text}");
    }
    let open = "[[topics]]\nanyone-may-publish = true\nprefix = ";
    for (text, why) in [
        (format!("jwt-secret-file = 's'\n{open}'wall/'"), None),
        (format!("jwt-secret-file = 's'\n{open}'p'"), None),
        (
            format!("{open}'wall/'"),
            Some("f:2: anyone-may-publish: anyone may, as long as there are no keys"),
        ),
        (
            format!("jwt-secret-file = 's'\n{open}'private-a'"),
            Some("f:3: anyone-may-publish: topics that"),
        ),
        (format!("jwt-secret-file = 's'\n{open}'$'"), Some("f:3: anyone-may-publish: topics that")),
        (
            format!("jwt-secret-file = 's'\nanyone-may-publish = true\n{open}'wall/'"),
            Some("f:2: anyone-may-publish: with keys"),
        ),
    ] {
        let refused = of_file(&text).err();
        assert_eq!(refused.is_some(), why.is_some(), "{text}: {refused:?}");
        let said = refused.unwrap_or_default();
        assert!(said.starts_with(why.unwrap_or_default()), "{text}: {said}");
    }
    let many = |count: usize| -> String {
        (0..count).map(|nth| format!("[[topics]]\nprefix = '{nth}'\n")).collect()
    };
    let longest = |bytes| format!("[[topics]]\nprefix = '{}'", "x".repeat(bytes));
    assert!(of_file(&many(64)).is_ok() && of_file(&longest(255)).is_ok());
    let error = of_file(&many(65)).unwrap_err();
    assert_eq!(error, "f:129: more [[topics]] than topic_prefixes_max = 64");
    assert!(of_file(&longest(256)).unwrap_err().contains("1 to 255 bytes"));
    let library = pushloop::Config::default();
    assert_eq!((library.topic_prefixes_max, library.topic_name_bytes_max), (64, 255));
}

/// A file that is wrong in any way has an answer of one line, also while the server runs.
#[test]
fn any_text_is_taken_or_refused_in_one_line() {
    let page = include_str!("../../../../docs/SERVER.md");
    let example = page.split("```").find_map(|it| it.strip_prefix("toml\n")).expect("it is there");
    let pieces: Vec<char> =
        "[[]]{}=.,'\"\\#\n\r\0 -+_0179eEinfT:Z\u{e9}\u{feff}x".chars().collect();
    let mut random = 1_u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as usize % below
    };
    let mut taken = 0;
    for _ in 0..5_000 {
        let mut text: Vec<char> = example.chars().collect();
        for _ in 0..=next(4) {
            let at = next(text.len());
            match next(3) {
                0 => drop(text.splice(at..at, [pieces[next(pieces.len())]])),
                1 => text[at] = pieces[next(pieces.len())],
                _ => drop(text.drain(at..(at + next(9)).min(text.len()))),
            }
        }
        match of_file(&text.iter().collect::<String>()) {
            Ok(_) => taken += 1,
            Err(error) => assert!(error.starts_with("f:") && !error.contains('\n'), "{error}"),
        }
    }
    assert!((100..4_900).contains(&taken), "{taken}");
}

/// What a value has of lines and of a terminal's commands is written out, wherever the value comes from.
#[test]
fn a_value_of_two_lines_is_refused_in_one() {
    let error = parse(["--listen", "a\nb\x1B"].map(OsString::from), []).unwrap_err();
    assert!(error.starts_with("--listen: 'a\\nb\\u{1b}' is no address"), "{error}");
}

#[test]
fn each_row_of_the_table_can_be_given_and_no_two_are_the_same() {
    let names: BTreeSet<_> = all().map(|entry| entry.name).collect();
    assert_eq!(names.len(), all().count());
    for entry in all() {
        let is_plain = |c: char| c.is_ascii_lowercase() || c == '-';
        assert!(entry.name.chars().all(is_plain), "{}", entry.name);
        assert_eq!(entry.value.is_empty(), entry.is_switch(), "{}", entry.name);
        assert!(
            !["help", "version", "topics", "prefix"].contains(&entry.name),
            "{} is taken",
            entry.name
        );
    }
}

/// The options that most need come first, and each takes a few lines.
#[test]
fn help_is_short() {
    let usage = usage();
    assert!(usage.lines().all(|line| line.chars().count() <= 100), "{usage}");
    let others = usage.lines().position(|line| line == "Who gets in:");
    assert!(others.is_some_and(|line| line < 20), "{usage}");
    assert!(usage.lines().count() < 3 * all().count(), "{usage}");
    let lines = |entry: &Entry| {
        let flag = format!("  --{} ", entry.name);
        let rest = usage.lines().skip_while(|line| !format!("{line} ").starts_with(&flag)).skip(1);
        1 + rest.take_while(|line| line.starts_with("   ")).count()
    };
    for entry in all() {
        assert!(lines(entry) <= 4, "--{}", entry.name);
    }
}

#[test]
fn the_docs_have_the_table() {
    let page = include_str!("../../../../docs/SERVER.md");
    let table = help::docs();
    assert!(page.contains(&table), "docs/SERVER.md has not this table:\n{table}");
}

#[test]
fn help_and_version_win() {
    assert_eq!(parsed("--help --listne"), Ok(Asked::Help));
    assert_eq!(parsed("-V"), Ok(Asked::Version));
}

#[test]
fn tls_needs_a_certificate_with_its_key_and_these_need_tls() {
    let pair = "--tls-cert c --tls-key k";
    for (line, said) in [
        ("--listen-tls localhost:1".to_owned(), "--listen-tls: it needs --tls-cert and --tls-key"),
        (
            format!("--listen-tls localhost:1 {pair} --tls-cert d"),
            "--tls-cert: each --tls-cert has its --tls-key, in the same order: there are 2 and 1",
        ),
        ("--listen-tls localhost:1 --tls-key k".to_owned(), "--tls-key: each --tls-cert has"),
        (pair.to_owned(), "--tls-cert: it is for TLS: add --listen-tls"),
        ("--inherit-tls".to_owned(), "--inherit-tls: it needs --tls-cert and --tls-key"),
        ("--tls-ticket-secret-file x".to_owned(), "--tls-ticket-secret-file: it is for TLS"),
        (format!("--listen-tls unix:/x {pair}"), "--listen-tls: 'unix:/x' is no address"),
        (format!("--listen-tls 0.0.0.0:1 {pair}"), "--listen-tls: 0.0.0.0:1 can be reached"),
    ] {
        let error = parsed(&line).unwrap_err();
        assert!(error.starts_with(said), "{line}: {error}");
    }
    let options = options(&format!("--listen-tls localhost:1 {pair} --tls-client-ca a"));
    let place = Place::Tcp(([127, 0, 0, 1], 1).into());
    assert_eq!(options.listen, [Listen { place, speech: Speech::Tls }]);
    assert_eq!(options.tls.client_authority, Some("a".into()));
}
