//! What was found, and the file that it is kept in.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    client::Values, machine::Machine, numbers, rows::ROWS, rows::Row, servers::SERVERS,
    servers::Server,
};

/// One run of one server in one row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    pub row: String,
    pub server: String,
    pub round: usize,
    pub values: Values,
    /// A run with an error has no number that counts.
    pub error: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    pub machine: Machine,
    pub rounds: usize,
    pub seconds: f64,
    pub warmup: f64,
    pub idle_connections: usize,
    /// How many cores others used meanwhile, on average.
    pub others: f64,
    /// What was installed, for each peer.
    pub versions: Vec<String>,
    pub samples: Vec<Sample>,
}

/// All runs of one server in one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell {
    /// It did not take part.
    Nothing,
    /// The load client found so many of its runs wrong.
    Failed(usize),
    Found(Found),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Results {
    pub fn read(file: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(file)?)?)
    }

    pub fn write(&self, file: &Path) -> io::Result<()> {
        fs::write(file, serde_json::to_vec_pretty(self)?)
    }

    fn runs(&self, row: &Row, server: &Server) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(|sample| sample.row == row.name && sample.server == server.name)
    }

    /// The row's own number.
    pub fn cell(&self, row: &Row, server: &Server) -> Cell {
        self.cell_of(row, server, row.field())
    }

    pub fn cell_of(&self, row: &Row, server: &Server, field: &str) -> Cell {
        match self.runs(row, server).filter(|sample| sample.error.is_some()).count() {
            0 => self.found(row, server, field).map_or(Cell::Nothing, Cell::Found),
            failed => Cell::Failed(failed),
        }
    }

    /// One number of all runs that found it.
    pub fn found(&self, row: &Row, server: &Server, field: &str) -> Option<Found> {
        let value = |sample: &Sample| sample.values.get(field).copied();
        let mut values: Vec<_> = self.runs(row, server).filter_map(value).collect();
        if values.is_empty() {
            return None;
        }
        let median = numbers::median(&mut values);
        Some(Found { median, least: values[0], most: values[values.len() - 1] })
    }

    /// The servers that were measured at all, and the rows.
    pub fn servers(&self) -> Vec<&'static Server> {
        let measured = |name| self.samples.iter().any(|sample| sample.server == name);
        SERVERS.iter().filter(|server| measured(server.name)).collect()
    }

    pub fn rows(&self) -> Vec<&'static Row> {
        let measured = |name| self.samples.iter().any(|sample| sample.row == name);
        ROWS.iter().filter(|row| measured(row.name)).collect()
    }

    /// A line for each run that had an error.
    pub fn failures(&self) -> Vec<String> {
        let line = |sample: &Sample| {
            let error = sample.error.as_ref()?;
            Some(format!("{}, {}, round {}: {error}", sample.row, sample.server, sample.round))
        };
        self.samples.iter().filter_map(line).collect()
    }
}

impl Cell {
    pub fn median(self) -> Option<f64> {
        match self {
            Cell::Found(found) => Some(found.median),
            Cell::Nothing | Cell::Failed(_) => None,
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn some(samples: &[(&str, &str, f64)]) -> Results {
        let sample = |&(row, server, value): &(&str, &str, f64)| {
            let field = ROWS.iter().find(|known| known.name == row).expect("it is a row").field();
            Sample {
                row: row.into(),
                server: server.into(),
                round: 1,
                values: [(field.to_owned(), value)].into(),
                error: None,
            }
        };
        Results {
            machine: Machine::default(),
            rounds: 3,
            seconds: 1.0,
            warmup: 0.5,
            idle_connections: 10,
            others: 0.0,
            versions: Vec::new(),
            samples: samples.iter().map(sample).collect(),
        }
    }

    #[test]
    fn a_cell_is_the_median_unless_a_run_failed() {
        let row = &ROWS[0];
        let mut results = some(&[
            (row.name, "raw", 3.0),
            (row.name, "raw", 1.0),
            (row.name, "raw", 2.0),
            (row.name, "subject", 9.0),
        ]);
        let cell = Cell::Found(Found { median: 2.0, least: 1.0, most: 3.0 });
        assert_eq!(results.cell(row, &SERVERS[0]), cell);
        assert_eq!(results.cell(row, &SERVERS[2]), Cell::Nothing);
        assert!(results.failures().is_empty());
        results.samples[1].error = Some("7 errors".into());
        assert_eq!(results.cell(row, &SERVERS[0]), Cell::Failed(1));
        assert_eq!(results.failures(), ["echo-20-32-1, raw, round 1: 7 errors"]);
    }

    #[test]
    fn what_is_written_is_read() {
        let file = std::env::temp_dir().join(format!("compare-{}.json", std::process::id()));
        let results = some(&[("fan-1", "bun", 3.5)]);
        results.write(&file).unwrap();
        let read = Results::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        assert_eq!(format!("{read:?}"), format!("{results:?}"));
    }
}
