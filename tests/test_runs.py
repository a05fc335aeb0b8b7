"""Whose data: shards belong to the run that made them, and a stage says which it takes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline import collect, label, preprocess, train
from pipeline.__main__ import main
from pipeline.loops import compare, dagger
from pipeline.settings.reading import Settings
from pipeline.shards.catalog.catalogue import entries_of
from pipeline.shards.run_shards import folders_of
from pipeline.training.checkpoint import load_checkpoint
from pipeline.training.run_folder import bring_back
from tests.changed import change
from tests.loading import made
from tests.shards.factory import raw_shard, write_game
from tests.trained import error_of, settings_in

Capture = pytest.CaptureFixture[str]


def files(settings: Settings) -> dict[str, int]:
    """Every shard of every run, and when it was written."""
    folder = settings.paths.datasets
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*.h5")}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.h5")}


def on_tiny(folder: Path, **changes: Any) -> Settings:
    """Settings with a game of which shards are made without an emulator."""
    game = folder / "game"
    return Settings.model_validate(
        {
            "game": str(game if game.exists() else write_game(game)),
            "paths": {"datasets": folder / "datasets"},
            "preprocess": {"workers": 1},
            **changes,
        }
    )


def from_run(settings: Settings, name: str) -> Settings:
    return settings.model_copy(update={"from_run": name})


def lines(capsys: Capture, stage: str) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if stage in line]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("runs")
    return Settings.model_validate(
        {
            "run": "tiny",
            "paths": {"datasets": folder / "datasets", "checkpoints": folder / "checkpoints"},
            "collect": {"episodes": 2, "max_steps": 30, "workers": 1},
            "preprocess": {"workers": 1, "validation": 0.3},
            "label": {"workers": 1},
            "train": {"steps": 2, "batch_size": 8, "threads": 1, "hidden": 16},
            "evaluate": {"episodes": 1, "max_steps": 5, "workers": 1},
            "dagger": {"rounds": 1, "episodes": 2, "steps": 1, "evaluate_episodes": 1},
        }
    )


@pytest.fixture(scope="module")
def looped(settings: Settings) -> Settings:
    """After `dagger`."""
    dagger.run(settings)
    return settings


# The folders


def test_the_shards_of_a_loop_are_of_its_run_whatever_its_networks_are_called(
    looped: Settings,
) -> None:
    home = looped.game_folder("quest")
    assert folders_of(home) == [home / "tiny"]
    assert sorted(path.name for path in (home / "tiny").glob("*.h5")) == [
        "tiny-evaluate-raw-v001.h5",
        *(f"tiny-round-00-{kind}-v001.h5" for kind in ("84", "labelled", "raw")),
    ]


def test_no_stage_makes_new_versions_of_what_a_loop_made(looped: Settings, capsys: Capture) -> None:
    before = files(looped)
    assert preprocess.run(looped).up_to_date
    assert label.run(looped).up_to_date
    home = looped.game_folder("quest")
    assert lines(capsys, ":") == [
        f"preprocess: 1 raw shard of run 'tiny' ({home / 'tiny'})",
        f"label: 1 processed shard of run 'tiny' ({home / 'tiny'})",
    ]
    dagger.run(looped)
    assert files(looped) == before


def test_two_runs_of_one_folder_never_version_each_other(tmp_path: Path) -> None:
    mine = on_tiny(tmp_path, run="one")
    other = change(mine, run="other", preprocess={"validation": 0.5})
    for number, each in enumerate((mine, other)):
        raw_shard(each.shard_folder("tiny") / "same-raw-v001.h5", (5, 6 + number))
    for each in (mine, other, mine, other):
        preprocess.run(each)
    home = mine.game_folder("tiny")
    assert sorted(str(path.relative_to(home)) for path in home.rglob("*.h5")) == [
        f"{run}/same-{kind}-v001.h5" for run in ("one", "other") for kind in ("84", "raw")
    ]


# Training after a loop


def test_training_takes_all_labelled_shards_of_the_run_and_the_loop_comes_back(
    looped: Settings, capsys: Capture
) -> None:
    folder = looped.run_folder()
    final, last = folder / "final.pt", folder / "round-00/final.pt"
    before = files(looped)
    by_hand = change(looped, train={"seed": 1})
    trained = train.run(by_hand)
    home = looped.game_folder("quest") / "tiny"
    assert lines(capsys, "train:") == [
        f"train: 1 labelled shard of run 'tiny', 60 labels ({home})",
        f"train: {final} is a copy of {last}, which stays; it is replaced",
    ]
    assert [Path(path).name for path in trained.shards] == ["tiny-round-00-labelled-v001.h5"]
    mine = final.read_bytes()
    dagger.run(looped)
    assert lines(capsys, "final.pt:") == [
        f"{final}: is that of {last} again; what was there lies in {folder / 'last.pt'}"
    ]
    assert final.read_bytes() == last.read_bytes() != mine
    assert files(looped) == before
    assert train.run(by_hand).up_to_date
    assert load_checkpoint(final).step == 2
    assert load_checkpoint(final).inputs == load_checkpoint(folder / "last.pt").inputs


def test_a_network_that_lies_nowhere_else_is_kept_under_another_name(
    tmp_path: Path, capsys: Capture
) -> None:
    settings = settings_in(tmp_path)
    few = change(settings, train={"steps": 2})
    train.run(few)
    folder = few.run_folder()
    other = train.run(change(few, run="one/round-00", train={"seed": 1})).checkpoint
    (folder / "last.pt").unlink()
    mine = (folder / "final.pt").read_bytes()
    (folder / "final-1.pt").write_bytes(b"taken")
    capsys.readouterr()
    bring_back(Path(other), folder / "final.pt")
    assert (folder / "final-2.pt").read_bytes() == mine
    assert (folder / "final.pt").read_bytes() == Path(other).read_bytes()
    assert capsys.readouterr().out == (
        f"{folder / 'final.pt'}: is that of {other} again; what was there lies in "
        f"{folder / 'final-2.pt'}\n"
    )
    bring_back(Path(other), folder / "final.pt")  # a copy is nothing to keep
    assert not (folder / "final-3.pt").exists()


def test_the_same_games_are_not_learned_twice(looped: Settings, capsys: Capture) -> None:
    """`collect` plays the games of round 0 again: one of two is left out, and it is said."""
    folder = looped.shard_folder("quest")
    for stage in (collect, preprocess, label):
        stage.run(looped)
    capsys.readouterr()
    trained = train.run(from_run(change(looped, run="again"), "tiny"))
    assert [Path(path).name for path in trained.shards] == ["tiny-round-00-labelled-v001.h5"]
    double = (
        f"{folder / 'collect-labelled-v001.h5'} (all 60 labels are in "
        f"{folder / 'tiny-round-00-labelled-v001.h5'} too)"
    )
    assert lines(capsys, "train") == [
        f"train: 1 labelled shard of run 'tiny', 60 labels ({folder})",
        f"train: left out, as nothing is learned twice: {double}",
    ]
    both = [str(folder / f"{n}-labelled-v001.h5") for n in ("collect", "tiny-round-00")]
    train.run(change(looped, run="named", train={"shards": both}))
    assert lines(capsys, "warning") == [f"warning: train.shards names recordings twice: {double}"]
    for path in folder.glob("collect-*.h5"):
        path.unlink()


def test_after_adopt_the_loop_has_nothing_to_do(looped: Settings, capsys: Capture) -> None:
    """As if `dagger` had run when all shards of a game lay in one folder."""
    home, own = looped.game_folder("quest"), looped.shard_folder("quest")
    before = contents(own)
    for path in own.glob("*.h5"):
        path.rename(home / path.name)
    trained = train.run(change(looped, run="tiny", train={"resume": False, "seed": 2}))
    assert [Path(path).parent for path in trained.shards] == [home]
    assert lines(capsys, "train:")[0] == (
        f"train: 1 labelled shard of run 'default', 60 labels ({home}); move them with: "
        "python -m pipeline data adopt --run tiny"
    )
    assert main(["data", "adopt", f"--paths.datasets={looped.paths.datasets}"]) == 0
    assert contents(own) == before
    dagger.run(looped)
    assert contents(own) == before


# Another run's shards, by name


def test_another_runs_shards_are_taken_by_name_alone(
    looped: Settings, tmp_path: Path, capsys: Capture
) -> None:
    mine = from_run(change(looped, run="mine"), "tiny")
    small = preprocess.run(mine)
    assert small.shards == (mine.shard_folder("quest") / "tiny-round-00-84-v001.h5",)
    named = change(mine, label={"shards": small.shards})
    assert error_of(lambda: label.run(named)) == (
        "from_run tiny: the shards are named one by one; give only one of them"
    )
    labelled = label.run(change(named.model_copy(update={"from_run": None})))
    rounds = [entry.get().rounds for entry in entries_of([Path(p) for p in labelled.shards])]
    assert rounds == [[0]]
    capsys.readouterr()
    everywhere = train.run(change(looped, run="all", train={"shards": ["all"]}))
    assert everywhere.shards == labelled.shards
    first, twice = lines(capsys, "train")
    home = looped.game_folder("quest")
    assert first == f"train: 1 labelled shard of all runs, 60 labels ({home})"
    assert twice.startswith("train: left out, as nothing is learned twice: ")
    shutil.rmtree(mine.shard_folder("quest"))


def test_what_is_made_of_another_runs_shard_has_its_name_before_it(tmp_path: Path) -> None:
    home = tmp_path / "datasets/tiny"
    raw = raw_shard(home / "a/b/collect-raw-v001.h5", (5,))
    raw_shard(home / "c/collect-raw-v001.h5", (6,))
    mine = on_tiny(tmp_path, run="c", preprocess={"shards": ["all"], "workers": 1})
    made_of = preprocess.run(mine).shards
    assert made_of == tuple(home / "c" / f"{n}-84-v001.h5" for n in ("a-b-collect", "collect"))
    shutil.copytree(home / "a/b", home / "a-b")
    assert error_of(lambda: preprocess.run(mine)) == (
        f"preprocess.shards: {raw} and {home / 'a-b/collect-raw-v001.h5'} would both become "
        "a-b-collect-...; name only one of them, or rename one"
    )


@pytest.mark.parametrize("loop", [dagger, compare])
def test_a_loop_takes_no_other_runs_shards(settings: Settings, loop: Any) -> None:
    name = loop.__name__.rpartition(".")[2]
    assert error_of(lambda: loop.run(from_run(settings, "other"))) == (
        f"from_run other: {name} learns from what it plays itself; leave that out, or name the "
        "run to preprocess, label and train"
    )


@pytest.mark.parametrize(
    "name", ["../x", "/x", "a/../b", "", "a//b", "a/", ".a", "a/.b", "states", "states/a", "x.h5"]
)
@pytest.mark.parametrize("key", ["run", "from_run", "owner"])
def test_a_name_that_is_no_folder_of_a_run_is_one_line(key: str, name: str) -> None:
    assert error_of(lambda: Settings.model_validate({key: name})) == (
        f"{key} {name!r}: is no name of a run; give one such as 'quest' or 'quest/second', without "
        "'..', a '/' at an end, a '.' before or '.h5' behind a name, and not 'states'"
    )


def test_a_name_may_have_folders() -> None:
    assert Settings.model_validate({"run": "a/states"}).shard_folder("g") == Path(
        "datasets/g/a/states"
    )


def test_ls_has_a_column_for_the_run_and_can_be_asked_for_one(
    tmp_path: Path, capsys: Capture
) -> None:
    for name in ("a/x-raw-v001.h5", "b/x-raw-v001.h5", "b/x-raw-v002.h5", "y-raw-v001.h5"):
        raw_shard(tmp_path / "tiny" / name, (len(name),))
    where = [f"--paths.datasets={tmp_path}"]
    assert main(["data", "ls", *where]) == 0
    rows = [line.split("│") for line in capsys.readouterr().out.splitlines() if ".h5" in line]
    assert [row[2].strip() for row in rows] == ["default", "a", "b", "b"]
    assert main(["data", "ls", "--run", "b", *where]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 of 4 files"
    assert main(["data", "verify", *where]) == 0
    assert capsys.readouterr().out.count(".h5") == 4


def test_lineage_and_cost_look_in_all_runs(tmp_path: Path, capsys: Capture) -> None:
    settings = settings_in(tmp_path)
    trained = train.run(change(settings, run="two", train={"steps": 1}))
    where = ["--paths.datasets", str(settings.paths.datasets)]
    capsys.readouterr()
    assert main(["data", "lineage", str(trained.checkpoint), *where]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 shards, 0 stale, 0 missing"
    assert made.header().game == "paper"
