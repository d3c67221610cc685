//! Measures pushloop beside other servers and the limit, and writes down what was seen.
//!
//! `compare [OPTIONS]`; `compare --help` lists them, and `benches/compare.sh` builds and installs
//! all that it needs first. The method is in `docs/BENCHMARKS.md`.
//!
//! - `rows.rs` is what is measured, `servers.rs` who.
//! - `bench.rs` goes round after round, `client.rs` runs the load client once, `counts.rs` counts
//!   instructions and system calls.
//! - `results.rs` is what was found, as a file; `table.rs` and `charts.rs` show it.

mod bench;
mod charts;
mod client;
mod counts;
mod document;
mod machine;
mod numbers;
mod options;
mod panels;
mod process;
mod results;
mod rows;
mod servers;
mod table;

use std::{env, io, path::Path, process::ExitCode};

use options::Options;
use results::Results;

/// The checkout that this was built from.
const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn main() -> ExitCode {
    let options = match options::parse(env::args_os().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{}", options::usage());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("compare: {error} (see --help)");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(results) if results.failures().is_empty() => ExitCode::SUCCESS,
        Ok(results) => {
            for failure in results.failures() {
                eprintln!("compare: {failure}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<Results> {
    let results = match &options.from {
        Some(file) => Results::read(file)?,
        None => {
            let results = bench::run(options)?;
            let file = bench::results_file()?;
            results.write(&file)?;
            eprintln!("compare: the results are in {}", file.display());
            results
        }
    };
    let table = table::markdown(&results);
    if options.write {
        let repository = Path::new(REPOSITORY);
        let images = charts::write(&results, &repository.join("docs/images"))?;
        document::put(&repository.join("docs/BENCHMARKS.md"), &(images + &table))?;
    } else {
        println!("{table}");
    }
    Ok(results)
}
