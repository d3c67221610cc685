#!/usr/bin/env python3
"""Judges what a run of the Autobahn testsuite left.

    judge.py NUMBER OUTDIR...     NUMBER cases, each run once, over all of OUTDIR
    judge.py --self-test          the judge itself, on results that are made up

A case passes when it and its closing handshake are OK. The three cases of INFORMATIONAL have no
right answer in the RFC, so that the suite calls them informational whatever a server does; for
them it is the only verdict that passes. `ok NAME` and `FAIL NAME` lines, then a table.
"""

import collections
import json
import pathlib
import sys

INFORMATIONAL = {"7.1.6", "7.13.1", "7.13.2"}
GROUPS = {
    1: "framing",
    2: "pings and pongs",
    3: "reserved bits",
    4: "opcodes",
    5: "fragmentation",
    6: "UTF-8",
    7: "closing",
    9: "limits and performance",
    10: "automatic fragmentation",
    12: "compression, payloads and sizes",
    13: "compression, parameters",
}
COLUMNS = ["OK", "INFORMATIONAL", "NON-STRICT", "UNIMPLEMENTED", "FAILED"]


def order(name):
    return [int(part) for part in name.split(".")]


def expected(name):
    return "INFORMATIONAL" if name in INFORMATIONAL else "OK"


def judge(number, runs):
    """The lines to print for the results of `runs`, each a map of agents as in index.json."""
    lines, cases = [], {}
    for agents in runs:
        if len(agents) != 1:
            lines.append(f"FAIL autobahn-agents {len(agents)} in a run, and not 1")
        for results in agents.values():
            for name in cases.keys() & results.keys():
                lines.append(f"FAIL autobahn-{name} was run twice")
            cases.update(results)
    for name in sorted(cases, key=order):
        behavior, closing = cases[name]["behavior"], cases[name]["behaviorClose"]
        if {behavior, closing} == {expected(name)}:
            lines.append(f"ok autobahn-{name}")
        else:
            lines.append(f"FAIL autobahn-{name} {behavior}, closing {closing}")
    if len(cases) == number:
        lines.append("ok autobahn-number")
    else:
        lines.append(f"FAIL autobahn-number {len(cases)} cases were run, and not {number}")
    return lines + table(cases)


def table(cases):
    rows = collections.defaultdict(collections.Counter)
    for name, case in cases.items():
        group = order(name)[0]
        rows[f"{group} {GROUPS[group]}"][case["behavior"]] += 1
        rows["all"][case["behavior"]] += 1
        rows["closing handshakes"][case["behaviorClose"]] += 1
    # The suite has a few more words for closings; a column appears when one is used.
    more = sorted({word for row in rows.values() for word in row} - set(COLUMNS))
    lines = [["cases", "number", *COLUMNS, *more], ["---"] * (2 + len(COLUMNS) + len(more))]
    last = ["all", "closing handshakes"]
    names = sorted(rows.keys() - set(last), key=lambda name: int(name.split()[0]))
    for name in names + [name for name in last if name in rows]:
        counts = [rows[name][word] for word in COLUMNS + more]
        lines.append([name, str(sum(counts)), *map(str, counts)])
    return ["", *("| " + " | ".join(row) + " |" for row in lines)]


def explain(outdir, results):
    """For each case that did not pass, what the suite wanted and what it saw."""
    for name in sorted(results, key=order):
        case = results[name]
        if {case["behavior"], case["behaviorClose"]} != {expected(name)}:
            report = json.loads((outdir / case["reportfile"]).read_text())
            for key in ["description", "expectation", "result", "resultClose"]:
                print(f"{name} {key}: {report.get(key)}")


def self_test():
    def result(behavior="OK", closing="OK"):
        return {"behavior": behavior, "behaviorClose": closing}

    fine = {"1.1.1": result(), "7.1.6": result("INFORMATIONAL", "INFORMATIONAL")}
    broken = {
        "a case that is missing": [{"s": {"1.1.1": result()}}],
        "a case too many": [{"s": fine | {"1.1.2": result()}}],
        "a case that was run twice": [{"s": fine}, {"s": fine}],
        "no server": [{}],
        "two servers": [{"s": fine, "t": {}}],
        "informational instead of OK": [{"s": fine | {"1.1.1": result("INFORMATIONAL")}}],
        "OK instead of informational": [{"s": fine | {"7.1.6": result()}}],
    }
    for word in ["NON-STRICT", "UNIMPLEMENTED", "FAILED", "WRONG CODE", "UNCLEAN", "SOMETHING NEW"]:
        broken[f"{word} behaviour"] = [{"s": fine | {"1.1.1": result(word)}}]
        broken[f"{word} closing"] = [{"s": fine | {"1.1.1": result("OK", word)}}]
    verdicts = {f"{what} is refused": failures(judge(2, runs)) for what, runs in broken.items()}
    verdicts["what is fine is accepted"] = not failures(judge(2, [{"s": fine}]))
    verdicts["and in two parts"] = not failures(
        judge(2, [{"s": {name: case}} for name, case in fine.items()])
    )
    for what, verdict in verdicts.items():
        print("ok" if verdict else "FAIL", f"autobahn-judge: {what}")
    return all(verdicts.values())


def failures(lines):
    return [line for line in lines if line.startswith("FAIL ")]


def main(arguments):
    if arguments == ["--self-test"]:
        return self_test()
    number, outdirs = int(arguments[0]), [pathlib.Path(outdir) for outdir in arguments[1:]]
    runs = [json.loads((outdir / "index.json").read_text()) for outdir in outdirs]
    lines = judge(number, runs)
    print("\n".join(lines))
    words = collections.Counter(
        result["behavior"] for agents in runs for results in agents.values() for result in results.values()
    )
    seen = ", ".join(f"{count} {word}" for word, count in sorted(words.items(), reverse=True))
    print(f"figure Autobahn, {outdirs[0].name}: {number} cases, {seen}, {len(failures(lines))} not as they should be")
    for outdir, agents in zip(outdirs, runs):
        for results in agents.values():
            explain(outdir, results)
    return not failures(lines)


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1:]) else 1)
