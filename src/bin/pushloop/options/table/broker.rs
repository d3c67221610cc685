//! Several servers, one broker.

use super::{
    super::values::{broker, not_empty},
    Entry,
};

pub const BROKER: &[Entry] = &[
    Entry::text(
        "redis",
        "URL",
        "share all topics with the servers at this Redis, redis://HOST:PORT/DATABASE, at the master of sentinels, \
         redis+sentinel://HOST:PORT,.../MASTER, or at a cluster, redis+cluster://HOST:PORT,...; rediss for TLS",
        |options, text| broker(text).map(|it| options.broker.url = Some(it)),
    ),
    Entry::file("redis-password-file", "the password there", |options, path| {
        options.broker.password = Some(path);
    }),
    Entry::file("redis-sentinel-password-file", "the password of sentinels", |options, path| {
        options.broker.sentinel_password = Some(path);
    }),
    Entry::file(
        "redis-ca",
        "certificates that TLS there goes by (PEM), in place of those that this system trusts",
        |options, path| options.broker.authorities = Some(path),
    ),
    Entry::text(
        "redis-prefix",
        "NAME",
        "what all keys and channels there begin with",
        |options, text| not_empty(text).map(|it| options.broker.prefix = it),
    )
    .or("pushloop"),
    Entry::switch(
        "redis-durable",
        "go by it that this Redis loses nothing that it has taken, also when it is killed (appendfsync always): ids \
         outlast its restart",
        |options, on| options.broker.is_durable = on,
    ),
];
