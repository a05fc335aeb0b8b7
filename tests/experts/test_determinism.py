"""Programs that remember, or draw at random: found by asking again, in label and in collect."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import collect, label
from pipeline.__main__ import main
from pipeline.experts.determinism import Recheck
from pipeline.experts.opening import open_expert
from pipeline.experts.program import ProgramExpert
from pipeline.experts.protocol import Questions
from pipeline.experts.sandbox import Isolation, opening
from pipeline.games.loading import load_game
from pipeline.settings.reading import Settings
from pipeline.shards.reader import Shard
from pipeline.system.errors import PipelineError
from tests.changed import change
from tests.shards.factory import processed_shard, write_game

COUNTS = "n = 0\ndef act(s):\n    global n\n    n += 1\n    return ('A', 'B')[n % 2]\n"
FORGETFUL = {
    "counts": COUNTS,
    "draws": "import random\nrandom.seed(1)\ndef act(s):\n    return random.choice(['A', 'B'])\n",
    "before": "b = 0\ndef act(s):\n    global b\n    b, last = s['x'], b\n"
    "    return 'A' if s['x'] > last else 'B'\n",
    "visited": "seen = set()\ndef act(s):\n    new = s['x'] not in seen\n    seen.add(s['x'])\n"
    "    return 'A' if new else 'B'\n",
}
CACHES = (
    "cache = {}\ndef act(s):\n    return cache.setdefault(s['x'], 'A' if s['x'] % 2 else 'B')\n"
)
LINE = (
    ", the program answers {}, not {} as before; it remembers what it was asked, or draws at "
    "random, so its labels differ from its play; make act(state) a function of the state "
    "alone, or let it keep its memory within an episode: collect --expert.memory episode"
)
ISOLATIONS = [
    "trusted",
    pytest.param("bwrap", marks=pytest.mark.skipif(not shutil.which("bwrap"), reason="no bwrap")),
]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(opening, "ships", lambda path: True)  # what is not, is trusted by request
    game = write_game(tmp_path / "tiny")
    processed_shard(tmp_path / "datasets/tiny/a-84-v001.h5", (17, 140))
    tree = {"game": str(game), "paths": {"datasets": tmp_path / "datasets"}}
    return Settings.model_validate({**tree, "label": {"workers": 1}})


def program(folder: Path, text: str) -> Path:
    path = folder / "mine.py"
    path.write_text(text)
    return path


@pytest.mark.parametrize("isolation", ISOLATIONS)
@pytest.mark.parametrize("kind", FORGETFUL)
def test_labels_of_a_program_that_remembers_are_refused(
    settings: Settings, tmp_path: Path, kind: str, isolation: str
) -> None:
    path = program(tmp_path, FORGETFUL[kind])
    mine = change(settings, expert={"path": path, "isolation": isolation})
    with pytest.raises(PipelineError) as error:
        label.run(mine)
    shard = tmp_path / "datasets/tiny/a-84-v001.h5"
    told = str(error.value)
    assert told.startswith(f"{path}: asked again about step ")
    assert f" of {shard}, the program answers " in told
    assert told.endswith(LINE.format("A", "B")) or told.endswith(LINE.format("B", "A"))
    assert [one.name for one in shard.parent.glob("*.h5")] == [shard.name]


def test_the_command_names_the_step_and_both_answers_and_publishes_nothing(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The first of its answers alone is another one.
    path = program(tmp_path, "n = 0\ndef act(s):\n    global n\n    n += 1\n"
                   "    return 'UP' if n == 157 else 'A'\n")  # fmt: skip
    shard = tmp_path / "datasets/tiny/a-84-v001.h5"
    words = ["label", "--game", str(settings.game), "--paths.datasets", str(tmp_path / "datasets")]
    words += ["--expert.path", str(path), "--label.workers", "1"]
    assert main([*words, "--expert.isolation", "trusted"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"error: {path}: asked again about step 139 of episode 1 of {shard}"
        + LINE.format("A", "UP")
    )
    assert [one.name for one in shard.parent.glob("*.h5")] == [shard.name]


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_program_with_a_cache_is_a_function_of_the_state(
    settings: Settings, tmp_path: Path, isolation: str
) -> None:
    expert = {"path": program(tmp_path, CACHES), "isolation": isolation}
    assert label.run(change(settings, expert=expert)).labels == 157


def test_a_program_that_keeps_a_memory_is_not_asked_offline(
    settings: Settings, tmp_path: Path
) -> None:
    expert = {"path": program(tmp_path, COUNTS), "isolation": "trusted", "memory": "episode"}
    shard = tmp_path / "datasets/tiny/a-84-v001.h5"
    with pytest.raises(PipelineError) as error:
        label.run(change(settings, expert=expert))
    assert str(error.value) == (
        f"{shard}: expert.memory is 'episode', so that what mine.py answers depends on what it saw "
        "before in the episode, and it cannot label steps offline; the labels of collect, for the "
        "steps that it played, remain; learn from these, or give a program whose act(state) is a "
        "function of the state"
    )
    with pytest.raises(PipelineError) as error:
        open_expert(
            change(settings, expert={"kind": "policy", "memory": "episode"}),
            load_game(settings.game),
        )
    assert str(error.value) == (
        "expert.memory: only a program may keep one, and expert.kind is 'policy'; leave it out"
    )


def test_few_states_are_asked_about_again() -> None:
    for count, again in ((0, 0), (5, 5), (100, 8), (1000, 20), (50_000, 32)):
        recheck = Recheck(np.arange(count))
        assert len(np.unique(recheck._chosen)) == again


def playing(folder: Path, text: str, **sections: Any) -> Settings:
    """Collecting on quest, in which A leaves the title and no button does harm."""
    paths = {"datasets": folder / "datasets", "checkpoints": folder / "checkpoints"}
    expert = {"path": program(folder, text), **sections.pop("expert", {})}
    play = {"episodes": 3, "max_steps": 12, "workers": 1, **sections.pop("collect", {})}
    return change(Settings(), paths=paths, expert=expert, collect=play)


def test_a_player_that_remembers_is_refused_by_its_episode(tmp_path: Path) -> None:
    with pytest.raises(PipelineError) as error:
        collect.run(playing(tmp_path, COUNTS))
    told = str(error.value)
    assert told.startswith(f"{tmp_path / 'mine.py'}: asked again about step ")
    assert " of the episode with seed " in told
    assert " (0 of 3 episodes are finished and kept)" in told
    assert not list(tmp_path.rglob("*.h5"))


def test_memory_is_kept_within_an_episode_and_told(tmp_path: Path) -> None:
    """Each game begins with the program as it is loaded."""
    told = collect.run(playing(tmp_path, COUNTS, expert={"memory": "episode"}))
    with Shard(told.shard) as shard:
        actor = shard.header.provenance["actor"]
        assert actor["expert"]["memory"] == "episode"
        names = shard.header.actions
        for index in range(3):
            episode = shard.episode(index, frames=False)
            pressed = [names[button] for button in episode.expert_actions.tolist()]
            assert pressed == ["B", "A"] * 6


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_memory_that_is_lost_in_mid_episode_is_a_failure(
    settings: Settings, tmp_path: Path, isolation: Isolation
) -> None:
    text = COUNTS.replace("    return", "    if n == 3: import os; os._exit(1)\n    return")
    path = program(tmp_path, text)
    with ProgramExpert(path, ("A", "B"), isolation=isolation, remembers=True) as expert:
        one = Questions({"x": np.zeros(1, np.int16)})
        assert [expert.answer(one).buttons[0] for _ in range(2)] == [1, 0]
        answers = expert.answer(one)
        assert answers.reasons == {
            0: "its process ended during the episode, and the program's memory with it"
        }
        expert.begin_episode()
        assert expert.answer(one).buttons[0] == 1
