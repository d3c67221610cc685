//! The way to the broker: one Redis, the master that sentinels know, or the nodes of a cluster.

use std::{
    fmt, io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{
    Client, Connection, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError,
    RedisResult, TlsCertificates,
};

use super::{BrokerOptions, link::TIMEOUT, sentinels};
use crate::{
    gate,
    logs::{Level, say},
    web,
};

/// Servers that a URL may name.
const SERVERS_MAX: usize = 32;

const SENTINEL_FORM: &str = "redis+sentinel://HOST:PORT,HOST:PORT/MASTER/DATABASE";
const CLUSTER_FORM: &str = "redis+cluster://HOST:PORT,HOST:PORT";

/// What a URL leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    One,
    /// The master of this name, which sentinels know.
    Sentinels(String),
    Cluster,
}

/// What a URL says.
#[derive(Clone, Debug)]
pub struct Target {
    pub kind: Kind,
    /// The servers that it names: the Redis, the sentinels with what is needed for the master, or nodes.
    pub servers: Vec<ConnectionInfo>,
}

/// Reads a URL.
pub fn target(url: &str) -> Result<Target, String> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (scheme, form) = match scheme {
        "redis+sentinel" | "rediss+sentinel" => (scheme.strip_suffix("+sentinel"), SENTINEL_FORM),
        "redis+cluster" | "rediss+cluster" => (scheme.strip_suffix("+cluster"), CLUSTER_FORM),
        _ => {
            let servers = vec![server(url)?];
            return Ok(Target { kind: Kind::One, servers });
        }
    };
    let scheme = scheme.unwrap_or_default();
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (kind, path, port) = if form == SENTINEL_FORM {
        let (master, path) = path.split_once('/').unwrap_or((path, ""));
        if master.is_empty() {
            return Err(format!("the master's name is missing: {SENTINEL_FORM}"));
        }
        (Kind::Sentinels(master.to_owned()), path, 26379)
    } else if path.is_empty() {
        (Kind::Cluster, path, 6379)
    } else {
        return Err(format!("a cluster has one database: {CLUSTER_FORM}"));
    };
    let (user, hosts) = match hosts.rsplit_once('@') {
        Some((user, _)) if user.contains(['@', ',']) => {
            let form = form.replacen("://", "://USER@", 1);
            return Err(format!("one user for all servers, in front of them: {form}"));
        }
        Some((user, hosts)) => (format!("{user}@"), hosts),
        None => (String::new(), hosts),
    };
    let hosts: Vec<_> = hosts.split(',').collect();
    if hosts.len() > SERVERS_MAX {
        return Err(format!("more than {SERVERS_MAX} servers"));
    }
    let servers = hosts.into_iter().map(|host| {
        // An address of IPv6 has colons of its own.
        let has_port = host.rsplit(']').next().is_some_and(|end| end.contains(':'));
        let port = if has_port { String::new() } else { format!(":{port}") };
        server(&format!("{scheme}://{user}{host}{port}/{path}"))
    });
    Ok(Target { kind, servers: servers.collect::<Result<_, _>>()? })
}

fn server(url: &str) -> Result<ConnectionInfo, String> {
    let info = url.into_connection_info().map_err(|error| format!("redis: {error}"))?;
    if info.redis_settings().password().is_some() {
        return Err("the password is for --redis-password-file, and not in the URL".to_owned());
    }
    // What the crate would say of itself is one answer more to wait for, and again as long where none comes.
    let settings = info.redis_settings().clone().set_skip_set_lib_name();
    Ok(info.set_redis_settings(settings))
}

/// What a connection could not be made for, in our words.
pub fn wrong(why: String) -> RedisError {
    io::Error::other(why).into()
}

/// What went wrong. The system's word for what took too long says nothing.
pub fn said(error: &RedisError) -> String {
    match error.is_timeout() {
        true => "no answer in time".to_owned(),
        false => error.to_string(),
    }
}

/// See the module.
pub struct Way {
    pub kind: Kind,
    /// What the URL names. The settings of each are those of the Redis itself.
    pub servers: Vec<ConnectionInfo>,
    /// Whom TLS trusts, in PEM, if it is not whom the system trusts.
    authorities: Option<Vec<u8>>,
    /// The password of sentinels.
    sentinel_password: Option<String>,
    /// What was said last of sentinels that disagree.
    said: Mutex<String>,
    /// The latest failover that they knew when they were looked at last.
    failover: AtomicU64,
}

