#!/usr/bin/env python3
"""Tries a WebSocket echo server on what the RFCs let a server refuse, and on what they demand.

    probe.py [--pid PID] [--only NAME,NAME...] [ws://]HOST:PORT[/]
    probe.py --titles

One line for each row, `pass NAME what was observed`, or FAIL, or `n/a` where the server has not got
what the row is about. With the process id of a server on this machine its memory is watched. The
exit status is 0 when no row failed, 1 when one did, 2 when a plain handshake fails: then the rows
would say nothing. `--titles` prints the names and what they stand for.
"""

import argparse
import sys

# Each module registers its rows as it is loaded; the table has them in this order.
import handshake  # noqa: F401
import frames  # noqa: F401
import closing
import compression  # noqa: F401
import resources  # noqa: F401
from rows import ROWS, NotApplicable, Target

closing.register_last()


def judge(row, target):
    try:
        results = list(row.probe(target))
    except NotApplicable as reason:
        return "n/a", str(reason)
    except (OSError, ValueError) as error:
        return "FAIL", f"{type(error).__name__}: {error}"
    wrong = [(variant, observed) for variant, right, observed in results if not right]
    if not wrong:
        return "pass", ", ".join(dict.fromkeys(observed for _, _, observed in results))
    variants = {}
    for variant, observed in wrong:
        variants.setdefault(observed, []).append(str(variant))
    if len(wrong) == len(results) and len(variants) == 1:
        return "FAIL", wrong[0][1]
    return "FAIL", "; ".join(f"{', '.join(names)}: {observed}" for observed, names in variants.items())


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--pid", type=int)
    arguments.add_argument("--only", default="")
    arguments.add_argument("--titles", action="store_true")
    arguments.add_argument("address", nargs="?")
    options = arguments.parse_args()
    if options.titles:
        for row in ROWS:
            print(row.name, row.title)
        return 0
    host, port = options.address.removeprefix("ws://").rstrip("/").rsplit(":", 1)
    target = Target((host, int(port)), options.pid)
    try:
        target.websocket().socket.close()
    except OSError as error:
        print(f"probe.py: {options.address}: {error}", file=sys.stderr)
        return 2
    only = set(filter(None, options.only.split(",")))
    failed = False
    for row in ROWS:
        if not only or row.name in only:
            verdict, observed = judge(row, target)
            failed |= verdict == "FAIL"
            print(verdict, row.name, observed, flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
