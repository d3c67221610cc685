//! Options from flags, variables and a file, and what `pushloop check` says of them.

use std::{fs, process::Output};

use super::{PUSHLOOP, ask_tcp, serve};
use crate::support::process::{bounded, scratch};

/// What the program does with these arguments and variables, to its end.
fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let variables = variables.iter().copied();
    bounded(PUSHLOOP).args(arguments).envs(variables).output().expect("it runs")
}

/// What `check` prints.
#[track_caller]
fn checked(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let output = run(&[&["check"], arguments].concat(), variables);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), &*error), (Some(0), ""), "{arguments:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// The one line with which it is refused, by `check` as by the server.
#[track_caller]
fn refused(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let [checked, served] = ["check", "serve"].map(|command| {
        let output = run(&[&[command], arguments].concat(), variables);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}");
        String::from_utf8(output.stderr).expect("text")
    });
    assert_eq!(checked, served);
    assert_eq!(checked.lines().count(), 1, "{checked}");
    checked
}

/// A file of this test that is gone with it.
pub struct Scratch(pub String);

impl Scratch {
    pub fn with(name: &str, text: &[u8]) -> Self {
        let path = scratch(name);
        fs::write(&path, text).expect("it can be written");
        Self(path.to_str().expect("the path is text").to_owned())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn flags_go_before_variables_and_these_before_the_file() {
    let file = Scratch::with(
        "order.toml",
        b"keep-alive = 1\nhead-bytes-max = 2000\nretry = 3\npresence = true\n\
          allow-host = ['f.org', 'g.org']\nallow-origin = ['null', '*']\n",
    );
    let path = &*file.0;
    let variables = [
        ("PUSHLOOP_CONFIG", path),
        ("PUSHLOOP_HEAD_BYTES_MAX", "3000"),
        ("PUSHLOOP_KEEP_ALIVE", "2"),
        ("PUSHLOOP_ALLOW_HOST", "v.org,w.org"),
        ("PUSHLOOP_SUBPROTOCOL", "a\nb"),
    ];
    let flags = ["--keep-alive", "5", "--allow-host", "x.org", "--presence=false"];
    let said = checked(&flags, &variables);
    for line in [
        "# listen = \"127.0.0.1:9001\"  # default",
        &format!("# config = \"{path}\"  # PUSHLOOP_CONFIG"),
        "keep-alive = 5  # --keep-alive",
        "head-bytes-max = 3000  # PUSHLOOP_HEAD_BYTES_MAX",
        &format!("retry = 3  # {path}:3"),
        "presence = false  # --presence",
        "allow-host = \"x.org\"  # --allow-host",
        "subprotocol = [\"a\", \"b\"]  # PUSHLOOP_SUBPROTOCOL",
        &format!("allow-origin = [\"null\", \"*\"]  # {path}:6"),
        "# drain-deadline = 30  # default",
    ] {
        assert!(said.lines().any(|it| it == line), "{line}: {said}");
    }
    // What it says is a file that says the same.
    let again = Scratch::with("again.toml", said.as_bytes());
    let values = |said: &str| {
        let lines = said.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.split("  # ").next().map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(values(&checked(&["--config", &again.0], &[])), values(&said));
}

#[test]
fn the_server_takes_what_the_file_says() {
    let file = Scratch::with("serve.toml", b"presence = true\n");
    let (_server, address) = serve(&["--config", &file.0]);
    let answer = ask_tcp(&address, "GET /t?presence=count", "", "");
    assert!(answer.contains("\"count\":0"), "{answer}");
    // `check` looks and opens nothing: the port is taken.
    checked(&["--config", &file.0, "--listen", &address], &[]);
}

#[test]
fn what_is_wrong_is_said_with_where_it_stands() {
    let file = Scratch::with("wrong.toml", b"\nkeep-alive = '75s'\n");
    let path = &*file.0;
    let missing = format!("{path}.missing");
    for (arguments, variables, said) in [
        (&["--config", path][..], &[][..], format!("pushloop: {path}:2: keep-alive: it is")),
        // A value that is replaced is looked at as well.
        (
            &["--keep-alive", "75"],
            &[("PUSHLOOP_CONFIG", path)],
            format!("pushloop: {path}:2: keep-alive"),
        ),
        (
            &["--keep-alive", "75"],
            &[("PUSHLOOP_KEEP_ALIVE", "x")],
            "pushloop: PUSHLOOP_KEEP_ALIVE: 'x'".into(),
        ),
        (
            &["--config", &missing],
            &[],
            format!("pushloop: --config: cannot read {missing}: No such file"),
        ),
        (&["--config", "/"], &[], "pushloop: --config: cannot read /: Is a directory".into()),
        (&[], &[("PUSHLOOP_LISTNE", "x")], "pushloop: PUSHLOOP_LISTNE: no option".into()),
    ] {
        let error = refused(arguments, variables);
        assert!(error.starts_with(&said), "{said}: {error}");
    }
}

#[test]
fn a_file_has_room_for_its_limit() {
    let of = |bytes: usize| Scratch::with("long.toml", "#".repeat(bytes).as_bytes());
    let file = of(1024 * 1024);
    checked(&["--config", &file.0], &[]);
    let file = of(1024 * 1024 + 1);
    let error = refused(&["--config", &file.0], &[]);
    assert!(error.contains("config_bytes_max = 1048576"), "{error}");
    // One that does not end.
    assert!(refused(&["--config", "/dev/zero"], &[]).contains("config_bytes_max"));
    let file = Scratch::with("bytes.toml", b"\n\xff");
    assert!(refused(&["--config", &file.0], &[]).contains(":2: it is not UTF-8"));
}

/// It is what an operator copies.
#[test]
fn the_example_in_the_docs_is_taken() {
    let page = include_str!("../../../docs/SERVER.md");
    let (_, example) = page.split_once("```toml\n").expect("it is there");
    let (example, _) = example.split_once("```").expect("it ends");
    let file = Scratch::with("docs.toml", example.as_bytes());
    let said = checked(&["--config", &file.0], &[]);
    let line = |text: &str| 1 + example.lines().position(|line| line == text).expect("it is there");
    for text in
        ["allow-origin = \"https://example.org\"", "prefix = \"prices/\"", "history-age = 3600"]
    {
        let told = format!("{text}  # {}:{}", file.0, line(text));
        assert!(said.lines().any(|line| line == told), "{told}: {said}");
    }
    let again = Scratch::with("docs-again.toml", said.as_bytes());
    let topics = |said: &str| said.matches("\n[[topics]]\nprefix = \"").count();
    assert_eq!([topics(&said), topics(&checked(&["--config", &again.0], &[]))], [2; 2]);
}

/// What a server would find out as it starts.
#[test]
fn files_that_are_named_are_looked_at() {
    let file = Scratch::with("history", b"");
    let inside = format!("{}/x", file.0);
    for (path, why) in [("/", "it is a directory"), (&*inside, "there is no directory for it")] {
        let output = run(&["check", "--history", "1", "--history-file", path], &[]);
        let error = String::from_utf8(output.stderr).expect("text");
        let said = format!("pushloop: --history-file: cannot use {path}: {why}");
        assert!(output.status.code() == Some(2) && error.starts_with(&said), "{error}");
    }
    let fresh = format!("{}.fresh", file.0);
    for path in [&file.0, &fresh, "history"] {
        checked(&["--history", "1", "--history-file", path], &[]);
    }
}
