"""The results as Markdown, medians side by side and below them each cell's spread, and as bars."""

import math
import statistics
from html import escape

from rows import CONNECTIONS, COSTS, CPU, ECHO, FAN, IDLE, PACED, RATE, ROWS, SERVERS
from rows import micros, significant, thousands

# A machine is called idle while others use less than so many cores.
OTHERS_MOST = 0.1
BEGIN, END = "<!-- compare: begin -->\n", "<!-- compare: end -->"
TLS_BEGIN, TLS_END = "<!-- compare, TLS: begin -->\n", "<!-- compare, TLS: end -->"
NOTHING = "–"


class Results:
    """All samples, by row and server."""

    def __init__(self, found):
        self.found = found
        self.cells = {}
        for sample in found["samples"]:
            self.cells.setdefault((sample["row"], sample["server"]), []).append(sample)
        self.servers = [one for one in SERVERS if any(one.name == name for _, name in self.cells)]
        self.rows = [row for row in ROWS if any(row.name == name for name, _ in self.cells)]

    def over_tls(self, tls):
        """What was found over TLS, or without."""
        names = {row.name for row in ROWS if row.tls == tls}
        samples = [sample for sample in self.found["samples"] if sample["row"] in names]
        return Results({**self.found, "samples": samples})

    def failed(self, row, server):
        return sum(sample["error"] is not None for sample in self.cells.get((row.name, server), []))

    def values(self, row, server, field):
        """One number of all runs that found it."""
        samples = self.cells.get((row.name, server), [])
        return [sample["values"][field] for sample in samples if field in sample["values"]]

    def median(self, row, server, field=None):
        """None if one of the runs failed, or none was."""
        values = self.values(row, server, field or row.kind.field)
        return statistics.median(values) if values and not self.failed(row, server) else None

    def failures(self):
        return ["{row}, {server}, round {round}: {error}".format(**sample)
                for sample in self.found["samples"] if sample["error"] is not None]


def line(cells):
    return f"| {' | '.join(cells)} |\n"


def table(header, lines):
    return line(header) + line(["---"] * len(header)) + "".join(map(line, lines))


def ratio(value, other):
    return max(value, 0) / other if value is not None and other is not None and other > 0 else None


def cell(results, row, server, field, show):
    failed = results.failed(row, server)
    median = results.median(row, server, field)
    if failed or median is None:
        return f"**failed** ({failed})" if failed else NOTHING
    rates = results.values(row, server, "rate") if row.kind is PACED else []
    return show(median) + (f" at {thousands(statistics.median(rates))}/s" if rates else "")


def verdict(results, row, other, kind):
    """`1.35, better`, `0.97, tie`: one median divided by another. The limit does less than any
    server has to: only a tie is a verdict there."""
    part = ratio(*(results.median(row, name, kind.field) for name in ["subject", other]))
    if part is None:
        return NOTHING
    if abs(part - 1) < kind.tie:
        return f"{significant(part)}, tie"
    if other == "raw":
        return significant(part)
    return f"{significant(part)}, {'better' if (part > 1) == kind.more_is_better else 'worse'}"


def overview(results, rows, cpu=False):
    """A line for each row, a column for each server, and how pushloop compares."""
    names = [server.name for server in results.servers]
    titles = {server.name: server.title for server in results.servers}
    others = [name for name in ["uwebsockets", "raw"] if {name, "subject"} <= set(names)]
    lines = []
    for row in rows:
        kind = CPU if cpu else row.kind
        lines.append([row.title, *(cell(results, row, name, kind.field, kind.show) for name in names),
                      *(verdict(results, row, other, kind) for other in others)])
    header = ["", *titles.values(), *(f"pushloop : {titles[other]}" for other in others)]
    return table(header, lines)


def details(results):
    header = ["", "server", "median", "least", "most", "to the limit", "to uWebSockets",
              "server CPU for a message", "of its core"]
    return table(header, [detail(results, row, server) for row in results.rows
                          for server in results.servers if (row.name, server.name) in results.cells])


