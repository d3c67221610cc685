//! `pushloop token`, and the commands that send one.

use std::{fs, path::Path};

use super::Run;
use crate::binary::{PUSHLOOP, serve};
use crate::support::process::{Process, scratch};

/// A file with a secret, and how a server and the commands are told of it.
fn secret(name: &str) -> String {
    let path = scratch(name);
    fs::write(&path, "0123456789abcdef0123456789abcdef\n").expect("it is written");
    path.into_os_string().into_string().expect("the path is text")
}

/// Makes a token for an hour.
fn make(secret: &str, more: &[&str]) -> String {
    let arguments = ["token", "make", "--secret-file", secret, "--expires-in", "3600"];
    let mut run = Run::start(&[&arguments, more].concat());
    let token = run.0.line().trim_end().to_owned();
    run.ends(0);
    token
}

#[test]
fn a_token_that_is_made_is_explained_and_does_what_it_says() {
    let secret = secret("made");
    let grants = ["--subscribe", "chat/*", "--publish", "chat/1", "--sub", "ada", "--info", "[1]"];
    let parties = ["--issuer", "https://a", "--audience", "live"];
    let token = make(&secret, &[&grants[..], &parties].concat());
    let keys =
        ["--jwt-secret-file", &secret, "--jwt-issuer", "https://a", "--jwt-audience", "live"];
    let check = |more: &[&str]| Run::start(&[&["token", "check"], more].concat());

    let mut run =
        check(&[&keys[..], &["--publish", "chat/1", "--subscribe", "chat/2", &token]].concat());
    run.prints(&["header: alg \"HS256\"\n", "claims: {\"aud\":\"live\",\"exp\":", "expires: in "]);
    run.prints(&["verdict: good\n", "publish chat/1: yes\n", "subscribe chat/2: yes\n"]);
    run.ends(0);
    let mut run = check(&[&keys[..], &["--publish", "chat/2", &token]].concat());
    run.prints(&["header: ", "claims: ", "expires: ", "verdict: good\n"]);
    run.prints(&["publish chat/2: no: the token's claim publish does not cover this topic\n"]);
    run.ends(1);
    let mut run = check(&[&keys[..2], &["-"]].concat());
    run.reads(token.as_bytes());
    drop(run.0.child.stdin.take());
    run.prints(&["header: ", "claims: ", "expires: ", "verdict: refused: the token's claim aud "]);
    run.ends(1);
    let mut run = check(&[&token]);
    run.prints(&["header: ", "claims: ", "expires: ", "verdict: not verified: "]);
    run.ends(1);

    let (_server, address) = serve(&keys);
    let path = scratch("token");
    fs::write(&path, &token).expect("it is written");
    let send = ["--token-file", path.to_str().expect("the path is text")];
    let mut reader = {
        let url = format!("ws://{address}/chat/1");
        Run::start(&[&["subscribe", &url, "--count", "1"], &send[..]].concat())
    };
    reader.prints(&["pushloop: connected\n"]);
    let url = format!("http://{address}/chat/1");
    let mut run = Run::start(&["publish", &url, "x"]);
    run.prints(&["pushloop: refused with 401: a token is needed to publish"]);
    run.ends(1);
    // In a variable, it is seen by nobody else either.
    let variable = format!("PUSHLOOP_TOKEN={token}");
    let arguments = [&variable, PUSHLOOP, "publish", "--verbose", &url, "hello"];
    let mut run = Run(Process::start(Path::new("env"), &arguments));
    run.prints(&["{\"delivered\":1}\n"]);
    run.ends(0);
    reader.prints(&["hello\n"]);
    reader.ends(0);
    // A server takes no notice of it.
    let arguments = [&variable, PUSHLOOP, "--listen", "127.0.0.1:0"];
    Process::start(Path::new("env"), &arguments).address("http://");
    fs::remove_file(path).expect("it is there");
    fs::remove_file(secret).expect("it is there");
}
