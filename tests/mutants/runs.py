"""Runs tests with one mutant on, or with none, and says what came of it."""

import collections
import os
import pathlib
import re
import resource
import selectors
import signal
import subprocess
import tempfile
import time

Test = collections.namedtuple("Test", "binary name")
# `how` is missed, caught or timeout; `tests` are those that told.
Verdict = collections.namedtuple("Verdict", "how tests")

NOBODY = 9_999  # the number of no mutant
SECONDS_MAX = 60  # for one test without a mutant
MEMORY_MAX = 6 << 30


def limits():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def end(process):
    """Ends a program and all that it began."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


class Runs:
    def __init__(self, tree, under, environment, seconds):
        """What is run stands in `tree`; `under` are words before each command; nothing is begun after so
        many seconds."""
        self.tree, self.under, self.environment = tree, under, environment
        self.end = time.monotonic() + seconds
        self.times = {}
        self.killers = collections.defaultdict(collections.Counter)

    def is_late(self):
        return time.monotonic() > self.end

    def launch(self, binary, tests, seconds, **more):
        """Runs tests of one binary until one of them fails. Returns how it went, and who told."""
        process = subprocess.Popen(
            [*self.under, binary, "--exact", "--test-threads=2", *tests],
            cwd=self.tree, env={**self.environment, **more}, preexec_fn=limits, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )
        said, deadline = b"", time.monotonic() + seconds
        with selectors.DefaultSelector() as selector, process.stdout:
            selector.register(process.stdout, selectors.EVENT_READ)
            while selector.select(max(0, deadline - time.monotonic())):
                piece = os.read(process.stdout.fileno(), 1 << 16)
                said += piece
                failed = re.search(rb"^test (\S+)(?: - should panic)? \.\.\. FAILED$", said, re.M)
                if failed:
                    end(process)
                    return "caught", [failed[1].decode()]
                if not piece:
                    return ("missed", []) if process.wait() == 0 else ("caught", tests)
        end(process)
        return "timeout", tests

    def seconds(self, tests):
        """How long tests may take with a mutant."""
        return 10 + 5 * sum(self.times[test] for test in tests)

    def attempt(self, tests, number):
        """One run of the tests with the mutant of that number."""
        grouped = collections.defaultdict(list)
        for test in tests:
            grouped[test.binary].append(test)
        for binary, group in grouped.items():
            names, seconds = [test.name for test in group], self.seconds(group)
            how, told = self.launch(binary, names, seconds, MUTANT=str(number))
            if how != "missed":
                return Verdict(how, [Test(binary, name) for name in told])
        return Verdict("missed", [])

    def holds(self, told, number):
        """Whether it is the mutant's doing: without it the tests pass, and with it they fail again. If they took too long,
        they have to pass in a quarter of the time that it was given. A mutant on its own has no number and cannot be left
        out."""
        if number != NOBODY:
            began = time.monotonic()
            if self.attempt(told.tests, NOBODY).how != "missed":
                return False
            if told.how == "timeout" and time.monotonic() - began > self.seconds(told.tests) / 4:
                return False
        return self.attempt(told.tests, number).how != "missed"

    def in_order(self, tests, file):
        """Those come first that killed the most of the same file, and then the quick ones."""
        killed = self.killers[file]
        usable = [test for test in tests if test in self.times]
        return sorted(usable, key=lambda test: (-killed[test], self.times[test]))

    def judge(self, tests, number, file):
        """How it went: a few tests are tried, and all others only if these do not kill the mutant."""
        rest = self.in_order(tests, file)
        for count, budget in ((4, 0.5), (200, 2), (len(rest), 1e9)):
            stage = []
            while rest and len(stage) < count and budget > 0:
                stage.append(rest.pop(0))
                budget -= self.times[stage[-1]]
            while stage:
                verdict = self.attempt(stage, number)
                if verdict.how == "missed":
                    break
                if self.holds(verdict, number):
                    self.killers[file].update(verdict.tests)
                    return verdict
                stage = [test for test in stage if test not in verdict.tests]
        return Verdict("missed", [])

    def measure(self, test):
        """Notes how long a test takes without a mutant, and returns which it reaches; None if it does not
        pass. Noting these takes system calls, which some tests count: it is another run."""
        for _ in range(3):
            began = time.monotonic()
            how, _ = self.launch(test.binary, [test.name], SECONDS_MAX)
            if how == "missed":
                break
        else:
            return None
        self.times[test] = time.monotonic() - began
        with tempfile.TemporaryDirectory() as scratch:
            note = pathlib.Path(scratch, "reached")
            how, _ = self.launch(test.binary, [test.name], SECONDS_MAX, MUTANTS_REACHED=str(note))
            if how != "missed":
                print(f"noted up to where it fails, as noting is counted: {test.name}")
            return {int(number) for number in note.read_text().split()} if note.exists() else set()
