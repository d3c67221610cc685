#!/usr/bin/env python3
"""Measures pushloop beside other servers and the limit, all in turn, round after round.

Within a round all servers are measured in one row before the next row begins, each in a process of
its own; so what the machine does meanwhile happens to all. Which comes first changes with the round.
The server has one core to itself, the load client another. `benches/compare.sh` builds and installs
all that this needs; the method is in docs/BENCHMARKS.md.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

import show
from rows import INSTRUCTIONS, IDLE, PACED, ROWS, SERVERS

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PEERS = REPOSITORY / "benches/peers/peers.sh"
# What is built is here, and what is found.
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "compare"
PROGRAMS = pathlib.Path(os.environ.get("PROGRAMS", TARGET / "release"))
RESULTS = TARGET / "results.json"
# Made by the first that needs them.
CERTIFICATES = TARGET / "certificates"
MAKE_CERTIFICATES = REPOSITORY / "tests/operations/certificates.sh"

# The part of the highest rate at which latencies are measured.
PACE = 0.7
# Counts are the same each time, or nearly so.
COUNTING_ROUNDS = 2
# A run that takes longer than it should by this many seconds is ended.
PATIENCE = 60
# A server that is counted runs twice. The longer run has to have so many times as many messages, for
# which it takes so many times as long; the later ones are for a machine that is busy.
MANY = 1.5
LONGER = [3, 6, 12]
# With `-D` the server is the process that was started, not strace.
STRACE = "strace -D -f -qq -c -U calls,name -o"
CALLGRIND = "valgrind --quiet --tool=callgrind --callgrind-out-file="
# valgrind counts `rep stosb` and `rep movsb` once for each byte: glibc is told to use other ones.
NO_REPEATS = ("glibc.cpu.x86_rep_stosb_threshold=1000000000:"
              "glibc.cpu.x86_rep_movsb_threshold=1000000000")


class Failed(Exception):
    """A run that has no number."""


class Running:
    """A server that runs on one core, and ends with this."""

    def __init__(self, server, core, under="", tls=False, **environment):
        command = [PEERS, "run", server.name] if server.peer else [*under.split(), PROGRAMS / server.name]
        self.server, self.tls = server, tls
        if tls:
            environment["CERTIFICATES"] = str(CERTIFICATES)
        self.process = subprocess.Popen(
            ["taskset", "-c", str(core), *command, "127.0.0.1:0"], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, text=True, env={**os.environ, "UNDER": under, **environment})
        self.address = None
        listens = threading.Event()
        threading.Thread(target=self.hear, args=[listens], daemon=True).start()
        listens.wait(PATIENCE)
        if not self.address:
            self.__exit__()
            raise Failed("it does not listen")

    def hear(self, listens):
        # All that it says is read, or it would wait for a reader.
        for line in self.process.stdout:
            if line.startswith("listening on "):
                self.address = line.split()[-1]
                listens.set()
        listens.set()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Bench:
    def __init__(self, options):
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            sys.exit("compare: a server and the load client want a core each")
        self.core, self.client_core = cores[:2]
        self.options = options

    def load(self, running, options, seconds=None, warmup=None):
        """One run of the load client: what it found, by name."""
        seconds = self.options.seconds if seconds is None else seconds
        warmup = self.options.warmup if warmup is None else warmup
        mode, path, *more = options.split()
        scheme = "ws"
        if running.tls:
            scheme, more = "wss", [*more, "--authority", CERTIFICATES / "authority.pem"]
        output = subprocess.run(
            ["taskset", "-c", str(self.client_core), PROGRAMS / "load", mode,
             f"{scheme}://{running.address}{path}", *more, "--seconds", str(seconds), "--warmup", str(warmup),
             "--pid", str(running.process.pid)] + ["--raw"] * (running.server.name == "raw"),
            capture_output=True, text=True, timeout=seconds + warmup + PATIENCE)
        said = (output.stderr.splitlines() or ["no reason given"])[0][:200]
        if not output.stdout:
            raise Failed(f"the load client ended: {said}")
        values = json.loads(output.stdout)
        if values["errors"] or output.returncode:
            raise Failed(f"{values['errors']} errors: {said}")
        if values.get("compressed_share", 1) < 1:
            raise Failed(f"{values['compressed_share']:.3f} of all came compressed")
        if values.get("resumed_share", 1) < 1:
            raise Failed(f"{values['resumed_share']:.3f} of all sessions were resumed")
        return values

    def measure(self, row, server):
        if row.kind.counts:
            return self.count(row, server)
        with Running(server, self.core, tls=row.tls) as running:
            if row.kind is IDLE:
                connections = self.options.idle_connections
                values = self.load(running, f"{row.load} --connections {connections}", 0.2, 0.1)
            else:
                values = self.load(running, row.load)
            if row.kind is PACED:
                values = self.load(running, f"{row.load} --rate {PACE * values['rate']:.0f}")
            if running.process.poll() is not None:
                raise Failed("the server ended")
        return values

    def count(self, row, server):
        """Instructions or system calls for one message. What the server does once, to start and to
        end, is the same in a short run and in a long one, and so are the messages that the load client
        does not count: the difference of the counts over the difference of the messages is the cost."""
        seconds = 0.1 if self.options.quick else 0.4
        shorter, few = self.total(row, server, seconds)
        for times in LONGER:
            longer, many = self.total(row, server, seconds * times)
            if many >= few * MANY:
                return {row.kind.field: (longer - shorter) / (many - few), "messages": many}
        raise Failed(f"{many} messages in the longer run, {few} in the shorter")

    def total(self, row, server, seconds):
        """The count of one run, and its messages."""
        file = TARGET / f"{server.name}.count"
        file.unlink(missing_ok=True)
        under = f"{CALLGRIND}{file}" if row.kind is INSTRUCTIONS else f"{STRACE} {file}"
        with Running(server, self.core, under, GLIBC_TUNABLES=NO_REPEATS) as running:
            messages = self.load(running, row.load, seconds, 0)["messages"]
            # What counts writes down what it counted when it is asked to end, or a little after.
            running.process.terminate()
            running.process.wait(timeout=10)
        for _ in range(100):
            count = total(file.read_text() if file.exists() else "")
            if count is not None:
                return count, messages
            time.sleep(0.05)
        raise Failed(f"{file} says nothing")

    def sample(self, round, row, server):
        sample = {"row": row.name, "server": server.name, "round": round, "values": {}, "error": None}
        try:
            sample["values"] = self.measure(row, server)
            shown = row.kind.show(sample["values"][row.kind.field])
        except (Failed, OSError, subprocess.TimeoutExpired) as error:
            sample["error"] = str(error)
            shown = f"FAILED: {sample['error']}"
        print(f"{round}/{self.options.rounds}  {row.name:<16} {server.name:<15} {shown}", file=sys.stderr)
        return sample


def certify():
    """New certificates: those of an earlier day may have expired."""
    shutil.rmtree(CERTIFICATES, ignore_errors=True)
    CERTIFICATES.mkdir(parents=True)
    made = subprocess.run([MAKE_CERTIFICATES, CERTIFICATES], capture_output=True, text=True)
    if made.returncode:
        sys.exit(f"compare: no certificates: {made.stderr}")


def total(text):
    """`totals: 1234` of callgrind's profile, or `1234 total`, the last line of strace's summary."""
    for line in reversed(text.splitlines()):
        words = line.split()
        if len(words) == 2 and "total" in words[0] + words[1]:
            return float(words[1] if words[0] == "totals:" else words[0])
    return None


def first_line(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.splitlines()[0]
    except (OSError, IndexError):
        return "unknown"


def machine():
    info = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(": ")[1] for line in info if line.startswith("model name")]
    tools = [first_line(name, "--version") for name in ["rustc", "g++", "node"]]
    return {
        "date": time.strftime("%F", time.gmtime()),
        "commit": first_line("git", "-C", REPOSITORY, "describe", "--always", "--dirty"),
        "processor": (models or ["unknown"])[0],
        "cores": len(os.sched_getaffinity(0)),
        "kernel": f"{os.uname().sysname} {os.uname().release}",
        "tools": [*tools[:2], f"Node {tools[2]}", " ".join(first_line("openssl", "version").split()[:2])],
    }


def version(server):
    output = subprocess.run([PEERS, "version", server.name], capture_output=True, text=True)
    if output.returncode:
        sys.exit(f"compare: {server.name} is not installed: {output.stderr}")
    return output.stdout.strip()


def seconds_of_others():
    """What all processes used, less this one and its children that have ended."""
    ticks = pathlib.Path("/proc/stat").read_text().split()[1:4]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


def run(options):
    rows = [row for row in ROWS if is_wanted(row, options.rows)]
    servers = [server for server in SERVERS if (not options.only or server.name in options.only)
               and any(map(server.takes_part_in, rows))]
    if any(row.tls for row in rows):
        certify()
    bench = Bench(options)
    results = {
        "machine": machine(), "rounds": 0, "seconds": options.seconds, "warmup": options.warmup,
        "idle_connections": options.idle_connections, "others": 0.0,
        "versions": [version(server) for server in servers if server.peer], "samples": [],
    }
    before, begun = seconds_of_others(), time.monotonic()
    for round in range(1, options.rounds + 1):
        for row in rows:
            if row.kind.counts and round > COUNTING_ROUNDS:
                continue
            for at in range(len(servers)):
                server = servers[(at + round - 1) % len(servers)]
                if server.takes_part_in(row):
                    results["samples"].append(bench.sample(round, row, server))
        # A run that is broken off leaves the rounds that are complete.
        results["rounds"] = round
        results["others"] = (seconds_of_others() - before) / (time.monotonic() - begun)
        RESULTS.write_text(json.dumps(results, indent=1))
    print(f"compare: the results are in {RESULTS}", file=sys.stderr)
    return results


def is_wanted(row, names):
    """A row's whole name means that row, the beginning of names all of these."""
    whole = {row.name for row in ROWS}
    return not names or any(
        row.name == name if name in whole else row.name.startswith(name) for name in names)


