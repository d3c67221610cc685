//! One run of the load client.

use std::{collections::BTreeMap, io, process::Command};

use serde_json::Value;

use crate::{process::Running, rows::Shape, servers::program};

/// What a run found, by name.
pub type Values = BTreeMap<String, f64>;

/// A run that takes longer than it should by this many seconds is ended.
const PATIENCE_SECONDS: f64 = 60.0;

/// The load client's arguments, for a server that runs.
#[derive(Debug)]
pub struct Client<'s> {
    pub server: &'s Running,
    pub raw: bool,
    pub core: usize,
    pub seconds: f64,
    pub warmup: f64,
}

impl Client<'_> {
    pub fn shape(&self, shape: Shape, rate: Option<f64>) -> Result<Values, String> {
        let mut arguments: Vec<String> = vec!["--payload".into(), shape.payload.to_string()];
        arguments.extend(["--connections".into(), shape.connections.to_string()]);
        arguments.extend(["--in-flight".into(), shape.in_flight.to_string()]);
        if shape.all_publish {
            arguments.extend(["--publishers".into(), "all".into()]);
        }
        if shape.deflate {
            arguments.push("--deflate".into());
        }
        if let Some(rate) = rate {
            arguments.extend(["--rate".into(), format!("{rate:.0}")]);
        }
        let values = self.run(shape.mode, shape.path, &arguments)?;
        let share = values.get("compressed_share").copied().unwrap_or_default();
        if shape.deflate && share < 1.0 {
            return Err(format!("{share:.3} of all came compressed"));
        }
        Ok(values)
    }

    pub fn connect(&self) -> Result<Values, String> {
        self.run("connect", "/echo", &[])
    }

    pub fn idle(&self, path: &str, deflate: bool, connections: usize) -> Result<Values, String> {
        let mut arguments = vec!["--connections".into(), connections.to_string()];
        if deflate {
            arguments.push("--deflate".into());
        }
        self.run("idle", path, &arguments)
    }

    fn run(&self, mode: &str, path: &str, arguments: &[String]) -> Result<Values, String> {
        let mut command = self.command(mode, path).map_err(|error| error.to_string())?;
        let output = command.args(arguments).output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stderr);
        let said: String =
            said.lines().next().unwrap_or("no reason given").chars().take(200).collect();
        let Some(values) = values(&String::from_utf8_lossy(&output.stdout)) else {
            return Err(format!("the load client ended ({}): {said}", output.status));
        };
        match values.get("errors") {
            Some(0.0) if output.status.success() => Ok(values),
            Some(errors) => Err(format!("{errors} errors: {said}")),
            None => Err("the load client counted no errors".into()),
        }
    }

    fn command(&self, mode: &str, path: &str) -> io::Result<Command> {
        let patience = self.seconds + self.warmup + PATIENCE_SECONDS;
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", &patience.to_string(), "taskset", "-c"]);
        command.arg(self.core.to_string()).arg(program("load")?).arg(mode);
        command.arg(format!("ws://{}{path}", self.server.address));
        command.args(["--seconds", &self.seconds.to_string()]);
        command.args(["--warmup", &self.warmup.to_string()]);
        command.args(["--pid", &self.server.pid().to_string(), "--json", "--quiet"]);
        if self.raw {
            command.arg("--raw");
        }
        Ok(command)
    }
}

/// The numbers of the object on the last line.
fn values(output: &str) -> Option<Values> {
    let object: Value = serde_json::from_str(output.lines().last()?).ok()?;
    let numbers = object.as_object()?.iter();
    Some(numbers.filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts() {
        let found = values("a line\n{\"mode\": \"echo\", \"rate\": 2.5, \"errors\": 0}\n").unwrap();
        assert_eq!(found, [("errors".into(), 0.0), ("rate".into(), 2.5)].into());
        assert_eq!(values(""), None);
        assert_eq!(values("no object"), None);
    }
}
