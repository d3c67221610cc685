#!/usr/bin/env python3
"""Tests of compare.py: on results that are made up, and on servers of this package in $PROGRAMS."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import compare
import show
from rows import CONNECT, CPU, IDLE, INSTRUCTIONS, PACED, RATE, ROWS, SERVERS, SYSCALLS


def made_up(*samples):
    fields = {row.name: row.kind.field for row in ROWS}
    return {
        "machine": dict.fromkeys(["date", "commit", "processor", "cores", "kernel"], "x") | {"tools": []},
        "rounds": 3, "seconds": 1.0, "warmup": 0.5, "idle_connections": 10, "others": 0.0, "versions": [],
        "samples": [{"row": row, "server": server, "round": 1, "error": None,
                     "values": {fields[row]: value}} for row, server, value in samples],
    }


class Compare(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / "compare").mkdir()

    def compare(self, *arguments, **environment):
        environment = {**os.environ, "CARGO_TARGET_DIR": str(self.folder), **environment}
        command = [sys.executable, "-B", compare.__file__, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    def shown(self, found, *arguments):
        file = self.folder / "found.json"
        file.write_text(json.dumps(found))
        return self.compare("--from", str(file), *arguments)

    def test_values_are_shown_in_their_unit(self):
        for kind, value, shown in [
            (RATE, 0.1284, "0.128"), (RATE, 999.0, "999"), (RATE, 999.6, "1.00k"), (RATE, 149_234, "149k"),
            (RATE, 2.61e6, "2.61M"), (IDLE, 255.6, "256 B"), (IDLE, 13_812, "13.8 kB"), (IDLE, -3, "0 B"),
            (CONNECT, 25.71, "25.7 µs"), (CPU, 0.2344, "0.234 µs"), (PACED, 1_234, "1.23 ms"), (SYSCALLS, 0, "0.00"),
            (SYSCALLS, 2.041, "2.04"), (INSTRUCTIONS, 12, "12.0"), (INSTRUCTIONS, 1_817.4, "1,817"),
        ]:
            self.assertEqual(kind.show(value), shown)

    def test_totals_are_found(self):
        self.assertEqual(compare.total("events: Ir\nsummary: 77\n\n1 76\n\ntotals: 77\n"), 77)
        self.assertIsNone(compare.total("events: Ir\nsummary: 77\n"))
        self.assertEqual(compare.total("    calls syscall\n       19 recvfrom\n        2 total\n"), 2)
        self.assertIsNone(compare.total("    calls syscall\n       19 recvfrom\n"))

    def test_rows_are_named_whole_or_by_their_beginning(self):
        def wanted(*names):
            return [row.name for row in ROWS if compare.is_wanted(row, names)]

        self.assertEqual(wanted("echo-20-32-1", "connect"), ["echo-20-32-1", "connect"])
        self.assertEqual((len(wanted("echo-20")), wanted("idle")), (4, ["idle"]))
        self.assertEqual(wanted("tls"), [row.name for row in ROWS if row.tls])
        self.assertEqual(len(set(wanted())), len(ROWS))

    def test_what_is_not_there_is_refused(self):
        for line in ["--only nobody", "--rows nothing", "--rounds 0", "--seconds 0", "more", "--x"]:
            self.assertEqual(self.compare(*line.split()).returncode, 2, line)

    def test_a_tie_is_called_one(self):
        found = made_up(("fan-1", "raw", 200), ("fan-1", "subject", 99), ("fan-1", "subject", 101),
                        ("fan-1", "uwebsockets", 108), ("idle", "subject", 100),
                        ("idle", "uwebsockets", 200), ("open-loop", "bun", 300),
                        ("connect", "subject", 4), ("connect", "uwebsockets", 2))
        output = self.shown(found)
        self.assertEqual((output.returncode, output.stderr), (0, ""))
        for part in ["| 0.926, tie | 0.500 |", "| 0.500, better | – |", "| 2.00, worse | – |",
                     "| fan-1 | pushloop | 100 | 99.0 | 101 | 0.500 | 0.926 |"]:
            self.assertIn(part, output.stdout)
        for table in output.stdout.split("\n\n"):
            cells = {line.count("|") for line in table.splitlines() if line.startswith("|")}
            self.assertLessEqual(len(cells), 1, table)

    def test_a_run_that_failed_leaves_no_number(self):
        found = made_up(("fan-1", "subject", 100), ("fan-1", "subject", 101), ("fan-1", "uwebsockets", 50))
        found["samples"][1]["error"] = "7 errors: connection 3: lost"
        output = self.shown(found)
        self.assertEqual(output.returncode, 1)
        self.assertIn("| **failed** (1) | 50.0 | – |", output.stdout)
        self.assertIn("| pushloop | **failed** (1) | – | – | – | – | – | – |\n", output.stdout)
        failure = "fan-1, subject, round 1: 7 errors: connection 3: lost\n"
        self.assertIn(f"\n- {failure}", output.stdout)
        self.assertEqual(output.stderr, f"compare: {failure}")

    def test_only_what_is_between_the_marks_is_written_and_charts_have_all_labels(self):
        page = self.page()
        found = self.everything()
        self.assertEqual(self.shown(found, "--write", str(self.folder)).returncode, 0)
        before, text = page.read_text().split(show.BEGIN)
        text, after = text.split(show.END)
        self.assertEqual((before, after[:3], "old" in text), ("a\n", "\nb\n", False))
        images = sorted((self.folder / "images").iterdir())
        self.assertEqual([image.name in text for image in images], 4 * [True])
        for image in images:
            for server in SERVERS[1:]:
                self.assertIn(server.title, image.read_text())
        page.write_text("a")
        self.assertNotEqual(self.shown(found, "--write", str(self.folder)).returncode, 0)

    def page(self):
        page = self.folder / "BENCHMARKS.md"
        places = [(show.BEGIN, show.END), (show.TLS_BEGIN, show.TLS_END)]
        page.write_text("a\n" + "".join(f"{begin}\nold\n{end}\nb\n" for begin, end in places))
        (self.folder / "images").mkdir()
        return page

    def everything(self):
        return made_up(*((row.name, server.name, 123 * 4 ** at) for row in ROWS
                         for at, server in enumerate(SERVERS) if server.takes_part_in(row)))

    def test_what_is_over_tls_has_a_place_of_its_own(self):
        page, found = self.page(), self.everything()
        found["samples"] = [one for one in found["samples"] if one["row"].startswith("tls-")]
        self.assertEqual(self.shown(found, "--write", str(self.folder)).returncode, 0)
        plain, tls = page.read_text().split(show.TLS_BEGIN)
        self.assertEqual(plain, f"a\n{show.BEGIN}\nold\n{show.END}\nb\n")
        self.assertIn("\n### Over TLS", tls)
        self.assertIn("|  | pushloop | uWebSockets | Bun | tokio-tungstenite | npm ws | pushloop : uWebSockets |", tls)
        self.assertIn("| a message of 20 B, 32 connections, 1 in flight | 492 µs | 1.97 ms |", tls)
        self.assertEqual(([*(self.folder / "images").iterdir()], "old" in tls), ([], False))

    def test_the_limit_is_the_measure_of_an_echo(self):
        found = made_up(("echo-20-32-1", "raw", 200), ("echo-20-32-1", "subject", 150),
                        ("echo-20-32-1", "bun", 250))
        title, _, _, panels = next(show.charts(show.Results(found)))
        self.assertEqual(panels[0][1], [(SERVERS[1], 0.6, "75.0 %"), (SERVERS[3], 1, "125 %")])
        without = show.Results(made_up(("echo-20-32-1", "bun", 1)))
        self.assertEqual(next(show.charts(without)), (*next(show.charts(without))[:3], []))

    def test_servers_are_measured(self):
        rows = ["echo-20-32-1", "open-loop", "idle-topic", "connect", "syscalls-16"]
        output = self.compare("--quick", "--seconds", "0.1", "--only", "raw,subject",
                              "--rows", ",".join(rows))
        self.assertEqual(output.returncode, 0, output.stderr)
        found = json.loads((self.folder / "compare/results.json").read_text())
        self.assertEqual([sample["row"] for sample in found["samples"][::2]], rows)
        self.assertIn("| echo-20-32-1 | limit |", output.stdout)

    def test_servers_are_measured_over_tls(self):
        output = self.compare("--quick", "--seconds", "0.1", "--only", "raw,subject",
                              "--rows", "tls-echo-16,tls-resumed")
        self.assertEqual(output.returncode, 0, output.stderr)
        self.assertIn("\n| tls-resumed | pushloop |", output.stdout)
        self.assertNotIn("limit |", output.stdout.split("### Every cell")[0])

    def test_a_server_that_is_not_there_has_no_number(self):
        load, satisfied = compare.PROGRAMS / "load", "echo '{\"errors\": 0, \"rate\": 1}'"
        for server, client, said in [
            ("exit", f"exec {load} $*", "it does not listen"),
            ("echo listening on 127.0.0.1:1", f"exec {load} $*", "the load client ended: "),
            ("echo listening on 127.0.0.1:1", satisfied, "the server ended"),
            ("echo listening on 127.0.0.1:1", satisfied.replace("}", ", \"resumed_share\": 0.5}"),
             "0.500 of all sessions were resumed"),
        ]:
            for name, script in [("raw", server), ("load", client)]:
                (self.folder / name).write_text(f"#!/bin/sh\n{script}\n")
                (self.folder / name).chmod(0o755)
            output = self.compare("--quick", "--only", "raw", "--rows", "echo-20-32-1",
                                  PROGRAMS=str(self.folder))
            self.assertEqual(output.returncode, 1)
            self.assertIn(said, output.stderr)


if __name__ == "__main__":
    unittest.main()