def parse():
    listed = "".join(f"  {row.name:<16}{row.title}\n" for row in ROWS)
    parser = argparse.ArgumentParser(
        prog="compare", formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__,
        epilog=f"Servers: {' '.join(server.name for server in SERVERS)}\n\nRows:\n{listed}")
    parser.add_argument("--quick", action="store_true", help="one round of short runs, to see that "
                        "everything works; the numbers are rough")
    parser.add_argument("--rounds", type=int, help="how often each is measured [5; with --quick 1]")
    parser.add_argument("--seconds", type=float, help="for how long [1; with --quick 0.25]")
    names = {"metavar": "NAME,..", "default": [], "type": lambda names: names.split(",")}
    parser.add_argument("--only", **names, help="only these servers")
    parser.add_argument("--rows", **names, help="only these rows, or all whose names begin so")
    parser.add_argument("--from", dest="file", type=pathlib.Path, help="show what an earlier run found")
    parser.add_argument("--write", nargs="?", metavar="DOCS", type=pathlib.Path,
                        const=REPOSITORY / "docs", help="put the table into docs/BENCHMARKS.md and the "
                        "charts into docs/images, or into those of another folder")
    options = parser.parse_args()
    for name in options.only:
        if name not in [server.name for server in SERVERS]:
            parser.error(f"no server is called {name}")
    for name in options.rows:
        if not any(row.name.startswith(name) for row in ROWS):
            parser.error(f"no row's name begins with {name}")
    quick = {"rounds": 1, "seconds": 0.25, "warmup": 0.1, "idle_connections": 1000}
    usual = {"rounds": 5, "seconds": 1.0, "warmup": 0.4, "idle_connections": 10_000}
    for name, value in (quick if options.quick else usual).items():
        if getattr(options, name, None) is None:
            setattr(options, name, value)
    if options.rounds < 1 or not 0.05 <= options.seconds <= 60:
        parser.error("at least one round, and runs of 0.05 to 60 seconds")
    return options


def main():
    options = parse()
    results = show.Results(json.loads(options.file.read_text()) if options.file else run(options))
    if options.write:
        show.write(results, options.write)
    else:
        print(show.all_of(results))
    failures = results.failures()
    for failure in failures:
        print(f"compare: {failure}", file=sys.stderr)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
