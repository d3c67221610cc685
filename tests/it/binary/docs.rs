//! The lines for a shell in docs/SERVER.md, as they stand there but for where the server and its files are:
//! each does what the page says. Its lines for a browser are run in browsers (`tests/browser/resume.mjs`).

use std::{fs, path::Path};

use super::{PUSHLOOP, serve};
use crate::binary::file::peers::post;
use crate::support::process::{Process, connect, read_text, scratch};

const PAGE: &str = include_str!("../../../docs/SERVER.md");
/// How long a line may take.
const SECONDS_MAX: &str = "60";
const CONNECTED: &str = "pushloop: connected";

/// The page's lines for a shell that run the server's program or a client of it, without comments.
fn shell_lines() -> impl Iterator<Item = &'static str> {
    let blocks = PAGE.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap_or(rest));
    blocks.flat_map(str::lines).map(|line| line.split("  #").next().unwrap_or(line).trim_end())
}

/// What a line prints, in this order and maybe among other things, and whether it ends by itself.
fn shown(line: &str) -> (&'static [&'static str], bool) {
    match line {
        "curl -d 'Goal!' http://127.0.0.1:9001/scores" => (&["{\"delivered\":0,\"id\":\""], true),
        "pushloop --history 1000 --history-file /var/lib/pushloop/history" => {
            (&["pushloop: open http://127.0.0.1:"], false)
        }
        "curl -N -H 'Accept: text/event-stream' 'http://127.0.0.1:9001/scores?last=1'" => {
            (&["event: subscribed\n", "\"recovered\":null", "data: Goal!\n"], false)
        }
        "pushloop publish http://127.0.0.1:9001/scores 'Goal!'" => (&[], true),
        "tail -F /var/log/syslog | pushloop publish http://127.0.0.1:9001/log" => (&[], false),
        "pushloop subscribe ws://127.0.0.1:9001/scores,news" => (&[CONNECTED, "Goal!\n"], false),
        "pushloop subscribe ws://127.0.0.1:9001/scores --count 1" => {
            (&[CONNECTED, "Goal!\n"], true)
        }
        "pushloop subscribe ws://127.0.0.1:9001/scores --last 10" => {
            (&[CONNECTED, "Goal!\n"], false)
        }
        "pushloop subscribe ws://127.0.0.1:9001/scores --json | jq -r 'select(.data).data'" => {
            (&[CONNECTED, "Goal!\n"], false)
        }
        other => panic!("{other}: what does it print?"),
    }
}

/// A line that runs in a shell, with all that it starts.
struct Shell(Process);

impl Shell {
    fn runs(line: &str) -> Self {
        // `jq` would keep what it prints for a reader that is no terminal.
        let script = format!(
            "exec 2>&1; pushloop() {{ {PUSHLOOP} \"$@\"; }}; jq() {{ command jq --unbuffered \"$@\"; }}; {line}"
        );
        Self(Process::start(Path::new("timeout"), &[SECONDS_MAX, "bash", "-c", &script]))
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        if self.0.is_alive() {
            // `timeout` ends all of them.
            self.0.signal("TERM");
            let _ = self.0.child.wait();
        }
    }
}

#[test]
fn what_the_docs_show_in_a_shell_is_so() {
    let (_server, address) = serve(&["--history", "1000"]);
    let [log, history] = ["log", "history"].map(scratch);
    fs::write(&log, "a line\n").expect("there is room");
    let mut logged = connect(&address, "/log");
    let mut lines = 0;
    for line in shell_lines() {
        let (prints, ends) = shown(line);
        let mut here = line
            .replace("127.0.0.1:9001", &address)
            .replace("/var/log/syslog", &format!("'{}'", log.display()))
            .replace("/var/lib/pushloop/history", &format!("'{}'", history.display()));
        if line.starts_with("pushloop --") {
            here += " --listen 127.0.0.1:0";
        }
        let mut shell = Shell::runs(&here);
        for expected in prints {
            let mut printed = String::new();
            while !printed.contains(expected) {
                printed = shell.0.line();
                assert!(!printed.is_empty(), "{line} does not print {expected:?}");
            }
            if *expected == CONNECTED {
                assert_eq!(post(&address, "/scores", "Goal!").0, 200);
            }
        }
        if ends {
            assert!(shell.0.ended().success(), "{line}");
        }
        if line.starts_with("tail ") {
            assert_eq!(read_text(&mut logged), "a line");
        }
        lines += 1;
    }
    assert_eq!(lines, 9, "those that are gone from the page need no answer here");
    for file in [log, history] {
        fs::remove_file(file).expect("it is there");
    }
}

/// The blocks in `bash` of a section, and what follows each.
fn bash_blocks(title: &str) -> Vec<(&'static str, &'static str)> {
    let (_, section) = PAGE.split_once(&format!("\n{title}\n")).expect("the page has it");
    let section = section.split("\n## ").next().unwrap_or(section);
    let blocks = section.split("```bash\n").skip(1);
    blocks.map(|rest| rest.split_once("```").expect("an end")).collect()
}

#[test]
fn what_the_docs_show_of_tls_is_so() {
    let [_, (block, _)] = bash_blocks("## TLS")[..] else {
        panic!("the section has other blocks");
    };
    let (makes, rest) = block.split_once("pushloop ").expect("a server");
    let (arguments, asks) = rest.split_once(" &\n").expect("in the background");
    let folder = scratch("tls");
    fs::create_dir(&folder).expect("there is room");
    let script = |lines: &str| {
        let script = format!("cd '{}' && {lines}", folder.display());
        Process::start(Path::new("bash"), &["-c", &script])
    };
    let arguments = arguments.replace(":9443", ":0");
    let mut server = script(&format!("{{ {makes}}} 2>&1 && exec {PUSHLOOP} {arguments}"));
    let address = server.address("https://");
    let port = address.rsplit(':').next().expect("a port");
    let mut client = script(&asks.replace("9443", port));
    assert_eq!(client.line(), "{\"delivered\":0}\n");
    server.signal("TERM");
    fs::remove_dir_all(folder).expect("it is there");
}

/// Those in `bash` go on from each other, beside a server that one of them starts.
#[test]
fn what_the_docs_show_of_tokens_is_so() {
    let [(begins, _), (sends, _), (checks, rest)] = bash_blocks("## Tokens")[..] else {
        panic!("the section has other blocks");
    };
    let folder = scratch("tokens");
    fs::create_dir(&folder).expect("there is room");
    let script = |lines: &str| {
        let script =
            format!("cd '{}' && pushloop() {{ {PUSHLOOP} \"$@\"; }}; {lines}", folder.display());
        Process::start(Path::new("bash"), &["-c", &script])
    };
    // It is the server itself that ends with the test.
    let begins = begins.replace("0.0.0.0:9001", "127.0.0.1:0");
    let mut server = script(&begins.replace("pushloop --", &format!("exec {PUSHLOOP} --")));
    let address = server.address("http://");
    let mut shell = script(&format!("{sends}{checks}").replace("127.0.0.1:9001", &address));
    assert_eq!(shell.line(), "{\"delivered\":0}\n");
    let without_digits = |line: &str| line.trim_end().replace(|it: char| it.is_ascii_digit(), "");
    let shown = rest.split("```text\n").nth(1).and_then(|rest| rest.split("```").next());
    for line in shown.expect("the page shows it").lines() {
        assert_eq!(without_digits(&shell.line()), without_digits(line));
    }
    assert_eq!(shell.line(), "");
    server.signal("TERM");
    fs::remove_dir_all(folder).expect("it is there");
}
