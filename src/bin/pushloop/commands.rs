//! What the first argument chooses: the server, a look at its options, or a command of its client.

use std::{
    env,
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use crate::{
    check, client,
    logs::{self, Level},
    options::{self, Asked, Taken},
    start, token,
};

/// Carries out a command line.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    let (command, arguments) = by_name(arguments);
    let outcome = match command {
        Command::Serve => with_options(arguments.clone(), |taken| {
            let ended = start::serve(taken, arguments);
            if let Err(error) = &ended {
                logs::say(Level::Error, &error.to_string());
            }
            logs::flush();
            Ok(if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }),
        Command::Check => with_options(arguments, |taken| {
            // Where nobody reads it, it was looked at all the same.
            let _ = io::stdout().write_all(check::check(&taken)?.as_bytes());
            Ok(ExitCode::SUCCESS)
        }),
        Command::Publish => client::options::publish(arguments)
            .map(|asked| as_a_client(asked, client::publish::run)),
        Command::Subscribe => client::options::subscribe(arguments)
            .map(|asked| as_a_client(asked, client::subscribe::run)),
        Command::Token => token::parse(arguments).map(|asked| as_a_client(asked, token::run)),
    };
    outcome.unwrap_or_else(|error| {
        client::say(&format!("{error} (see --help)"));
        ExitCode::from(2)
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Command {
    Serve,
    Check,
    Publish,
    Subscribe,
    Token,
}

/// The command, and its arguments. `help` is as good as `--help` behind what follows.
fn by_name(mut arguments: Vec<OsString>) -> (Command, Vec<OsString>) {
    if arguments.first().is_some_and(|first| first == "help") {
        arguments.remove(0);
        arguments.push("--help".into());
    }
    let command = match arguments.first().and_then(|first| first.to_str()) {
        Some("serve") => Command::Serve,
        Some("check") => Command::Check,
        Some("publish") => Command::Publish,
        Some("subscribe") => Command::Subscribe,
        Some("token") => Command::Token,
        _ => return (Command::Serve, arguments),
    };
    arguments.remove(0);
    (command, arguments)
}

/// Carries out a command that has the options of the server.
fn with_options(
    arguments: Vec<OsString>,
    run: impl FnOnce(Taken) -> Result<ExitCode, String>,
) -> Result<ExitCode, String> {
    match options::parse(arguments, env::vars_os())? {
        Asked::Serve(taken) => run(*taken),
        Asked::Help => {
            print!("{}", options::usage());
            Ok(ExitCode::SUCCESS)
        }
        Asked::Version => {
            println!("pushloop {}", env!("CARGO_PKG_VERSION"));
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn as_a_client<T>(
    asked: client::Asked<T>,
    run: impl FnOnce(&T) -> Result<ExitCode, String>,
) -> ExitCode {
    match asked {
        client::Asked::Run(options) => run(&options).unwrap_or_else(|error| fails(&error)),
        client::Asked::Help(usage) => {
            print!("{usage}");
            ExitCode::SUCCESS
        }
    }
}

fn fails(error: &str) -> ExitCode {
    client::say(error);
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(line: &str) -> (Command, Vec<OsString>) {
        by_name(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn without_a_command_it_is_the_server() {
        for (line, command, rest) in [
            ("", Command::Serve, &[][..]),
            ("--listen x", Command::Serve, &["--listen", "x"]),
            ("--listen publish", Command::Serve, &["--listen", "publish"]),
            ("publsih x", Command::Serve, &["publsih", "x"]),
            ("serve --listen x", Command::Serve, &["--listen", "x"]),
            ("check --listen x", Command::Check, &["--listen", "x"]),
            ("publish a b", Command::Publish, &["a", "b"]),
            ("publish subscribe", Command::Publish, &["subscribe"]),
            ("subscribe --json", Command::Subscribe, &["--json"]),
            ("help", Command::Serve, &["--help"]),
            ("help publish", Command::Publish, &["--help"]),
            ("token make x", Command::Token, &["make", "x"]),
        ] {
            assert_eq!(named(line), (command, rest.iter().map(OsString::from).collect()), "{line}");
        }
    }
}
