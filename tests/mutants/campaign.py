"""Runs the tests against each mutant and reports: see tests/mutants.sh.

    campaign.py WORK [PATTERN]    WORK has the crate in tree/, and what cargo-mutants lists in mutants.json
"""

import collections
import concurrent.futures
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tomllib

import schemata
from runs import NOBODY, Runs, Test, Verdict

AIM = 90  # per cent
NOT_TRIED = "not tried"
# Tests of the programs, or that want the network or the machine for themselves: crates, or modules of one.
NOT_RUN = {
    "apps", "tidy", "overload::drain",
    "kernel::bursts", "kernel::faults", "kernel::resets", "kernel::shim", "kernel::signals", "kernel::wire",
}
# It is known to be found by a test of its own file: if it is not, nothing that is said here is true.
GUARD = "replace OpCode::is_control -> bool with true"


def cargo(runs, *words):
    return [*runs.under, "cargo", *words, "--all-features", "--message-format=json"]


def binaries(runs):
    """Builds the tests and the process that some of them look at. Returns each crate of tests, and where it is."""
    crates = sorted(path.parent.name for path in (runs.tree / "tests").glob("*/main.rs"))
    wanted = [word for name in crates if name not in NOT_RUN for word in ("--test", name)]
    executables = []
    for words in (("build", "--example", "echo"), ("test", "--no-run", "--lib", *wanted)):
        command = cargo(runs, *words, "-q")
        built = subprocess.run(command, cwd=runs.tree, env=runs.environment, stdout=subprocess.PIPE, text=True)
        if built.returncode:
            return []
        lines = [json.loads(line) for line in built.stdout.splitlines() if line.startswith("{")]
        tests = [line for line in lines if line.get("executable") and line["profile"]["test"]]
        executables = [(line["target"]["name"], line["executable"]) for line in tests]
    return executables


def tests_of(runs, crate, binary):
    def listed(*which):
        command = [binary, "--list", "--format=terse", *which]
        said = subprocess.run(command, cwd=runs.tree, env=runs.environment, stdout=subprocess.PIPE, text=True)
        return {line.removesuffix(": test") for line in said.stdout.splitlines() if line.endswith(": test")}

    names = sorted(listed() - listed("--ignored"))
    return [Test(binary, name) for name in names if "::".join([crate, *name.split("::")][:2]) not in NOT_RUN]


def measure(runs, pool):
    """Which tests reach each mutant. All have to pass without one."""
    tests = [test for crate, binary in binaries(runs) for test in tests_of(runs, crate, binary)]
    reach, failed = collections.defaultdict(set), 0
    for test, reached in zip(tests, pool.map(runs.measure, tests)):
        if reached is None:
            failed += 1
            print(f"FAIL mutants: without any, {test.name} does not pass")
        for number in reached or ():
            reach[number].add(test)
    print(f"{len(runs.times)} tests, {sum(runs.times.values()):.0f} s one after the other", flush=True)
    for test in sorted(runs.times, key=runs.times.get)[-5:]:
        print(f"{runs.times[test]:.1f} s: {test.name}")
    if failed or not tests:
        raise SystemExit(1)
    return reach


def guard(runs, mutants, reach):
    """The switch switches: a known mutant is killed, by tests that pass when all are run without any. One that
    then fails now and then says nothing, and is not used."""
    for _ in range(10):
        flaky = runs.attempt(runs.times, NOBODY).tests
        for test in flaky:
            print(f"not used, as it fails now and then: {test.name}", flush=True)
            del runs.times[test]
        if not flaky:
            break
    number = next(number for number, mutant in enumerate(mutants) if mutant["name"].endswith(GUARD))
    how = runs.judge(reach[number], number, "").how
    if flaky or how != "caught":
        raise SystemExit(f"FAIL mutants: the guard is {how}, and without any mutant {len(flaky)} tests fail")


def judge_together(runs, pool, mutants, numbers, reach):
    """How it goes with mutants that are in the program, one after the other."""

    def judge(number):
        if runs.is_late():
            return Verdict(NOT_TRIED, [])
        return runs.judge(reach[number], number, mutants[number]["file"])

    for number, verdict in zip(numbers, pool.map(judge, numbers)):
        by = ", ".join(test.name for test in verdict.tests[:1]) or f"after {len(reach[number])} tests"
        print(f"{verdict.how}: {mutants[number]['name']}: {by}", flush=True)
        yield number, verdict.how


def judge_alone(runs, mutant, source):
    """Builds a mutant that is not among the others, and runs all tests."""
    if runs.is_late():
        return NOT_TRIED
    path = runs.tree / mutant["file"]
    others = path.read_bytes()
    path.write_bytes(source.mutated(mutant))
    how = runs.judge(runs.times, NOBODY, mutant["file"]).how if binaries(runs) else schemata.UNVIABLE
    path.write_bytes(others)
    print(f"{how}: {mutant['name']}: on its own", flush=True)
    return how


