//! The HTTP side of a connection: collects one request at a time (RFC 9112), and decides what can
//! be decided without the application.

use std::{
    mem,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use super::{
    commons::{Commons, Ticks},
    cors,
};
use crate::{
    config::Config,
    wire::{
        ChunkDecoder, HeadScanner, HttpError, Request, Response, Upgrade, client, host_allowed,
        proxy_header, upgrade,
    },
};

/// What a connection between two requests may keep of its buffer, in bytes.
const REST_BYTES: usize = 4 * 1024;

/// What a connection holds until it is a WebSocket.
#[derive(Debug)]
pub(crate) struct Http {
    peer: Option<SocketAddr>,
    /// Where the connection comes from: the peer, or the client that the PROXY protocol names.
    client: Option<IpAddr>,
    /// A header of the PROXY protocol is to come first.
    is_proxied: bool,
    /// It named no client: the peer behind the proxy is unknown, and a header of a request is that peer's own.
    is_unnamed: bool,
    /// Input that no request has taken yet.
    pub(super) buffer: Vec<u8>,
    scanner: HeadScanner,
    /// Between two requests: the next one has not begun.
    pub(super) paused: bool,
    /// A request of which the body has not all come, or that is refused.
    pub(super) headed: Option<Request>,
    /// When its head had come.
    headed_at: Ticks,
    chunks: ChunkDecoder,
    /// What its chunks have brought.
    body: Vec<u8>,
    /// The application was told of its head.
    pub(super) head_told: bool,
    /// How many requests the application was told of, and preflights that it was not.
    pub(super) told: u64,
}

/// A request for the application to answer.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) request: Arc<Request>,
    /// Present if it asks for a WebSocket, and may have one.
    pub(crate) upgrade: Option<Upgrade>,
    /// The application was told that the requester has left, or that the request is over.
    pub(crate) gone: bool,
    /// Its body is still to come.
    pub(crate) is_head: bool,
    /// The application was told of its head, in an earlier batch.
    pub(crate) head_told: bool,
}

impl Asked {
    /// Bytes that are kept of the request.
    pub(super) fn held(&self) -> usize {
        self.request.head_len() + self.request.body().len()
    }
}

/// Shown to operators behind a proxy or /etc/hosts name: says what to set.
const HOST_REFUSED: &str = "this server does not answer to that Host: beside localhost and IP \
     addresses, it answers to the names in Config::hosts (pushloop --allow-host NAME)\n";

/// What the input so far amounts to.
pub(super) enum RequestProgress {
    Incomplete,
    Asked(Box<Asked>),
    /// Answered without the application; the connection ends with it.
    Refused {
        response: Response,
        head_only: bool,
    },
}

impl Http {
    pub(super) fn new(peer: Option<SocketAddr>, is_proxied: bool) -> Self {
        Self {
            peer,
            client: peer.map(|peer| peer.ip()),
            is_proxied,
            is_unnamed: false,
            buffer: Vec::new(),
            scanner: HeadScanner::default(),
            paused: false,
            headed: None,
            headed_at: Ticks::default(),
            chunks: ChunkDecoder::default(),
            body: Vec::new(),
            head_told: false,
            told: 0,
        }
    }

    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Whether the connection had a request, and the next one has not begun.
    pub(crate) fn is_between(&self) -> bool {
        self.paused
    }

    /// Bytes that are kept of requests that the application has not been told of.
    pub(super) fn held(&self) -> usize {
        self.buffer.len() + self.body.len() + self.headed.as_ref().map_or(0, Request::head_len)
    }

    /// How long ago a request has begun of which the body is to come; `None` if no head has come.
    pub(super) fn ticks_since_head(&self, now: Ticks) -> Option<usize> {
        self.headed.as_ref().map(|_| now.since(self.headed_at))
    }

    /// When the rest of a body has to be here, by what has come of it; `None` if no head has come.
    pub(super) fn body_deadline(&self, config: &Config) -> Option<Ticks> {
        let request = self.headed.as_ref()?;
        let bytes = match request.content_length() {
            Some(_) => self.buffer.len(),
            None => self.body.len(),
        };
        let seconds = bytes / config.body_bytes_per_second_min.max(1);
        let time = config.handshake_timeout + Duration::from_secs(seconds as u64);
        Some(self.headed_at.after(time))
    }

    /// Whether a request has begun.
    pub(super) fn is_begun(&self) -> bool {
        !self.buffer.is_empty() || self.headed.is_some()
    }

    /// Whether the request that has begun is for a head only. RFC 9110 §9.3.2: its sender would take a
    /// body for the next answer, whatever is wrong with the rest of the request.
    pub(super) fn is_head(&self) -> bool {
        if let Some(request) = &self.headed {
            return request.method() == "HEAD";
        }
        let mut begun = &self.buffer[..];
        while let [b'\r', b'\n', rest @ ..] = begun {
            begun = rest;
        }
        begun.starts_with(b"HEAD ")
    }

