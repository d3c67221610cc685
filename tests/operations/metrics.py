"""The server's /metrics, read by Prometheus' own parser, and what docs/monitoring asks of them.

Usage: python metrics.py SERVER
    SERVER is the pushloop binary.

Prints `ok NAME` or `FAIL NAME: why` for each check; the exit status is 1 if one failed.
"""

import json
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

import yaml
from prometheus_client.parser import text_string_to_metric_families

MONITORING = Path(__file__).parents[2] / "docs" / "monitoring"
PATIENCE = 30  # seconds, for one answer
PREFIXES = ["chat/", 'odd"\\\n']


def fetch(url, data=None):
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=PATIENCE) as response:
        return response.headers, response.read().decode()


class Server:
    """One server, with a listener for metrics, and topics that have options by their prefixes."""

    def __init__(self, program):
        self.config = tempfile.NamedTemporaryFile("w", suffix=".toml")
        prefixes = [f"[[topics]]\nprefix = {json.dumps(prefix)}\nhistory = 5\n" for prefix in PREFIXES]
        self.config.write("".join(prefixes))
        self.config.flush()
        options = ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--history", "5"]
        options += ["--config", self.config.name]
        self.process = subprocess.Popen([program, *options], stdout=subprocess.PIPE, text=True)
        self.at, self.metrics_at = None, None
        while not (self.at and self.metrics_at):
            line = self.process.stdout.readline()
            assert line, "the server tells both addresses"
            if found := re.search(r"metrics at (http\S+)", line):
                self.metrics_at = found[1]
            elif found := re.search(r"open (http\S+)", line):
                self.at = found[1].rstrip("/")

    def families(self, url=None):
        _, text = fetch(url or self.metrics_at)
        return {family.name: family for family in text_string_to_metric_families(text)}

    def end(self):
        self.process.terminate()
        self.process.wait(PATIENCE)


def is_the_format(server):
    headers, text = fetch(server.at + "/metrics")
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8", headers
    families = list(text_string_to_metric_families(text))
    names = [family.name for family in families]
    assert len(names) == len(set(names)), "no name twice"
    for family in families:
        assert re.fullmatch(r"(pushloop|process)_[a-z_]+", family.name), family.name
        assert family.type in ("counter", "gauge") and family.documentation.endswith("."), family
        is_by_prefix = family.name.startswith("pushloop_prefix_")
        assert len(family.samples) == (len(PREFIXES) if is_by_prefix else 1), family
        for sample in family.samples:
            assert (sample.name == family.name + "_total") == (family.type == "counter"), sample
            labels = {"version"} if "build_info" in sample.name else {"prefix"} if is_by_prefix else set()
            assert set(sample.labels) == labels, sample
            assert not re.search(r"_(ms|kb|mb|percent)\b", sample.name), sample
        if is_by_prefix:
            assert sorted(sample.labels["prefix"] for sample in family.samples) == PREFIXES, family


def are_the_same_at_both_doors(server):
    assert server.families().keys() == server.families(server.at + "/metrics").keys()


def count_what_happens(server):
    def value(name):
        return sum(sample.value for sample in server.families()[name].samples)

    published, kept = value("pushloop_publications"), value("pushloop_history_bytes")
    fetch(server.at + "/scores", b"Goal!")
    assert value("pushloop_publications") == published + 1
    before = value("pushloop_prefix_published_bytes")
    fetch(server.at + "/chat/1", b"Goal!")
    assert value("pushloop_prefix_published_bytes") == before + 5
    assert value("pushloop_history_bytes") > kept
    assert value("process_resident_memory_bytes") > 1e6 and value("process_start_time_seconds") > 1.7e9


def has_nothing_else_on_its_own_listener(server):
    for path, data, status in [("/scores", None, 404), ("/scores", b"x", 404), ("/metrics", b"x", 405)]:
        try:
            fetch(server.metrics_at.removesuffix("/metrics") + path, data)
        except urllib.error.HTTPError as error:
            assert error.code == status, (path, error.code)
        else:
            raise AssertionError(f"{path} is answered")


def have_each_name_of_alerts_and_dashboard(server):
    known = {sample.name for family in server.families().values() for sample in family.samples}
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    asked = [rule["expr"] for rule in rules]
    asked += [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(asked) > 20
    for expression in asked:
        names = set(re.findall(r"\b(?:pushloop|process)_\w+", expression))
        assert names <= known, names - known
        assert names or expression.startswith("up"), expression


def main():
    server = Server(sys.argv[1])
    failed = 0
    try:
        for check in (
            is_the_format,
            are_the_same_at_both_doors,
            count_what_happens,
            has_nothing_else_on_its_own_listener,
            have_each_name_of_alerts_and_dashboard,
        ):
            try:
                check(server)
                print("ok", check.__name__)
            except Exception as error:
                failed += 1
                print(f"FAIL {check.__name__}: {error!r}")
    finally:
        server.end()
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
