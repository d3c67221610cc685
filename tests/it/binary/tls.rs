//! The server over TLS.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::supervised::{listener, serve_on};
use super::{PUSHLOOP, ask_tcp};
use crate::support::http::ask;
use crate::support::process::{Process, bounded, scratch};
use crate::tls::{Authority, Pair, is_resumed};

/// The files of a server, gone with the test.
struct Files(PathBuf);

impl Files {
    fn new() -> Self {
        let folder = scratch("files");
        fs::create_dir(&folder).expect("it can be made");
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("the path is text").to_owned()
    }

    fn has(&self, (chain, key): &Pair) {
        fs::write(self.path("chain.pem"), chain).expect("it can be written");
        fs::write(self.path("key.pem"), key).expect("it can be written");
    }

    fn arguments(&self) -> [String; 8] {
        fs::write(self.path("secret"), [7; 32]).expect("it can be written");
        [
            "--listen-tls=127.0.0.1:0".to_owned(),
            "--tls-cert".to_owned(),
            self.path("chain.pem"),
            "--tls-key".to_owned(),
            self.path("key.pem"),
            "--tls-ticket-secret-file".to_owned(),
            self.path("secret"),
            "--listen=127.0.0.1:0".to_owned(),
        ]
    }

    /// A server, and where it is: for TLS, and in plain text.
    fn serves(&self) -> (Process, SocketAddr, String) {
        let arguments = self.arguments();
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let mut server = Process::start(PUSHLOOP.as_ref(), &arguments);
        // In the order of the table of options.
        let plain = server.address("http://");
        let secure = server.address("https://");
        (server, secure.parse().expect("an address"), plain)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn certificates_are_read_again_on_sighup_and_kept_if_they_are_bad() {
    let (authority, files) = (Authority::new(), Files::new());
    let [first, second] = [(); 2].map(|()| authority.signs(&["localhost"]));
    files.has(&first);
    let (server, address, plain) = files.serves();
    let client = authority.client();
    let presented = || {
        let mut stream = client.connects(address);
        let answer = ask(&mut stream, "POST /scores", "", "Goal!");
        assert!(answer.ends_with("{\"delivered\":0}\n"), "{answer}");
        (stream.conn.peer_certificates().expect("one")[0].to_vec(), is_resumed(&stream))
    };
    let (before, _) = presented();
    let reloads = |expected: [u64; 2]| {
        server.signal("HUP");
        let [done, failed] = expected;
        let lines = [
            format!("pushloop_tls_reloads_total {done}\n"),
            format!("pushloop_tls_reloads_failed_total {failed}\n"),
        ];
        // Each question takes a moment.
        let mut asked = (0..10_000).map(|_| ask_tcp(&plain, "GET /metrics", "", ""));
        assert!(asked.any(|metrics| lines.iter().all(|line| metrics.contains(line))), "{lines:?}");
    };
    files.has(&(second.0.clone(), first.1.clone()));
    reloads([0, 1]);
    assert_eq!(
        authority.client().connects(address).conn.peer_certificates().expect("one")[0].to_vec(),
        before
    );
    files.has(&second);
    reloads([1, 1]);
    // A session goes on with what it was told at its beginning.
    assert_eq!(presented(), (before.clone(), true));
    assert_ne!(
        authority.client().connects(address).conn.peer_certificates().expect("one")[0].to_vec(),
        before
    );
    drop(server);
    // And after a restart.
    let (_server, address, _) = files.serves();
    assert!(is_resumed(&client.connects(address)));
}

/// Ports below 1024 are for root to bind, and a restart on the same socket refuses nobody.
#[test]
fn a_socket_that_was_handed_over_may_be_for_tls() {
    let (authority, files) = (Authority::new(), Files::new());
    files.has(&authority.signs(&["localhost"]));
    let socket = listener();
    let address = socket.local_addr().expect("it is bound");
    let arguments = files.arguments();
    let files: Vec<_> = arguments[1..5].iter().map(String::as_str).collect();
    let mut server = serve_on(socket, &[&["--inherit-tls"], &files[..]].concat());
    assert_eq!(server.address("https://"), address.to_string());
    let answer = ask(&mut authority.client().connects(address), "POST /scores", "", "Goal!");
    assert!(answer.ends_with("{\"delivered\":0}\n"), "{answer}");
    let alone = bounded(PUSHLOOP).arg("--inherit-tls").args(files).output().expect("it runs");
    assert_eq!(alone.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&alone.stderr).contains("no socket was handed over"));
}

#[test]
fn what_is_wrong_with_the_files_is_said_before_the_server_serves() {
    let (authority, files) = (Authority::new(), Files::new());
    let [one, other] = [(); 2].map(|()| authority.signs(&["localhost"]));
    files.has(&(one.0, other.1));
    let [chain, key] = ["chain.pem", "key.pem"].map(|name| files.path(name));
    let problem = format!("{key}: the key is not that of the certificate in {chain}\n");
    for (command, code, said) in [
        ("check", 2, format!("pushloop: cannot use TLS: {} (see --help)\n", problem.trim_end())),
        ("serve", 1, format!("pushloop: {problem}")),
    ] {
        let output = bounded(PUSHLOOP).arg(command).args(files.arguments()).output();
        let output = output.expect("it runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*error, output.stdout.len()), (Some(code), &*said, 0));
    }
    files.has(&authority.signs(&["localhost"]));
    let arguments = files.arguments();
    for (bytes, is_good) in [(31, false), (32, true), (4096, true), (4097, false)] {
        fs::write(files.path("secret"), vec![7; bytes]).expect("it can be written");
        let output = bounded(PUSHLOOP).arg("check").args(&arguments).output().expect("it runs");
        assert_eq!(output.status.success(), is_good, "{bytes}: {output:?}");
        let named = String::from_utf8_lossy(&output.stderr).contains(&files.path("secret"));
        assert!(is_good || named, "{output:?}");
    }
}

/// What a program prints, on either output, and whether it was content.
fn runs(folder: &Path, line: &str) -> (String, bool) {
    let line = format!("exec 2>&1 </dev/null; {line}");
    let output =
        Command::new("bash").args(["-c", &line]).current_dir(folder).output().expect("it runs");
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success())
}

/// The lines of docs/SERVER.md that try it on one machine, and OpenSSL's own client.
#[test]
fn curl_and_openssl_agree_with_the_page_on_the_server() {
    let page = include_str!("../../../docs/SERVER.md");
    let (_, block) = page.split_once("```bash\nopenssl").expect("the page has it");
    let (block, _) = block.split_once("```").expect("it ends");
    let block = format!("openssl{}", block.replace("\\\n", ""));
    let [openssl, pushloop, curl] = *block.lines().collect::<Vec<_>>() else { panic!("{block}") };
    let files = Files::new();
    let folder = &files.0;
    let (said, is_made) = runs(folder, openssl);
    assert!(is_made, "{said}");
    let line = pushloop.replace("9443", "0").replace("pushloop", "exec \"$0\"");
    let line = format!("cd \"$1\"; {}", line.trim_end_matches([' ', '&']));
    let arguments = ["-c", &line, PUSHLOOP, folder.to_str().expect("the path is text")];
    let mut server = Process::start("bash".as_ref(), &arguments);
    let address = server.address("https://");
    let port = address.rsplit(':').next().expect("there is a port");
    let (said, _) = runs(folder, &curl.replace("9443", port));
    assert!(said.ends_with("{\"delivered\":0}\n"), "{said}");

    let client = format!("openssl s_client -connect {address} -CAfile fullchain.pem");
    let plain = "ALPN protocol: http/1.1";
    for (arguments, expected) in [
        ("-tls1_3 -alpn h2,http/1.1", &["TLSv1.3", "Verify return code: 0 (ok)", plain][..]),
        ("-tls1_2 -alpn http/1.1", &["TLSv1.2", "Secure Renegotiation IS supported", plain]),
        ("-tls1_2 -cipher ECDHE", &["TLSv1.2", "No ALPN negotiated"]),
        ("-alpn h2", &["alert no application protocol"]),
        ("-tls1_1 -cipher ALL:@SECLEVEL=0", &["alert handshake failure"]),
        ("-tls1_2 -cipher AES128-SHA:@SECLEVEL=0", &["alert handshake failure"]),
        ("-tls1_2 -sess_out session", &["New, TLSv1.2"]),
        ("-tls1_2 -sess_in session", &["Reused, TLSv1.2"]),
    ] {
        let (said, _) = runs(folder, &format!("{client} {arguments}"));
        for expected in expected {
            assert!(said.contains(expected), "{arguments}: no {expected:?} in {said}");
        }
    }
}
