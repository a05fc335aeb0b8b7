"""The curriculum on the first subtasks of quest, with a tiny budget, and interrupted for good."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.loops import curriculum
from pipeline.loops.results import CurriculumResult
from pipeline.reports.subtask_table import write_table
from pipeline.reports.telling import told as tell
from pipeline.rollouts.start_states import library_of
from pipeline.settings.reading import Settings
from pipeline.shards.reader import Shard
from pipeline.system.errors import PipelineError
from pipeline.training.checkpoint import load_checkpoint
from tests.changed import change
from tests.trained import same_training

ROOT = Path(__file__).parent.parent
QUEST = ROOT / "pipeline/games/quest"
GOALS = ["game_started", "left_home"]


def tree(folder: Path) -> dict[str, Any]:
    return {
        "run": "tiny",
        "to": "left_home",
        "paths": {"datasets": str(folder / "datasets"), "checkpoints": str(folder / "checkpoints")},
        "collect": {"workers": 2},
        "preprocess": {"workers": 1},
        "train": {"batch_size": 8, "threads": 1, "hidden": 16, "log_every": 2},
        "evaluate": {"episodes": 3, "workers": 2, "max_steps": 60},
        "curriculum": {
            "expert_episodes": 4,
            "target": 1.0,
            "rounds": 2,
            "episodes": 2,
            "steps": 4,
            "evaluate_episodes": 2,
            "states": 8,
        },
    }


def settings_in(folder: Path, **sections: Any) -> Settings:
    return change(Settings.model_validate(tree(folder)), **sections)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("curriculum")


@pytest.fixture(scope="module")
def result(folder: Path) -> CurriculumResult:
    return curriculum.run(settings_in(folder))


@pytest.fixture(scope="module")
def told(result: CurriculumResult) -> dict[str, Any]:
    return tell(result)


def shards(folder: Path) -> dict[str, str]:
    """By name, the content of each shard."""
    found = {}
    for path in sorted((folder / "datasets/quest/tiny").glob("*.h5")):
        with Shard(path) as shard:
            found[path.name] = shard.header.shard_id
    return found


def test_each_subtask_has_a_row_with_the_expert_beside_the_network(
    result: CurriculumResult, told: dict[str, Any], folder: Path
) -> None:
    first, second = told["subtasks"]
    assert [first["milestone"], second["milestone"]] == GOALS
    assert [first["from"], second["from"]] == ["start", "game_started"]
    assert first["expert_steps"] == 1
    assert 10 < second["expert_steps"] < 40
    assert first["limit"] == 3 * 1 + 20
    assert second["limit"] == -(-3 * second["expert_steps"] // 1) + 20
    assert second["rounds"] == 2  # eight updates do not find the way out of the house
    assert second["updates"] == 8
    assert not second["reached_target"]
    assert told["labels"] == first["labels"] + second["labels"]
    assert told["updates"] == first["updates"] + second["updates"]
    written = json.loads(Path(told["json"]).read_text())
    assert written["subtasks"] == [tell(row) for row in result.subtasks]
    assert written["success_rate"] == told["success_rate"]
    with Path(told["csv"]).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["milestone"] for row in rows] == GOALS
    assert float(rows[1]["expert_steps"]) == second["expert_steps"]


def test_a_subtask_begins_where_the_one_before_ended(told: dict[str, Any], folder: Path) -> None:
    kept = library_of(folder / "datasets/quest")
    purposes = {
        file.stem: kept.read("game_started", file).purpose for file in kept.files("game_started")
    }
    with Shard(folder / "datasets/quest/tiny/tiny-round-00-left_home-raw-v001.h5") as shard:
        begun = shard.header.provenance["start_states"]
        assert shard.header.provenance["actor"]["beta"] == 1.0
    assert {purposes[stem] for stem in begun} == {"collect"}
    judges = [purpose for purpose in purposes.values() if purpose != "collect"]
    assert sorted(judges) == ["evaluate"] * 4 + ["select"] * 2
    with Shard(folder / "datasets/quest/tiny/tiny-round-01-left_home-raw-v001.h5") as shard:
        assert shard.header.provenance["actor"]["beta"] == 0.0
        assert shard.lengths.max() <= told["subtasks"][1]["limit"]


def test_one_network_learns_from_all_subtasks(told: dict[str, Any], folder: Path) -> None:
    final = load_checkpoint(Path(told["policy"]))
    ids = shards(folder)
    labelled = {name: one for name, one in ids.items() if "-labelled-" in name}
    assert set(final.shard_ids) == set(labelled.values())
    assert len(labelled) == told["subtasks"][0]["rounds"] + told["subtasks"][1]["rounds"]


def test_the_same_command_has_nothing_to_do_again(told: dict[str, Any], folder: Path) -> None:
    before = shards(folder)
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("*.pt")}
    again = tell(curriculum.run(settings_in(folder)))
    keep = {key: value for key, value in told.items() if key != "seconds"}
    assert {key: value for key, value in again.items() if key != "seconds"} == keep
    assert shards(folder) == before
    final = Path(told["policy"])
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.pt") if path != final} == {
        path: stamp for path, stamp in stamps.items() if path != final
    }


def test_a_network_for_each_milestone_is_a_switching_policy(tmp_path: Path) -> None:
    mine = settings_in(tmp_path, curriculum={"network": "each", "rounds": 1})
    made = curriculum.run(mine)
    switching = json.loads(Path(made.policy).read_text())
    assert list(switching["checkpoints"]) == GOALS
    networks = [load_checkpoint(Path(made.policy).parent / p)
                for p in switching["checkpoints"].values()]  # fmt: skip
    assert [len(network.shard_ids) for network in networks] == [1, 1]
    assert networks[0].shard_ids != networks[1].shard_ids
    assert [row.learned.milestone for row in made.subtasks] == GOALS


def test_milestones_that_come_together_are_one_subtask(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "together"
    shutil.copytree(QUEST, folder, ignore=shutil.ignore_patterns("source"))
    text = (folder / "game.yaml").read_text()
    text = text.replace(
        "  - {name: left_home", '  - {name: awake, when: "in_game == 1"}\n  - {name: left_home', 1
    )
    (folder / "game.yaml").write_text(text)
    mine = {**tree(tmp_path), "game": str(folder), "to": "awake"}
    settings = Settings.model_validate(mine)
    settings = change(settings, curriculum={"network": "each", "rounds": 1, "target": 0.0})
    told = curriculum.run(settings)
    assert [row.judged.milestone for row in told.subtasks] == ["game_started"]
    said = "awake: is reached with game_started or before it; nothing lies between"
    assert said in capsys.readouterr().out
    switching = json.loads(Path(told.policy).read_text())
    assert len(set(switching["checkpoints"].values())) == 1
    assert list(switching["checkpoints"]) == ["game_started", "awake"]


def test_an_expert_below_the_gate_stops_it(tmp_path: Path) -> None:
    program = tmp_path / "stands.py"
    program.write_text("def act(state):\n    return 'B'\n")
    mine = settings_in(tmp_path, expert={"path": str(program)}, evaluate={"max_steps": 3})
    with pytest.raises(PipelineError) as caught:
        curriculum.run(mine)
    assert str(caught.value) == (
        "game_started: the expert reaches it in 0.00 of 4 games, which is below the gate of 0.90; "
        "fix the expert, or lower curriculum.gate"
    )
    with pytest.raises(PipelineError) as caught:
        curriculum.run(change(mine, curriculum={"gate": 0.0}))
    assert str(caught.value) == (
        "game_started: the expert reaches it in none of 4 games, so that no limit of steps "
        "follows; fix the expert, or raise evaluate.max_steps"
    )


def test_a_table_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PipelineError) as caught:
        write_table(tmp_path / "file/run", "curriculum", {}, [])
    assert str(caught.value) == (
        f"{tmp_path}/file/run/curriculum.json: cannot write the table (Not a directory); fix "
        "that, then the same command carries on"
    )


def test_a_game_without_milestones_has_no_curriculum(tmp_path: Path) -> None:
    from tests.loading import made

    made.game_folder(tmp_path / "paper")
    text = (tmp_path / "paper/game.yaml").read_text()
    head, _, rest = text.partition("milestones:")
    if rest:
        rest = rest[rest.index("success:") :]
        (tmp_path / "paper/game.yaml").write_text(head + rest)
    mine = Settings.model_validate({"game": str(tmp_path / "paper")})
    with pytest.raises(PipelineError) as caught:
        curriculum.run(mine)
    assert str(caught.value) == (
        "paper has no milestones, so there is nothing to learn one after the other; give its "
        "game.yaml some"
    )


def test_killed_and_started_again_it_ends_with_the_same_shards(
    told: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(json.dumps(tree(tmp_path)))
    command = [sys.executable, "-m", "pipeline", "curriculum", "--config", str(file)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    watched = tmp_path / "datasets/quest/tiny"
    running = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and running.poll() is None:
        if list(watched.glob("tiny-round-01-left_home-84-v001.h5")):
            break
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert shards(tmp_path) == shards(folder)
    (one, other) = (folder_ / "checkpoints/tiny/final.pt" for folder_ in (folder, tmp_path))
    assert same_training(one, other)
