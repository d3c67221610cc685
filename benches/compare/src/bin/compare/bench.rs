//! Round after round, row after row, server after server.
//!
//! Within a round all servers are measured in one row before the next row begins, each in a process
//! of its own; so what the machine does meanwhile happens to all. Who comes first changes with the
//! round. The server has one core to itself, the load client another.

use std::{fs, io, path::PathBuf, time::Duration};

use crate::{
    client::{Client, Values},
    counts::Counter,
    machine::{self, Machine, Others},
    options::Options,
    process::Running,
    results::{Results, Sample},
    rows::{ROWS, Row, Run},
    servers::{SERVERS, Server},
};

const PATIENCE: Duration = Duration::from_secs(10);
/// The part of the highest rate at which latencies are measured.
const PACE: f64 = 0.7;
/// Counts are the same each time, or nearly so.
const COUNTING_ROUNDS: usize = 2;

pub fn run(options: &Options) -> io::Result<Results> {
    let only = |name: &str| options.only.is_empty() || options.only.iter().any(|one| one == name);
    let servers: Vec<_> = SERVERS.iter().filter(|server| only(server.name)).collect();
    let rows: Vec<_> = ROWS.iter().filter(|row| is_wanted(row, &options.rows)).collect();
    let versions = servers.iter().map(|server| server.version()).collect::<io::Result<Vec<_>>>()?;
    let cores = machine::cores()?;
    let &[core, client_core, ..] = cores.as_slice() else {
        return Err(io::Error::other("a server and the load client want a core each"));
    };
    let bench = Bench { options, cores: (core, client_core), folder: folder()? };
    let mut results = Results {
        machine: Machine::look()?,
        rounds: 0,
        seconds: options.seconds,
        warmup: options.warmup,
        idle_connections: options.idle_connections,
        others: 0.0,
        versions: versions.into_iter().flatten().collect(),
        samples: Vec::new(),
    };
    let others = Others::watch()?;
    for round in 1..=options.rounds {
        for row in rows.iter().filter(|row| round <= COUNTING_ROUNDS || !row.counts()) {
            for at in 0..servers.len() {
                let server = servers[(at + round - 1) % servers.len()];
                if server.takes_part_in(row) {
                    results.samples.push(bench.sample(round, row, server));
                }
            }
        }
        // A run that is broken off leaves the rounds that are complete.
        (results.rounds, results.others) = (round, others.cores()?);
        results.write(&results_file()?)?;
    }
    Ok(results)
}

/// A row's whole name means that row, the beginning of names all of these.
fn is_wanted(row: &Row, names: &[String]) -> bool {
    let is_whole = |name: &str| ROWS.iter().any(|row| row.name == name);
    let means = |name: &String| {
        if is_whole(name) { row.name == name } else { row.name.starts_with(name.as_str()) }
    };
    names.is_empty() || names.iter().any(means)
}

pub fn results_file() -> io::Result<PathBuf> {
    Ok(folder()?.join("results.json"))
}

/// Beside the folder that the programs were built into.
fn folder() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let folder = program.ancestors().nth(2).ok_or(io::Error::other("the program has no folder"))?;
    fs::create_dir_all(folder)?;
    Ok(folder.into())
}

struct Bench<'o> {
    options: &'o Options,
    /// The server's, and the load client's.
    cores: (usize, usize),
    folder: PathBuf,
}

impl Bench<'_> {
    fn sample(&self, round: usize, row: &Row, server: &Server) -> Sample {
        let measured = self.measure(row, server);
        let shown = match &measured {
            Ok(values) => row.unit().show(values.get(row.field()).copied().unwrap_or(f64::NAN)),
            Err(error) => format!("FAILED: {error}"),
        };
        let rounds = self.options.rounds;
        eprintln!("{round}/{rounds}  {:<16} {:<15} {shown}", row.name, server.name);
        let (values, error) = match measured {
            Ok(values) => (values, None),
            Err(error) => (Values::new(), Some(error)),
        };
        Sample { row: row.name.into(), server: server.name.into(), round, values, error }
    }

    fn measure(&self, row: &Row, server: &Server) -> Result<Values, String> {
        if row.counts() {
            let (options, folder) = (self.options, self.folder.clone());
            return Counter { options, cores: self.cores, folder }.count(server, row.run);
        }
        let command = server.command(self.cores.0, &[]).map_err(|error| error.to_string())?;
        let mut running = Running::start(command, PATIENCE).map_err(|error| error.to_string())?;
        let measured = self.run(row.run, server, &running);
        if running.lives() { measured } else { Err("the server ended".into()) }
    }

    fn run(&self, run: Run, server: &Server, running: &Running) -> Result<Values, String> {
        let client = Client {
            server: running,
            raw: server.is_raw(),
            core: self.cores.1,
            seconds: self.options.seconds,
            warmup: self.options.warmup,
        };
        match run {
            Run::Rate(shape) | Run::Syscalls(shape) | Run::Instructions(shape) => {
                client.shape(shape, None)
            }
            Run::Paced(shape) => {
                let peak = client.shape(shape, None)?["rate"];
                let mut values = client.shape(shape, Some(PACE * peak))?;
                values.insert("peak_rate".into(), peak);
                Ok(values)
            }
            Run::Connect => client.connect(),
            Run::Idle { path, deflate } => {
                let client = Client { seconds: 0.2, warmup: 0.1, ..client };
                client.idle(path, deflate, self.options.idle_connections)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_named_whole_or_by_their_beginning() {
        let wanted = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            ROWS.iter().filter(|row| is_wanted(row, &names)).map(|r| r.name).collect::<Vec<_>>()
        };
        assert_eq!(wanted(&["echo-20-32-1", "connect"]), ["echo-20-32-1", "connect"]);
        assert_eq!(wanted(&["echo-20"]).len(), 4);
        assert_eq!(wanted(&["idle"]), ["idle"]);
        assert_eq!(wanted(&[]).len(), ROWS.len());
    }
}
