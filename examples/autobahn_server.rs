//! Sends every message back, under limits wide enough for the longest cases of the Autobahn
//! testsuite (`tests/autobahn.sh`): messages of 16 MiB, and one of 4 MiB in 65,536 frames.
//!
//! `cargo run --release --all-features --example autobahn_server -- 127.0.0.1:9001 [CHAIN KEY]`: with
//! the files of a certificate it speaks TLS.

use std::{env, io};

use pushloop::{Config, ConnId, Handler, Hub, Message, SendError, Server};

const MIB: usize = 1 << 20;

struct Echo;

impl Handler for Echo {
    fn on_message(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) {
        match hub.send(id, message) {
            Ok(()) | Err(SendError::Gone) => {}
            Err(error) => eprintln!("{error}"),
        }
    }
}

fn config() -> Config {
    let mut config = Config::default();
    config.message_bytes_max = 16 * MIB;
    config.message_frames_max = 65_536 + 1;
    // Several of the longest messages: a client may send the next before it reads an answer.
    config.send_queue_bytes_max = 64 * MIB;
    #[cfg(feature = "deflate")]
    {
        config.deflate_context_takeover = true;
        // Messages of 16 bytes too are to go through the compressor.
        config.deflate_bytes_min = 0;
    }
    // A Ping of ours would be one more frame in the transcript of a case that waits.
    config.ping_interval = None;
    config
}

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:9001".into());
    let mut server = Server::new(config())?;
    match (env::args().nth(2), env::args().nth(3)) {
        #[cfg(feature = "tls")]
        (Some(chain), Some(key)) => {
            let tls = pushloop::Tls::new(pushloop::TlsCertificates::new().files(chain, key)?)?;
            println!("autobahn_server: wss://{}", server.listen_tls(address, &tls)?);
        }
        (None, _) => println!("autobahn_server: ws://{}", server.listen(address)?),
        _ => return Err(io::Error::other("CHAIN and KEY go together, with the feature `tls`")),
    }
    server.run(&mut Echo)
}