def detail(results, row, server):
    def shown(value, show):
        return NOTHING if value is None else show(value)

    name, kind = server.name, row.kind
    median, values = results.median(row, name), results.values(row, name, kind.field)
    cells = [row.name, server.title]
    if median is None:
        cells += [cell(results, row, name, kind.field, kind.show), NOTHING, NOTHING]
    else:
        cells += map(kind.show, [median, min(values), max(values)])
    cells += [shown(ratio(median, results.median(row, other)), significant)
              for other in ["raw", "uwebsockets"]]
    cpu, share = (results.median(row, name, field) for field in [CPU.field, "server_cpu_share"])
    return cells + [shown(cpu, micros), shown(share, lambda share: f"{share * 100:.0f} %")]


def about(results):
    found, machine = results.found, results.found["machine"]
    rounds = f"{found['rounds']} round{'s' * (found['rounds'] != 1)}"
    text = (f"{machine['date']}, pushloop at {machine['commit']}: {machine['processor']}, "
            f"{machine['cores']} cores, {machine['kernel']}. {rounds}, each run measured for "
            f"{found['seconds']:g} s after {found['warmup']:g} s; {found['idle_connections']:,} idle "
            f"connections. Other processes used {significant(found['others'])} cores meanwhile.\n")
    if found["others"] > OTHERS_MOST:
        text += ("\n**Others were at work on this machine: rates and latencies say little here; "
                 "counts, memory and CPU times say more.**\n")
    return text + f"\n{'; '.join(machine['tools'] + found['versions'])}.\n"


def markdown(results):
    parts, over = [about(results)], " over TLS" * any(row.tls for row in results.rows)
    for group in dict.fromkeys(row.group for row in results.rows):
        rows = [row for row in results.rows if row.group == group]
        parts.append(f"### {group}\n\n{overview(results, rows)}")
    timed = [row for row in results.rows if row.kind is RATE]
    if timed:
        parts.append("### CPU time of the server for a message or a delivery\n\n"
                     + overview(results, timed, cpu=True))
    if failures := results.failures():
        parts.append("### Runs with errors\n\n" + "".join(f"- {one}\n" for one in failures))
    return "\n".join(parts) + (
        f"\n### Every cell{over}\n\n<details>\n<summary>median, least and most of the rounds</summary>\n\n"
        f"{details(results)}\n</details>")


def all_of(results):
    """What is shown where nothing is written."""
    parts = [results.over_tls(tls) for tls in [False, True]]
    return "\n\n".join(markdown(part) for part in parts if part.rows)


def write(results, docs):
    """The charts as files, and all between the marks of the page. What is over TLS has marks of its own, and where
    no row was measured nothing is replaced."""
    page = docs / "BENCHMARKS.md"
    whole = page.read_text()
    for tls, begin, end in [(False, BEGIN, END), (True, TLS_BEGIN, TLS_END)]:
        part = results.over_tls(tls)
        before, _, rest = whole.partition(begin)
        _, found, after = rest.partition(end)
        assert found, f"{page} has no place for a table"
        if part.rows:
            whole = f"{before}{begin}\n{images(part, docs)}{markdown(part)}\n{end}{after}"
    page.write_text(whole)


def images(results, docs):
    """Writes the charts, and gives the lines that show them."""
    lines = ""
    for name, title, subtitle, panels in charts(results):
        if panels:
            (docs / f"images/bench-{name}.svg").write_text(svg(title, subtitle, panels))
            lines += f"![{title}](images/bench-{name}.svg)\n\n"
    return lines


def charts(results):
    """Of each chart its file's name, what is written above it, and its panels: a title, bars with
    their lengths from 0 to 1, and lines across them with what they mean."""
    yield ("echo", "Echo: rate, as a part of the limit",
           "The limit: one recv and one send for each ready connection, no WebSocket. More is better.",
           panels(results, lambda row: row.group == ECHO, parts_of_the_limit))
    yield ("fan-out", "Fan-out: deliveries per second",
           "The limit: each connection's share of a turn in one send, no WebSocket. More is better.",
           panels(results, lambda row: row.group == FAN, lengths))
    yield ("memory", "Server memory for an idle connection",
           "Logarithmic: each line is ten times the one before. Less is better.",
           panels(results, lambda row: row.group == CONNECTIONS and row.kind is IDLE, logarithms))
    yield ("costs", "What one echoed message of 20 B costs",
           "Counted by callgrind and strace. Less is better.",
           panels(results, lambda row: row.group == COSTS, lengths))


