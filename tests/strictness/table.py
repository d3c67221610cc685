#!/usr/bin/env python3
"""The strictness table, from what probe.py printed.

    table.py TITLES SUBTITLE [NAME=RESULTS]...     prints it
    table.py --into DOCUMENT TABLE                 puts it under its heading in a document

TITLES has the lines of `probe.py --titles`, each RESULTS those of one server.
"""

import pathlib
import re
import sys

HEADING = "## Strictness, beside the peers"
NOTES = """\
Each server is its library's plain echo server with the library's defaults, and with compression
where it has any. A *no* is not always a breach: the others leave `Origin` to the application, where
a title says that the RFC would also let a thing pass it does, and what has no clause is what we ask
of ourselves. A dash is for what a server has not got."""
CELLS = {"pass": "yes", "FAIL": "**no**", "n/a": "–"}


def results(path):
    found = {}
    for line in pathlib.Path(path).read_text().splitlines():
        verdict, name, *observed = line.split(" ", 2)
        found[name] = verdict, " ".join(observed)
    return found


def table(titles, subtitle, servers):
    titles = [line.split(" ", 1) for line in pathlib.Path(titles).read_text().splitlines()]
    servers = {name: results(path) for name, path in servers}
    lines = [HEADING, "", subtitle, "", NOTES, ""]
    lines += ["| | " + " | ".join(servers) + " |", "|---" * (len(servers) + 1) + "|"]
    for name, title in titles:
        cells = [CELLS[found[name][0]] for found in servers.values()]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    totals = []
    for found in servers.values():
        verdicts = [verdict for verdict, _ in found.values()]
        totals.append(f"{verdicts.count('pass')} of {len(verdicts) - verdicts.count('n/a')}")
    lines += ["| **yes, of those that apply** | " + " | ".join(totals) + " |", ""]
    lines += ["What was observed in place of a yes:", ""]
    for name, title in titles:
        failed = [
            f"{server} {escaped(found[name][1])}"
            for server, found in servers.items()
            if found[name][0] == "FAIL"
        ]
        if failed:
            lines.append(f"- {title}. " + " · ".join(failed))
    return "\n".join(lines) + "\n"


def escaped(observed):
    return "(`" + observed.replace("`", "'") + "`)"


def put_into(document, section):
    """Replaces the section of that heading, or adds it at the end."""
    document = pathlib.Path(document)
    text = document.read_text()
    pattern = re.compile(rf"^{re.escape(HEADING)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    if pattern.search(text):
        text = pattern.sub(lambda _: section + "\n", text)
    else:
        text = text.rstrip("\n") + "\n\n" + section
    document.write_text(text.rstrip("\n") + "\n")


def main(arguments):
    if arguments[0] == "--into":
        put_into(arguments[1], pathlib.Path(arguments[2]).read_text())
    else:
        servers = [argument.split("=", 1) for argument in arguments[2:]]
        print(table(arguments[0], arguments[1], servers), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
