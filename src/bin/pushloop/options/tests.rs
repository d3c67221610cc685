//! The command line.

use super::*;

fn parsed(line: &str) -> Result<Asked, String> {
    parse(line.split_whitespace().map(OsString::from))
}

#[test]
fn the_default_is_this_machine_only() {
    let place = Place::Tcp(([127, 0, 0, 1], 9001).into());
    let listen = vec![Listen { place, is_proxied: false }];
    let options = Options { listen, ..Options::default() };
    assert_eq!(parsed(""), Ok(Asked::Serve(Box::new(options))));
}

#[test]
fn listening_beyond_this_machine_has_to_be_meant() {
    for address in ["0.0.0.0:80", "[::]:80", "192.0.2.1:80"] {
        assert!(parsed(&format!("--listen {address}")).is_err());
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
        let parsed = parsed(&format!("--allow-origin {value}"));
        let Ok(Asked::Serve(options)) = parsed else { panic!("{value}: {parsed:?}") };
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
    assert!(parsed("--trust-proxy unix").unwrap_err().contains(open));
    for line in ["--trust-proxy", "--trust-proxy 10.0.0.0/33", "--client-header x-real-ip"] {
        assert!(parsed(&format!("{line} {open}")).is_err(), "{line}");
    }
}

#[test]
fn how_it_ends_is_in_whole_seconds() {
    let line = "--drain-delay 5 --drain-spread 0 --drain-deadline 3600";
    let Ok(Asked::Serve(options)) = parsed(line) else { panic!("{line}") };
    let drain = options.drain;
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
        ("--keep-alive", &["0", "4294967295"], &["4294967296", "-1", "1.5"]),
        ("--subprotocol", &["json", "v1.chat~"], &["a,b", "a;b", "\u{e9}", "\""]),
    ] {
        for (values, is_good) in [(good, true), (bad, false)] {
            for value in values {
                let arguments = [option, value].map(OsString::from);
                assert_eq!(parse(arguments).is_ok(), is_good, "{option} {value}");
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

/// Which is a screen of forty lines.
#[test]
fn help_is_one_screen() {
    assert!(USAGE.lines().count() < 40);
    assert!(USAGE.lines().all(|line| line.chars().count() <= 100));
}

#[test]
fn help_and_version_win() {
    assert_eq!(parsed("--help --listne"), Ok(Asked::Help));
    assert_eq!(parsed("-V"), Ok(Asked::Version));
}
