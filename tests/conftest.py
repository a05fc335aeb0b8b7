"""What holds for all tests: Ctrl-C, and which of them are slow.

How long each test takes is kept in ``durations.json`` (``make test ARGS=--keep-durations`` writes
it). Those over 0.1 seconds are marked slow, and ``make test-quick`` leaves them out; a new test
is quick until it is kept. Files that take longest come first.
"""

from __future__ import annotations

import json
import signal
from collections import defaultdict
from pathlib import Path

import hypothesis
import pytest

KEPT = Path(__file__).parent / "durations.json"
SLOW = 0.1
"""Seconds, with what the test is the first to set up."""
SHARED = 1.0
"""Seconds of a fixture that make all tests of its file slow."""

# How long an example takes says nothing on a machine that has other work.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

# A job of a shell without job control ignores Ctrl-C, and so would every process that tests start
# to interrupt it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--keep-durations", action="store_true", help=f"write {KEPT.name}: seconds of slow tests"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--keep-durations") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Kept())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    # What a test is the first to set up, the next one would set up in its place.
    shared = {
        name.partition("::")[0] for name, seconds in slow.items() if seconds["setup"] > SHARED
    }
    took: dict[str, float] = defaultdict(float)
    for name, seconds in slow.items():
        took[name.partition("::")[0]] += seconds["setup"] + seconds["call"]
    for item in items:
        file = item.nodeid.partition("::")[0]
        if item.nodeid in slow or file in shared:
            item.add_marker(pytest.mark.slow)
    # Files are handed to processes as wholes; one that begins late would keep all others waiting.
    items.sort(key=lambda item: -took[item.nodeid.partition("::")[0]])


class _Kept:
    """Adds up what each test took and writes it at the end of a run in which all passed."""

    def __init__(self) -> None:
        self.seconds: dict[str, dict[str, float]] = defaultdict(lambda: {"setup": 0.0, "call": 0.0})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when in ("setup", "call"):
            self.seconds[report.nodeid][report.when] += report.duration

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        if exitstatus == 0:
            slow = {
                name: {part: round(took, 2) for part, took in parts.items()}
                for name, parts in sorted(self.seconds.items())
                if sum(parts.values()) > SLOW
            }
            KEPT.write_text(json.dumps(slow, indent=0) + "\n")