def judge_all(runs, few, pool, mutants, why):
    """How it went with each mutant. No test is thought to kill those of which `why` speaks: they survive."""
    sources, left_out = schemata.build(runs.tree, mutants, cargo(runs, "check", "--lib"), runs.environment)
    # What tests take has to be what they take: many at once are for mutants alone.
    reach = measure(runs, few)
    guard(runs, mutants, reach)
    wanted = [number for number, mutant in enumerate(mutants) if mutant["wanted"]]
    verdicts = {number: "missed" if number in why else left_out.get(number) for number in wanted}
    together = [number for number, how in verdicts.items() if not how]
    # If time is over before all are tried, those that were are a sample.
    random.Random(0).shuffle(together)
    verdicts.update(judge_together(runs, pool, mutants, together, reach))
    for number in [number for number, how in verdicts.items() if how == schemata.ALONE]:
        verdicts[number] = judge_alone(runs, mutants[number], sources[mutants[number]["file"]])
    return verdicts


def text(mutant):
    """`replace > with == in Deflation::inflate`: what is mutated, without the place."""
    return mutant["name"].split(": ", 1)[1]


def argued(tree, mutants):
    """For each mutant that may survive, why: the entries of argued.toml, none of which may be stale."""
    why, stale = {}, []
    for entry in tomllib.loads((tree / "tests/mutants/argued.toml").read_text())["survivors"]:
        for mutation in entry["mutations"]:
            numbers = [
                number
                for number, mutant in enumerate(mutants)
                if (mutant["file"], text(mutant)) == (entry["file"], mutation)
                and entry.get("line", mutant["line"]) == mutant["line"]
            ]
            why.update(dict.fromkeys(numbers, entry["why"]))
            if not numbers:
                stale.append(f"FAIL mutants: argued.toml has what there is not: {entry['file']}: {mutation}")
    if stale:
        raise SystemExit("\n".join(stale))
    return why


def module(mutant):
    return mutant["file"].removeprefix("src/").removesuffix(".rs").split("/")[0]


def table(mutants, verdicts):
    print("| module | mutants | killed | of these, timed out | survive | unviable | not tried |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in [*sorted({module(mutants[number]) for number in verdicts}), "all"]:
        hows = [how for number, how in verdicts.items() if name in ("all", module(mutants[number]))]
        count = collections.Counter(hows)
        killed = count["caught"] + count["timeout"]
        row = [killed + count["missed"], killed, count["timeout"], count["missed"], count["unviable"]]
        print(f"| {name} | {' | '.join(map(str, [*row, count[NOT_TRIED]]))} |")


def report(mutants, verdicts, why):
    """The survivors, the figure, and whether it is good enough."""
    complaints = []
    for number in sorted(verdicts):
        name, how = mutants[number]["name"], verdicts[number]
        if how == "missed" and number in why:
            print(f"survives: {name}: {why[number]}")
        elif how == "missed":
            complaints.append(f"FAIL mutants: it survives and is not argued: {name}")
        elif how == NOT_TRIED:
            print(f"not tried, as time was over: {name}")
    table(mutants, verdicts)
    count = collections.Counter(verdicts.values())
    killed, survive = count["caught"] + count["timeout"], count["missed"]
    share = 100 * killed / max(killed + survive, 1)
    print(
        f"figure mutants killed: {killed} of {killed + survive} ({share:.1f} %), {survive} survive,"
        f" {count['unviable']} unviable, {count['timeout']} time-outs (counted as killed),"
        f" {count[NOT_TRIED]} not tried"
    )
    if len(verdicts) == len(mutants) and (share < AIM or count[NOT_TRIED] > killed // 20):
        complaints.append(f"FAIL mutants: {AIM} % are to be killed, and few left out")
    print("\n".join(complaints or ["ok mutants"]))
    return not complaints


def load(work, pattern):
    """What cargo-mutants would try, each with the line that it is in; not what is inside of tests, of which
    it does not see all."""
    mutants = []
    for mutant in json.loads((work / "mutants.json").read_text()):
        lines = (work / "tree" / mutant["file"]).read_text().split("\n")
        at = mutant["span"]["start"]["line"] - 1
        if "mod tests {" in lines[:at]:
            continue
        wanted = re.search(pattern, mutant["name"]) is not None
        mutants.append({**mutant, "line": lines[at].strip(), "wanted": wanted})
    return mutants


def main(work, pattern=""):
    work = pathlib.Path(work).resolve()
    environment = {
        **os.environ,
        "CARGO_TARGET_DIR": str(work / "build"),
        "CARGO_INCREMENTAL": "1",
        "CARGO_PROFILE_DEV_DEBUG": "0",
        "CARGO_PROFILE_DEV_OPT_LEVEL": "1",
        "RUSTFLAGS": "--cap-lints=allow -Clink-arg=-fuse-ld=mold",
        "RUST_BACKTRACE": "0",
    }
    seconds = int(os.environ.get("MUTANTS_SECONDS", 3 * 3600))
    runs = Runs(work / "tree", os.environ.get("MUTANTS_UNDER", "").split(), environment, seconds)
    mutants = load(work, pattern)
    why = argued(runs.tree, mutants)
    jobs = int(os.environ.get("MUTANTS_JOBS", os.cpu_count()))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as few, concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        verdicts = judge_all(runs, few, pool, mutants, why)
    return 0 if report(mutants, verdicts, why) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
