"""The tables that a person reads."""

from __future__ import annotations

from pipeline.reports.summary import rows_table, show, summary_table


def test_figures_are_shown_as_a_person_reads_them() -> None:
    assert [show(v) for v in (None, True, False, 0.98765, 3, [], ["a", None])] == [
        "-", "yes", "no", "0.9877", "3", "-", "a, -",
    ]  # fmt: skip


def test_a_long_list_takes_several_lines_and_its_members_stay_whole() -> None:
    paths = [f"datasets/quest/a-rather-long-name-{n}-labelled-v001.h5" for n in range(5)]
    lines = summary_table({"shards": paths}).splitlines()
    assert len(lines) == 2 + 5
    assert max(map(len, lines)) <= 120
    for path, line in zip(paths, lines[1:], strict=False):
        assert path in line


def test_rows_become_a_table_of_their_own_under_their_name() -> None:
    text = summary_table({"steps": 3, "rows": [{"a": 1}, {"a": 2, "b": 0.5}]})
    assert text.splitlines()[3] == "rows"
    assert "│ 2   │ 0.5 │" in text
    assert rows_table([]) == "(none)"
