//! What a handle asks of the loop.

use std::{
    net::TcpStream,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use crate::{
    event::{ConnId, Message, Position, RequestId},
    wire::{CloseCode, Response},
};

/// One call of a [`Handle`](crate::Handle) or of a [`Pending`](crate::Pending).
#[derive(Debug)]
#[cfg_attr(test, derive(PartialEq, Eq))]
pub(crate) enum Command {
    Publish {
        topic: Box<str>,
        message: Owned,
        except: Option<ConnId>,
    },
    Send {
        id: ConnId,
        message: Owned,
    },
    PublishOnce {
        topic: Box<str>,
        key: Box<str>,
        message: Owned,
    },
    Subscribe {
        id: ConnId,
        topic: Box<str>,
    },
    SubscribeAfter {
        id: ConnId,
        topic: Box<str>,
        position: Position,
    },
    SubscribeLast {
        id: ConnId,
        topic: Box<str>,
        count: u64,
    },
    Unsubscribe {
        id: ConnId,
        topic: Box<str>,
    },
    Accept {
        id: RequestId,
        subprotocol: Option<Box<str>>,
        headers: Vec<(Box<str>, Box<str>)>,
    },
    Respond {
        id: RequestId,
        response: Box<Response>,
    },
    Stream {
        id: RequestId,
        response: Box<Response>,
    },
    EventStream {
        id: RequestId,
        response: Box<Response>,
    },
    Write {
        id: ConnId,
        piece: Box<[u8]>,
    },
    Finish {
        id: ConnId,
    },
    Close {
        id: ConnId,
        code: CloseCode,
        reason: Box<str>,
    },
    CloseAt {
        id: ConnId,
        at: Instant,
        code: CloseCode,
        reason: Box<str>,
    },
    Abort {
        id: ConnId,
    },
    Adopt {
        socket: Socket,
        read: Vec<u8>,
    },
    Notify {
        key: u32,
    },
    /// Another loop has something for this one.
    Lanes,
    Shutdown {
        deadline: Duration,
    },
}

/// A [`Message`] on its way between threads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Owned {
    Text(Box<str>),
    Binary(Box<[u8]>),
}

impl Owned {
    pub(crate) fn message(&self) -> Message<'_> {
        match self {
            Self::Text(text) => Message::Text(text),
            Self::Binary(bytes) => Message::Binary(bytes),
        }
    }
}

impl From<Message<'_>> for Owned {
    fn from(message: Message<'_>) -> Self {
        match message {
            Message::Text(text) => Self::Text(text.into()),
            Message::Binary(bytes) => Self::Binary(bytes.into()),
        }
    }
}

/// A connected socket that another program part accepted, for [`Handle::adopt`](crate::Handle::adopt).
#[derive(Debug)]
#[non_exhaustive]
pub enum Socket {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix-domain socket.
    Unix(UnixStream),
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        Self::Unix(stream)
    }
}

#[cfg(test)]
impl PartialEq for Socket {
    fn eq(&self, other: &Self) -> bool {
        use std::os::fd::AsRawFd;
        let fd = |socket: &Self| match socket {
            Self::Tcp(stream) => stream.as_raw_fd(),
            Self::Unix(stream) => stream.as_raw_fd(),
        };
        fd(self) == fd(other)
    }
}

#[cfg(test)]
impl Eq for Socket {}
