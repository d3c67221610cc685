//! Keys that change while the server runs: rotated, asked for by tokens, and at another URL.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::{
    super::{PUSHLOOP, ask_tcp, config::Scratch, hooks::metric, tokens::status},
    Issuer, Signer, fetching, publishes, reply, set, until,
};
use crate::support::{
    http::{answer_to, dial},
    process::Process,
};

/// A key that is new is asked for by its first token; one that is gone is good no more, also for a token that was
/// verified a moment ago.
#[test]
fn a_rotated_key_is_fetched_when_a_token_names_it() {
    let [old, new] = ["old", "new"].map(Signer::new);
    let issuer = Issuer::start(set(&[&old]));
    // Nothing else has it fetched again.
    let pace = ["--jwks-max-age", "86400", "--jwks-refetch", "1"];
    let (_server, address, metrics) = fetching(&issuer.backend.url(), &pace);
    until(|| metric(&metrics, "jwks_missing") == 0);
    let [of_old, of_new] = [&old, &new].map(Signer::signs);
    assert_eq!(publishes(&address, &of_old), 200);
    issuer.has(set(&[&old, &new]));
    // The request does not wait: it comes again.
    assert_eq!(publishes(&address, &of_new), 401);
    until(|| publishes(&address, &of_new) == 200);
    assert_eq!(publishes(&address, &of_old), 200);
    issuer.has(set(&[&new]));
    assert_eq!(publishes(&address, &Signer::new("none").signs()), 401);
    until(|| publishes(&address, &of_old) == 401);
    assert_eq!(publishes(&address, &of_new), 200);
    assert_eq!(metric(&metrics, "jwks_fetches_total"), 3);
}

/// Whoever makes up names of keys has nothing fetched: the pause after a fetch holds for all.
#[test]
fn forged_names_of_keys_do_not_flood_the_issuer() {
    let key = Signer::new("a");
    let issuer = Issuer::start(set(&[&key]));
    let pace = ["--jwks-max-age", "86400", "--jwks-refetch", "3600"];
    let (_server, address, metrics) = fetching(&issuer.backend.url(), &pace);
    until(|| metric(&metrics, "jwks_missing") == 0);
    let forged = Signer::new("forged").signs();
    for _ in 0..200 {
        assert_eq!(publishes(&address, &forged), 401);
    }
    assert_eq!(metric(&metrics, "jwks_fetches_total"), 1);
    issuer.backend.next();
    assert!(issuer.backend.has_no_more());
}

/// Says at its end that it is over.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One of the keys is in each set: its tokens are good at any time, while others come and go.
#[test]
fn keys_change_under_load() {
    let [kept, one, other] = ["kept", "one", "other"].map(Signer::new);
    let sets = [set(&[&kept, &one]), set(&[&other, &kept])];
    let issuer = Issuer::start(sets[0].clone());
    let pace = ["--jwks-max-age", "1", "--jwks-refetch", "1"];
    let (_server, address, metrics) = fetching(&issuer.backend.url(), &pace);
    until(|| metric(&metrics, "jwks_missing") == 0);
    let is_over = AtomicBool::new(false);
    let tokens = [&kept, &one, &other].map(Signer::signs);
    thread::scope(|scope| {
        let loads = [(); 2].map(|()| {
            scope.spawn(|| {
                let mut asked = 0;
                while !is_over.load(Ordering::Relaxed) {
                    assert_eq!(publishes(&address, &tokens[0]), 200);
                    asked += 1;
                }
                asked
            })
        });
        // Those that ask end, also if this fails.
        let ends = Ends(&is_over);
        for (set, comes, goes) in [(1, 2, 1), (0, 1, 2), (1, 2, 1)] {
            issuer.has(sets[set].clone());
            until(|| publishes(&address, &tokens[comes]) == 200);
            assert_eq!(publishes(&address, &tokens[goes]), 401);
        }
        issuer.has(reply(500, "", ""));
        until(|| metric(&metrics, "jwks_fetches_bad_status_total") > 0);
        assert_eq!(publishes(&address, &tokens[2]), 200);
        drop(ends);
        assert!(loads.into_iter().all(|load| load.join().expect("each was published") > 0));
    });
    assert_eq!(metric(&metrics, "tokens_early_total"), 0);
}

/// With a URL that cannot be fetched, nothing is taken; one that is the same is not fetched again.
#[test]
fn another_url_is_taken_once_it_has_keys() {
    let [first, second] = ["first", "second"].map(Signer::new);
    let issuers = [Issuer::start(set(&[&first])), Issuer::start(set(&[&second]))];
    let away = Issuer::start(reply(404, "", ""));
    let text = |of: &Issuer| format!("jwks-url = '{}'\n", of.backend.url());
    let config = Scratch::with("key-sets.toml", text(&issuers[0]).as_bytes());
    let shell = "exec \"$0\" --config \"$1\" --listen 127.0.0.1:0 2>&1";
    let mut server = Process::start(Path::new("bash"), &["-c", shell, PUSHLOOP, &config.0]);
    let address = server.address("open http://");
    while !server.line().contains("publish:") {}
    until(|| status(&ask_tcp(&address, "GET /readyz", "", "")) == 200);
    let mut reloads = |text: &str| {
        std::fs::write(&config.0, text).expect("it can be written");
        server.signal("HUP");
        // What is said of a fetch comes before.
        let mut lines = (0..2).map(|_| server.line());
        lines.find(|line| line.contains("reloaded")).expect("it says whether it has")
    };
    let good = || [&first, &second].map(|key| publishes(&address, &key.signs()));
    assert_eq!(good(), [200, 401]);
    let said = reloads(&format!("allow-host = 'a.org'\n{}", text(&away)));
    let url = away.backend.url();
    let why =
        format!("pushloop: not reloaded, all is as it was: {url}: the answer has the status 404\n");
    assert_eq!(said, why);
    assert_eq!(good(), [200, 401]);
    let other_host = "GET / HTTP/1.1\r\nHost: a.org\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&answer_to(dial(&address), other_host)), 421);
    let said = reloads(&text(&issuers[1]));
    assert_eq!(said, "pushloop: reloaded: jwks-url; the keys were read again\n");
    assert_eq!(good(), [401, 200]);
    issuers[1].backend.next();
    reloads(&text(&issuers[1]));
    assert_eq!(good(), [401, 200]);
    assert!(issuers[1].backend.has_no_more());
}
