"""Shards of the old layout come into the folders of their runs, whatever interrupts it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pipeline import preprocess
from pipeline.__main__ import main
from pipeline.commands import adopt
from pipeline.rollouts.parts import held
from pipeline.settings.reading import Settings
from tests.changed import change
from tests.shards.factory import raw_shard, write_game

Capture = pytest.CaptureFixture[str]

BELONGS = {
    "collect-raw-v001.h5": "mine",
    "collect-84-v002.h5": "mine",
    "evaluate-raw-v001.h5": "mine",
    "quest-round-00-raw-v001.h5": "quest",
    "quest-round-01-left_home-labelled-v003.h5": "quest",
    "quest-evaluate-raw-v001.h5": "quest",
    "quest-evaluate-badge-raw-v001.h5": "quest",
    "small-cloning-0-raw-v001.h5": "small/compare",
    "small-cloning_clean-2-84-v001.h5": "small/compare",
    "small-thinned-0-round-1-raw-v001.h5": "small/compare",
    "small-dagger-0-round-1-labelled-v001.h5": "small/compare",
    "states-round-00-raw-v001.h5": "mine",  # no run may be called so
    ".collect-raw-0123456789ab.parts": "mine",
    ".quest-round-02-raw-0123456789ab.parts": "quest",
}


@pytest.fixture
def datasets(tmp_path: Path) -> Path:
    game = tmp_path / "datasets" / "tiny"
    for name in BELONGS:
        if name.endswith(".h5"):
            raw_shard(game / name, (1,), mark=name)
        else:
            raw_shard(game / name / "part-000000.h5", (1,))
    return tmp_path / "datasets"


def command(datasets: Path) -> int:
    return main(["data", "adopt", "--run", "mine", f"--paths.datasets={datasets}"])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*.h5")}


def placed(datasets: Path) -> dict[str, str]:
    game = datasets / "tiny"
    found = [*game.rglob("*-v*.h5"), *game.rglob(".*.parts")]
    return {path.name: str(path.parent.relative_to(game)) for path in found}


def test_each_shard_comes_into_the_folder_of_its_run(datasets: Path, capsys: Capture) -> None:
    before = contents(datasets)
    assert command(datasets) == 0
    told = capsys.readouterr().out
    assert told.splitlines()[-1] == "14 of 14 moved"
    assert placed(datasets) == BELONGS
    assert contents(datasets) == before
    assert [path for path in (datasets / "tiny").iterdir() if path.is_file()] == []
    assert command(datasets) == 0
    assert capsys.readouterr().out.splitlines() == ["(none)", "0 of 0 moved"]


class Stopped(BaseException):
    """Stands for `kill -9`."""


@pytest.mark.parametrize("call", ["link", "unlink", "rename", "fsync"])
@pytest.mark.parametrize("after", [False, True])
def test_stopped_anywhere_the_same_command_finishes(
    datasets: Path, monkeypatch: pytest.MonkeyPatch, call: str, after: bool
) -> None:
    before = contents(datasets)
    place: Any = Path if call == "unlink" else os
    real, calls = getattr(place, call), []

    def stopping(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2 and not after:
            raise Stopped
        result = real(*arguments, **options)
        if len(calls) == 2:
            raise Stopped
        return result

    with monkeypatch.context() as patch:
        patch.setattr(place, call, stopping)
        with pytest.raises(Stopped):
            command(datasets)
    assert contents(datasets) == before
    assert command(datasets) == 0
    assert placed(datasets) == BELONGS
    assert contents(datasets) == before


def test_nothing_is_overwritten(datasets: Path, capsys: Capture) -> None:
    flat, own = (datasets / "tiny" / at / "collect-raw-v001.h5" for at in ("", "mine"))
    raw_shard(own, (2,), mark="mine")
    with held(datasets / "tiny" / ".collect-raw-0123456789ab.parts") as mine:
        assert mine
        before = flat.read_bytes(), own.read_bytes()
        assert command(datasets) == 2
    assert capsys.readouterr().err == (
        f"error: {flat}: stays: {own} is there already (and 1 more)\n"
    )
    assert (flat.read_bytes(), own.read_bytes()) == before
    assert adopt.adopt(datasets, "mine")[0]["state"] == f"stays: {own} is there already"
    flat.unlink()
    assert command(datasets) == 0


def test_a_disk_without_links_is_moved_on_too(
    datasets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    own = datasets / "tiny/mine/collect-raw-v001.h5"
    own.parent.mkdir()
    own.write_bytes(b"mine")
    assert command(datasets) == 2
    own.unlink()
    assert command(datasets) == 0
    assert placed(datasets) == BELONGS


def test_shards_of_no_run_are_taken_where_the_run_has_none_and_then_found_again(
    tmp_path: Path, capsys: Capture
) -> None:
    settings = Settings.model_validate(
        {
            "run": "mine",
            "game": str(write_game(tmp_path / "game")),
            "paths": {"datasets": tmp_path / "datasets"},
            "preprocess": {"workers": 1},
        }
    )
    home = settings.game_folder("tiny")
    raw_shard(home / "collect-raw-v001.h5")
    small = preprocess.run(settings)
    assert small.shards == (home / "mine/collect-84-v001.h5",)
    assert capsys.readouterr().out == (
        f"preprocess: 1 raw shard of run 'default' ({home}); move them with: "
        "python -m pipeline data adopt --run mine\n"
    )
    assert command(tmp_path / "datasets") == 0
    assert preprocess.run(settings).up_to_date
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"preprocess: 1 raw shard of run 'mine' ({home / 'mine'})"
    )
    other = change(settings, run="other")
    with pytest.raises(Exception, match="no raw shard to preprocess"):
        preprocess.run(other)