    /// Looks for the end of the request in what is buffered; each byte is looked at once. A head whose
    /// body is still to come is told of, once.
    pub(super) fn advance(&mut self, commons: &mut Commons) -> RequestProgress {
        match self.next_request(&commons.config, commons.now) {
            Ok(Some(request)) => {
                commons.tally.requests.add(1);
                let head_told = mem::take(&mut self.head_told);
                self.told += u64::from(!head_told);
                self.ask(request, false, head_told, commons)
            }
            Ok(None) if self.head_told => RequestProgress::Incomplete,
            Ok(None) => match self.headed.take() {
                Some(request) => {
                    self.told += 1;
                    let progress = self.ask(request, true, false, commons);
                    self.head_told = matches!(progress, RequestProgress::Asked(_));
                    progress
                }
                None => RequestProgress::Incomplete,
            },
            Err(error) => {
                if error == HttpError::BodyTooLarge && self.headed.is_none() {
                    self.headed = self.whole_head(&commons.config);
                }
                RequestProgress::Refused { response: error.into(), head_only: self.is_head() }
            }
        }
    }

    /// The request that has begun, however long its body: its page is to see why it is refused.
    fn whole_head(&self, config: &Config) -> Option<Request> {
        let head = HeadScanner::default().scan(&self.buffer, config.head_bytes_max).ok()??;
        head.parse(config.headers_max, usize::MAX).ok()
    }

    fn ask(
        &mut self,
        request: Request,
        is_head: bool,
        head_told: bool,
        commons: &Commons,
    ) -> RequestProgress {
        match check_request(&request, commons) {
            Ok(upgrade) => {
                let request = Arc::new(request);
                RequestProgress::Asked(Box::new(Asked {
                    request,
                    upgrade,
                    gone: false,
                    is_head,
                    head_told,
                }))
            }
            Err(response) => {
                let head_only = request.method() == "HEAD";
                self.headed = Some(request);
                RequestProgress::Refused { response, head_only }
            }
        }
    }

    fn next_request(&mut self, config: &Config, now: Ticks) -> Result<Option<Request>, HttpError> {
        if self.is_proxied && !self.take_proxy_header(config)? {
            return Ok(None);
        }
        if self.headed.is_none() {
            let Some(head) = self.scanner.scan(&self.buffer, config.head_bytes_max)? else {
                return Ok(None);
            };
            let mut request = head.parse(config.headers_max, config.body_bytes_max)?;
            let len = head.len();
            take_front(&mut self.buffer, len);
            self.scanner = HeadScanner::default();
            let client = match self.is_unnamed {
                true => self.client,
                false => client(&request, self.client, &config.proxies),
            };
            request.set_addresses(self.peer, client);
            self.headed = Some(request);
            self.headed_at = now;
        }
        let Some(request) = &self.headed else { return Ok(None) };
        let body = match request.content_length() {
            Some(0) => Vec::new(),
            Some(len) if self.buffer.len() < len => return Ok(None),
            Some(len) => {
                let rest = self.buffer.split_off(len);
                mem::replace(&mut self.buffer, rest)
            }
            None => match self.next_chunks(config)? {
                true => mem::take(&mut self.body),
                false => return Ok(None),
            },
        };
        let request = self.headed.take();
        Ok(request.map(|request| request.with_body(body)))
    }

    /// Takes the header of the PROXY protocol; false if it has not all come.
    fn take_proxy_header(&mut self, config: &Config) -> Result<bool, HttpError> {
        if !config.proxies.contains(self.client) {
            return Err(HttpError::ProxyUnknown);
        }
        let Some(header) = proxy_header(&self.buffer, config.head_bytes_max)? else {
            return Ok(false);
        };
        take_front(&mut self.buffer, header.len);
        self.is_unnamed = header.client.is_none();
        self.client = header.client.map(|client| client.ip()).or(self.client);
        self.is_proxied = false;
        Ok(true)
    }

    /// Takes the chunks that have come. True if the last one is among them.
    fn next_chunks(&mut self, config: &Config) -> Result<bool, HttpError> {
        let Self { buffer, chunks, body, .. } = self;
        let (taken, is_whole) = chunks.decode(buffer, body, config.body_bytes_max)?;
        take_front(buffer, taken);
        if is_whole {
            *chunks = ChunkDecoder::default();
        }
        Ok(is_whole)
    }
}

/// Takes so many bytes off the front. What is left gives back the room of what was taken.
fn take_front(buffer: &mut Vec<u8>, len: usize) {
    buffer.drain(..len);
    if buffer.capacity() > REST_BYTES.max(2 * buffer.len()) {
        buffer.shrink_to(REST_BYTES);
    }
}

/// Whether the request is for this server, and may be a WebSocket (RFC 6455 §4.2), or what to answer
/// instead.
fn check_request(request: &Request, commons: &Commons) -> Result<Option<Upgrade>, Response> {
    let config = &commons.config;
    // Over a Unix-domain socket comes a proxy, whatever listens beside it; it has no address. One that is
    // believed lets strangers in.
    let is_local = request.peer().is_some() && config.proxies.is_empty();
    let on_loopback = commons.on_loopback && is_local;
    if !host_allowed(&config.hosts, on_loopback, request.host()) {
        // RFC 9110 §15.5.20.
        return Err(Response::text(421, HOST_REFUSED));
    }
    let upgrade = upgrade(request).map_err(Response::from)?;
    if (upgrade.is_some() || cors::is_preflight(config, request))
        && let Some(why) = cors::origin_refusal(config, request)
    {
        // §4.2.2(4), §10.2.
        return Err(Response::text(403, why));
    }
    if upgrade.is_none() && !cors::allows_method(config, request) {
        return Err(Response::text(403, "this method is not among Cors::methods\n"));
    }
    Ok(upgrade)
}

#[cfg(test)]
mod tests;
