"""A loop of stages that is stopped at a call that makes, names or removes a file, and run again."""

from __future__ import annotations

from tests.stops.short_form import LOOPS, assert_recovered


def test_stopped_anywhere_they_end_with_the_files_of_an_undisturbed_command() -> None:
    assert_recovered(LOOPS)
