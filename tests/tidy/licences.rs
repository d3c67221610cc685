//! What an embedder takes in: licences that ask for no more than a notice, and five packages.
//!
//! Cargo's own view of the graph is read, for every platform and feature, so that nothing comes
//! in by a target or a feature that this machine does not build.

use std::process::Command;

use serde_json::Value;

/// SPDX identifiers that are accepted without a second look.
const ALLOWED: [&str; 10] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// The direct dependencies with default features.
const DIRECT: [&str; 5] = ["base64", "httparse", "mio", "sha1_smol", "slab"];

/// Whether an SPDX expression can be satisfied from `ALLOWED`. `AND` binds tighter than `OR`;
/// the `/` of old manifests means `OR`. An exception (`WITH`) is never taken.
fn satisfiable(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<_> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    any_of(&mut rest) && rest.is_empty()
}

fn any_of(rest: &mut &[&str]) -> bool {
    let mut satisfied = all_of(rest);
    while take(rest, "OR") {
        satisfied |= all_of(rest);
    }
    satisfied
}

fn all_of(rest: &mut &[&str]) -> bool {
    let mut satisfied = one(rest);
    while take(rest, "AND") {
        satisfied &= one(rest);
    }
    satisfied
}

fn one(rest: &mut &[&str]) -> bool {
    if take(rest, "(") {
        return any_of(rest) & take(rest, ")");
    }
    let Some((licence, after)) = rest.split_first() else { return false };
    *rest = after;
    let exception = take(rest, "WITH");
    if exception {
        *rest = rest.get(1..).unwrap_or_default();
    }
    ALLOWED.contains(licence) && !exception
}

fn take(rest: &mut &[&str], word: &str) -> bool {
    let found = rest.first() == Some(&word);
    if found {
        *rest = &rest[1..];
    }
    found
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo can be started");
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}: {problem}");
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

#[test]
fn every_licence_is_on_the_list() {
    let json = cargo(&["metadata", "--format-version", "1", "--all-features", "--locked"]);
    let metadata: Value = serde_json::from_str(&json).expect("cargo writes JSON");
    let packages = metadata["packages"].as_array().expect("there are packages");
    assert!(DIRECT.iter().all(|name| packages.iter().any(|package| package["name"] == *name)));
    let refused: Vec<_> = packages
        .iter()
        .filter(|package| !package["license"].as_str().is_some_and(satisfiable))
        .map(|package| format!("{} {}", package["name"], package["license"]))
        .collect();
    assert!(refused.is_empty(), "not on the list of licences: {refused:?}");
}

#[test]
fn an_expression_is_judged_as_spdx_means_it() {
    for fine in [
        "MIT",
        "MIT/Apache-2.0",
        "Unlicense OR MIT",
        "(MIT OR Apache-2.0) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
        "MIT OR Apache-2.0 OR LGPL-2.1-or-later",
        "GPL-3.0 AND MIT OR ISC",
    ] {
        assert!(satisfiable(fine), "{fine}");
    }
    for refused in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "(MIT OR GPL-3.0) AND MPL-2.0",
        "Apache-2.0 WITH LLVM-exception",
        "(MIT",
        "MIT GPL-3.0",
    ] {
        assert!(!satisfiable(refused), "{refused}");
    }
}

/// The direct dependencies with these features, and how many there are below them.
fn dependencies(features: &str) -> (Vec<String>, usize) {
    let tree = ["tree", "--locked", "--edges=normal", "--prefix=depth", "--features", features];
    let tree = cargo(&tree);
    let direct = tree.lines().filter_map(|line| line.strip_prefix('1'));
    let mut direct: Vec<_> =
        direct.filter_map(|package| package.split(' ').next()).map(String::from).collect();
    direct.sort_unstable();
    let all = tree.lines().count();
    let below = all - 1 - direct.len();
    (direct, below)
}

#[test]
fn five_direct_dependencies() {
    assert_eq!(dependencies("").0, DIRECT);
}

#[test]
fn a_log_is_one_dependency_more() {
    let (with_log, below) = dependencies("log");
    let mut expected = DIRECT.to_vec();
    expected.push("log");
    expected.sort_unstable();
    assert_eq!(
        (with_log, below),
        (expected.into_iter().map(String::from).collect(), dependencies("").1)
    );
}

#[test]
fn tls_is_rustls_and_ring() {
    let (with_tls, _) = dependencies("tls");
    let mut expected = DIRECT.to_vec();
    expected.extend(["ring", "rustls"]);
    expected.sort_unstable();
    assert_eq!(with_tls, expected.into_iter().map(String::from).collect::<Vec<_>>());
}
