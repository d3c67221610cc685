//! Who is measured.

use std::{io, path::PathBuf, process::Command};

use crate::{
    REPOSITORY,
    rows::{Row, Run},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// A program of this package.
    Here,
    /// A server of `benches/peers`.
    Peers,
}

#[derive(Debug)]
pub struct Server {
    pub name: &'static str,
    pub title: &'static str,
    /// It compresses, if the client asks for it.
    deflate: bool,
    /// It is compiled before it runs, so that its instructions can be counted.
    native: bool,
    from: From,
}

/// What the others are compared with, in this order.
pub static SERVERS: [Server; 8] = [
    Server { deflate: false, ..native("raw", "limit", From::Here) },
    native("subject", "pushloop", From::Here),
    native("uwebsockets", "uWebSockets", From::Peers),
    Server { native: false, ..native("bun", "Bun", From::Peers) },
    Server { deflate: false, ..native("fastwebsockets", "fastwebsockets", From::Peers) },
    Server { deflate: false, ..native("sockudo", "sockudo-ws", From::Peers) },
    Server { deflate: false, ..native("tungstenite", "tokio-tungstenite", From::Peers) },
    Server { native: false, ..native("ws", "npm ws", From::Peers) },
];

const fn native(name: &'static str, title: &'static str, from: From) -> Server {
    Server { name, title, deflate: true, native: true, from }
}

impl Server {
    /// Whether there is something to measure.
    pub fn takes_part_in(&self, row: &Row) -> bool {
        (self.deflate || !row.deflate())
            && (self.native || !matches!(row.run, Run::Instructions(_)))
    }

    /// It speaks no WebSocket.
    pub fn is_raw(&self) -> bool {
        self.name == "raw"
    }

    /// What starts it, on a port that is free, on one core, under another program or none.
    pub fn command(&self, core: usize, under: &[&str]) -> io::Result<Command> {
        let mut command = Command::new("taskset");
        command.args(["-c", &core.to_string()]);
        match self.from {
            From::Here => {
                command.args(under).arg(program(self.name)?);
            }
            From::Peers => {
                command.env("UNDER", under.join(" ")).arg(peers()).args(["run", self.name]);
            }
        }
        command.arg("127.0.0.1:0");
        Ok(command)
    }

    /// What was installed, for a peer.
    pub fn version(&self) -> io::Result<Option<String>> {
        if self.from == From::Here {
            return Ok(None);
        }
        let output = Command::new(peers()).args(["version", self.name]).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(io::Error::other(format!("{} is not installed: {said}", self.name)));
        }
        Ok(Some(String::from_utf8_lossy(&output.stdout).trim().into()))
    }
}

fn peers() -> PathBuf {
    PathBuf::from(REPOSITORY).join("benches/peers/peers.sh")
}

/// A program of this package: it was built into the same folder.
pub fn program(name: &str) -> io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name(name))
}
