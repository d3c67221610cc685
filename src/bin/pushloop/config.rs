//! The command line, as limits of the server.

use pushloop::{Config, Hosts, Origins};

use crate::{descriptors, options::Options, publish};

pub fn of(options: &Options, descriptors: usize) -> Config {
    let mut config = Config::default();
    config.send_queue_bytes_max = 1 << 20;
    config.topic_lag_bytes_max = 1 << 20;
    config.shutdown_spread = options.drain.spread;
    config.cors = Some(publish::cors());
    config.topic.history = options.history();
    config.history_bytes_max = options.history_bytes_max;
    config.proxies = options.proxies.clone();
    config.client_limits = options.client_limits;
    config.keep_alive_timeout = options.keep_alive;
    config.head_bytes_max = options.head_bytes_max;
    // In the library's proportion.
    config.headers_max = options.head_bytes_max / 128;
    config.deflate = !options.no_deflate;
    config.deflate_context_takeover = options.deflate_takeover;
    config.connections_reserved = descriptors::reserved(descriptors);
    config.connections_max = descriptors::connections(descriptors);
    if options.allow_origins.iter().any(|origin| origin == "*") {
        config.origins = Origins::Any;
    } else if !options.allow_origins.is_empty() {
        config.origins = Origins::List(options.allow_origins.clone());
    }
    if options.allow_hosts.iter().any(|host| host == "*") {
        config.hosts = Hosts::Any;
    } else if !options.allow_hosts.is_empty() {
        config.hosts = Hosts::List(options.allow_hosts.clone());
    }
    config
}