impl Way {
    /// `None` if there is no broker. The error is about an option.
    pub fn new(options: &BrokerOptions) -> Result<Option<Self>, String> {
        let Some(url) = &options.url else { return Ok(None) };
        let Target { kind, mut servers } = target(url)?;
        let text = |bytes: &[u8]| {
            let text = str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
            Ok(text.trim_end().to_owned())
        };
        if let Some(path) = &options.password {
            let password = gate::read(path, text)?;
            for info in &mut servers {
                let settings = info.redis_settings().clone().set_password(&password);
                *info = info.clone().set_redis_settings(settings);
            }
        }
        let pem = |bytes: &[u8]| web::read_authorities(bytes).map(|_| bytes.to_vec());
        let authorities = options.authorities.as_ref().map(|path| gate::read(path, pem));
        let sentinel_password =
            options.sentinel_password.as_ref().map(|path| gate::read(path, text));
        let way = Self {
            kind,
            servers,
            authorities: authorities.transpose()?,
            sentinel_password: sentinel_password.transpose()?,
            said: Mutex::default(),
            failover: AtomicU64::new(0),
        };
        for info in &way.servers {
            way.client(info).map_err(|error| format!("redis: {error}"))?;
        }
        Ok(Some(way))
    }

    fn client(&self, info: &ConnectionInfo) -> RedisResult<Client> {
        let info = info.clone();
        match &self.authorities {
            Some(pem) => {
                let root_cert = Some(pem.clone());
                Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert })
            }
            None => Client::open(info),
        }
    }

    /// Connects to a server. Nothing that is asked there takes longer than this, or it has failed.
    pub fn connect(&self, info: &ConnectionInfo, patience: Duration) -> RedisResult<Connection> {
        let connection = self.client(info)?.get_connection_with_timeout(patience)?;
        connection.set_read_timeout(Some(patience))?;
        connection.set_write_timeout(Some(patience))?;
        Ok(connection)
    }

    /// Connects to a sentinel, where neither the user nor the database is the master's.
    pub fn connect_to_sentinel(
        &self,
        info: &ConnectionInfo,
        patience: Duration,
    ) -> RedisResult<Connection> {
        let mut settings = redis::RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(password) = &self.sentinel_password {
            settings = settings.set_password(password);
        }
        self.connect(&info.clone().set_redis_settings(settings), patience)
    }

    /// Another server, which is reached as those in the URL are.
    pub fn server_at(&self, host: String, port: u16) -> Option<ConnectionInfo> {
        let like = self.servers.first()?;
        let addr = match like.addr() {
            ConnectionAddr::TcpTls { insecure, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: None }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        Some(like.clone().set_addr(addr))
    }

    /// The Redis, or the present master, with the failover since which it is. Of a cluster, a node that the URL names,
    /// each time the one behind.
    pub fn servers(&self, from: usize) -> RedisResult<(Vec<ConnectionInfo>, u64)> {
        match &self.kind {
            Kind::One => Ok((self.servers.clone(), 0)),
            Kind::Sentinels(name) => {
                let (info, failover) = sentinels::master(self, name)?;
                Ok((vec![info], failover))
            }
            Kind::Cluster => {
                let mut servers = self.servers.clone();
                let from = from % servers.len().max(1);
                servers.rotate_left(from);
                Ok((servers, 0))
            }
        }
    }

    /// Connects to what hears all that is published; with what it is by, as of `servers`.
    pub fn connect_to_listen(&self, from: usize) -> RedisResult<(Connection, u64)> {
        let (servers, failover) = self.servers(from)?;
        Ok((first(servers, |info| self.connect(info, TIMEOUT))?, failover))
    }

    /// Looks whether sentinels know of another failover. One that does not answer knows of none.
    pub fn look(&self, master: &str) {
        if let Ok((_, failover)) = sentinels::master(self, master) {
            self.failover.store(failover, Ordering::Relaxed);
        }
    }

    /// Whether the master since this failover is one still, as far as sentinels know. It may answer, and take itself for
    /// one, where they do not reach it.
    pub fn check_master(&self, failover: u64) -> RedisResult<()> {
        match self.failover.load(Ordering::Relaxed) > failover {
            true => Err(wrong("the sentinels have another master".to_owned())),
            false => Ok(()),
        }
    }

    /// Says something of sentinels, if that is new.
    pub fn note(&self, what: String) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if *said != what {
            if !what.is_empty() {
                say(Level::Warn, &what);
            }
            *said = what;
        }
    }
}

