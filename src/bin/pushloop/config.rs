//! The command line, as limits of the server.

use pushloop::{Config, Hosts, Origins};

use crate::{descriptors, logs::Level, options::Options, publish};

pub fn of(options: &Options, descriptors: usize) -> Config {
    let mut config = Config::default();
    config.send_queue_bytes_max = 1 << 20;
    config.topic_lag_bytes_max = 1 << 20;
    config.shutdown_spread = options.drain.spread;
    config.cors = Some(publish::cors(&options.tokens));
    config.history_bytes_max = options.history_bytes_max;
    config.proxies = options.proxies.clone();
    config.client_limits = options.client_limits;
    config.keep_alive_timeout = options.keep_alive;
    config.head_bytes_max = options.head_bytes_max;
    // In the library's proportion.
    config.headers_max = options.head_bytes_max / 128;
    if !options.tokens.apps.is_empty() {
        // Ten events of 10 KiB, as JSON in JSON.
        config.body_bytes_max = config.body_bytes_max.max(256 * 1024);
    }
    config.deflate = !options.no_deflate;
    config.deflate_context_takeover = options.deflate_takeover;
    config.connections_reserved = descriptors::reserved(descriptors);
    config.connections_max = descriptors::connections(descriptors);
    config.count_deliveries = options.logs.level >= Level::Info;
    config.origins = origins(options);
    config.hosts = hosts(options);
    config
}

/// Pages that may use the server.
pub fn origins(options: &Options) -> Origins {
    match &options.allow_origins[..] {
        [] => Origins::default(),
        origins if origins.iter().any(|origin| origin == "*") => Origins::Any,
        origins => Origins::List(origins.to_vec()),
    }
}

/// Names that the server answers to.
pub fn hosts(options: &Options) -> Hosts {
    match &options.allow_hosts[..] {
        [] => Hosts::default(),
        hosts if hosts.iter().any(|host| host == "*") => Hosts::Any,
        hosts => Hosts::List(hosts.to_vec()),
    }
}