def panels(results, chosen, scale):
    """A scale makes a panel of a row's medians, or None; all medians of the chart are of its rows."""
    found = {row: {server: median for server in results.servers
                   if (median := results.median(row, server.name)) is not None}
             for row in results.rows if chosen(row)}
    most = max((median for medians in found.values() for median in medians.values()), default=0)
    return [panel for row, medians in found.items() if medians
            if (panel := scale(row, medians, most))]


def lengths(row, medians, _):
    most = max(medians.values()) or 1
    return row.title, [(server, median / most, row.kind.show(median))
                       for server, median in medians.items()], []


def parts_of_the_limit(row, medians, _):
    limit = next((median for server, median in medians.items() if server.name == "raw"), None)
    parts = {server: median / limit for server, median in medians.items()
             if limit and server.name != "raw"}
    most = max([1, *parts.values()])
    return parts and (f"{row.title} (limit: {thousands(limit)}/s)",
                      [(server, part / most, f"{significant(part * 100)} %")
                       for server, part in parts.items()], [(1 / most, "limit")])


def logarithms(row, medians, most):
    # The same for all rows of memory; it begins with less than any connection takes.
    least = 32
    most = max(most, 1e3)

    def length(size):
        return math.log10(max(size, least) / least) / math.log10(most / least)

    ticks = [(length(size), f"{size:.0f} B" if size < 1e3 else f"{size / 1e3:.0f} kB")
             for size in [1e2, 1e3, 1e4, 1e5, 1e6] if size <= most]
    return row.title, [(server, length(median), row.kind.show(median))
                       for server, median in medians.items()], ticks


WIDTH, MARGIN, HEADER, COLUMNS = 880, 20, 66, 2
PANEL = (WIDTH - 3 * MARGIN) // COLUMNS
PANEL_TITLE, BAR, STEP, LABELS, TEXTS = 30, 15, 21, 116, 62
INK, FAINT, LINE = "#1F2328", "#59636E", "#C8CFD6"
COLORS = {"raw": "#AFB8C1", "subject": "#CF5414"}
OTHER = "#6A92BD"


def text(x, y, words, pixels, color=FAINT, anchor="start"):
    return (f'<text x="{x}" y="{y}" dy="0.5ex" text-anchor="{anchor}" font-size="{pixels}" '
            f'fill="{color}">{escape(words)}</text>')


def svg(title, subtitle, panels):
    """Bars in panels of two columns. They have a ground of their own, so that they can be read on
    light and on dark pages."""
    drawn = [text(MARGIN, 26, title, 15.3, INK), text(MARGIN, 48, subtitle, 10.5)]
    y = HEADER
    for at in range(0, len(panels), COLUMNS):
        row = panels[at:at + COLUMNS]
        for column, panel in enumerate(row):
            drawn += draw(panel, MARGIN + column * (PANEL + MARGIN), y)
        y += max(PANEL_TITLE + (len(bars) + bool(ticks)) * STEP for _, bars, ticks in row) + MARGIN
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" '
        f'viewBox="0 0 {WIDTH} {y}" font-family="sans-serif">',
        '<rect width="100%" height="100%" fill="#FFFFFF"/>', *drawn, "</svg>\n"])


def draw(panel, x, y):
    title, bars, ticks = panel
    top, left = y + PANEL_TITLE, x + LABELS
    width, bottom = PANEL - LABELS - TEXTS, top + len(bars) * STEP
    yield text(x, y + 10, title, 10.5, INK)
    for at, meaning in ticks:
        at = left + int(at * width)
        yield f'<path d="M{at} {top - 3}V{bottom}" stroke="{LINE}"/>'
        yield text(at, bottom + 9, meaning, 8.9, anchor="middle")
    for nth, (server, length, shown) in enumerate(bars):
        y, end = top + nth * STEP, left + max(int(length * width), 1)
        ink = INK if server.name == "subject" else FAINT
        color = COLORS.get(server.name, OTHER)
        yield f'<rect x="{left}" y="{y}" width="{end - left}" height="{BAR}" fill="{color}"/>'
        yield text(left - 6, y + BAR // 2 + 1, server.title, 9.7, ink, "end")
        yield text(end + 5, y + BAR // 2 + 1, shown, 9.7, ink)
