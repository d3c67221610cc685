//! The pushloop server: live notifications over WebSocket, where a URL is a topic. And commands that look at
//! its options, publish to it and subscribe to it from a shell.

mod ahead;
mod auth;
mod broker;
mod centrifuge;
mod check;
mod client;
mod commands;
mod config;
mod descriptors;
mod drain;
mod errands;
mod expiries;
mod few;
mod gate;
mod hooks;
mod inboxes;
mod key_sets;
mod listen;
mod logs;
mod metrics;
mod operator;
mod options;
mod pace;
mod patterns;
mod presence;
mod publish;
mod pusher;
mod relay;
mod reload;
mod requests;
mod restore;
mod service;
mod start;
mod status;
mod store;
mod subscribe;
mod supervisor;
mod timers;
mod tls;
mod token;
mod topics;
mod watchdog;
mod web;
mod writer;

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    commands::run(env::args_os().skip(1).collect())
}
