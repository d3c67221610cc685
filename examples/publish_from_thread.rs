//! Publishing from another thread: each line of standard input goes to every connection, and the
//! end of input ends the server.
//!
//! `seq 1 1000000 | cargo run --example publish_from_thread -- 127.0.0.1:9001`

use std::{
    env,
    io::{self, BufRead},
    thread,
    time::Duration,
};

use pushloop::{ConnId, Handle, HandleError, Handler, Hub, Message, Server};

struct Lines;

impl Handler for Lines {
    fn on_open(&mut self, hub: &mut Hub, id: ConnId) {
        if let Err(error) = hub.subscribe(id, "lines") {
            eprintln!("{error}");
        }
    }

    fn on_message(&mut self, _: &mut Hub, _: ConnId, _: Message<'_>) {}
}

fn publish_lines(handle: &Handle) -> Result<(), HandleError> {
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        // A full mailbox is a reason to read on more slowly, not to lose a line.
        while handle.publish("lines", &line) == Err(HandleError::Full) {
            thread::sleep(Duration::from_millis(1));
        }
    }
    handle.shutdown(Duration::from_secs(5))
}

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:9001".into());
    let mut server = Server::bind(address)?;
    if let Some(bound) = server.local_addr() {
        println!("publish_from_thread: ws://{bound}");
    }
    let handle = server.handle();
    let publisher = thread::spawn(move || publish_lines(&handle));
    server.run(&mut Lines)?;
    if let Ok(Err(error)) = publisher.join() {
        eprintln!("{error}");
    }
    let counters = server.handle().counters();
    println!("{} lines, {} deliveries", counters.publications, counters.deliveries);
    Ok(())
}