/// The first of these servers with which it can be done; or why it cannot be with any.
pub fn first<T>(
    servers: Vec<ConnectionInfo>,
    mut try_it: impl FnMut(&ConnectionInfo) -> RedisResult<T>,
) -> RedisResult<T> {
    let is_one = servers.len() == 1;
    let mut failed = Vec::new();
    for info in &servers {
        match try_it(info) {
            Ok(it) => return Ok(it),
            Err(error) if is_one => return Err(error),
            Err(error) => failed.push(format!("{}: {}", Named(info), said(&error))),
        }
    }
    Err(wrong(failed.join("; ")))
}

/// A server, as it is told of.
pub struct Named<'a>(pub &'a ConnectionInfo);

impl fmt::Display for Named<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.addr().fmt(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<(Kind, Vec<String>), String> {
        let Target { kind, servers } = target(url)?;
        let named = servers.iter().map(|info| {
            let settings = info.redis_settings();
            format!("{} {} {:?}", Named(info), settings.db(), settings.username())
        });
        Ok((kind, named.collect()))
    }

    #[test]
    fn a_url_names_one_redis_or_sentinels_and_a_master_or_nodes() {
        let one = read("redis://ada@h:1/3").expect("it is one");
        assert_eq!(one, (Kind::One, vec!["h:1 3 Some(\"ada\")".to_owned()]));
        let servers = vec!["a:1 2 None".to_owned(), "[::1]:26379 2 None".to_owned()];
        let sentinels = read("redis+sentinel://a:1,[::1]/m/2").expect("it is one");
        // How an address of IPv6 is printed is the crate's.
        let printed = sentinels.1.iter().map(|it| it.replace("::1:", "[::1]:")).collect::<Vec<_>>();
        assert_eq!((sentinels.0, printed), (Kind::Sentinels("m".to_owned()), servers));
        let nodes = read("rediss+cluster://ada@a,b:2").expect("it is one");
        let servers = ["a:6379 0 Some(\"ada\")", "b:2 0 Some(\"ada\")"].map(str::to_owned);
        assert_eq!(nodes, (Kind::Cluster, servers.to_vec()));
        let Ok(Target { servers, .. }) = target("rediss+cluster://a,b") else {
            panic!("it is one");
        };
        assert!(servers.iter().all(|it| matches!(it.addr(), ConnectionAddr::TcpTls { .. })));
    }

    #[test]
    fn what_a_url_lacks_is_told() {
        for (url, expected) in [
            ("redis+sentinel://a:1", "the master's name is missing: redis+sentinel://HOST"),
            ("redis+sentinel://a:1//2", "the master's name is missing"),
            ("redis+sentinel://a:1/m/x", "redis: "),
            ("redis+sentinel://a:1,/m", "redis: "),
            ("redis+sentinel://a:x/m", "redis: "),
            ("redis+sentinel://ada:secret@a:1/m", "--redis-password-file"),
            ("redis+sentinel://ada@a,ada@b/m", "in front of them: redis+sentinel://USER@HOST"),
            ("redis+cluster://a,ada@b", "in front of them: redis+cluster://USER@HOST"),
            ("redis+cluster://a:1/2", "a cluster has one database"),
            ("redis+cluster://", "redis: "),
            ("http://a", "redis: "),
            ("a", "redis: "),
        ] {
            let why = read(url).expect_err(url);
            assert!(why.contains(expected), "{url}: {why}");
        }
        let many = |count: usize| read(&format!("redis+cluster://{}", vec!["a"; count].join(",")));
        assert_eq!(many(SERVERS_MAX).map(|it| it.1.len()), Ok(SERVERS_MAX));
        assert_eq!(many(SERVERS_MAX + 1), Err("more than 32 servers".to_owned()));
    }
}
