"""The table of the README is the one that the kept logs give."""

from pathlib import Path

from tests.platforms.__main__ import table, told


def test_the_readme_has_the_table_of_the_kept_logs() -> None:
    readme = (Path(__file__).parent / "README.md").read_text()
    assert table() in readme


def test_everywhere_the_known_second_is_the_same_and_all_commands_ended_well() -> None:
    for row in told():
        assert row["same"], row
        assert [row[name]["exit"] for name in ("install", "dagger", "tests")] == [0, 0, 0], row
