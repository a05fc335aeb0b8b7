"""A small world whose fingerprints are asked for; see `tests.test_marks`."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

from pipeline import collect, evaluate
from pipeline.experts import opening
from pipeline.experts.program import ProgramExpert
from pipeline.games import parsing
from pipeline.games.description import GameDescription
from pipeline.games.loading import load_game
from pipeline.games.subtask import subtask_in
from pipeline.labelling import plan as labelling_plan
from pipeline.labelling.work import labelling_of
from pipeline.preprocessing.plan import planned
from pipeline.settings.reading import Settings
from pipeline.shards.format.schema import canonical_json
from pipeline.shards.reader import Shard
from pipeline.training.checkpoint import Checkpoint, save_checkpoint
from pipeline.training.run_folder import inputs_of
from tests.changed import change
from tests.loading import made
from tests.shards.factory import raw_shard
from tests.training.test_checkpoint import checkpoint

QUEST = Path(__file__).parent.parent / "pipeline/games/quest"
STAGES = ("collect", "evaluate", "preprocess", "reread_state", "label", "train")
Patch = pytest.MonkeyPatch


@dataclass
class World:
    """A game, its shards, its experts and its networks in a folder, and the settings for them."""

    folder: Path
    settings: Settings

    def change(self, **sections: Any) -> None:
        """Sections, the subtask, or settings that stand in no section."""
        single = {k: v for k, v in sections.items() if not isinstance(v, (dict, tuple))}
        rest = {k: v for k, v in sections.items() if k not in single}
        self.settings = change(self.settings, **rest).model_copy(update=single)

    def edit_game(self, before: str, after: str) -> None:
        path = self.folder / "quest/game.yaml"
        assert path.read_text().count(before) == 1
        path.write_text(path.read_text().replace(before, after))

    def mark(self, stage: str, patch: Patch) -> str:
        """What the stage's result depends on with these settings and files, as the stage says."""
        with patch.context() as local:
            # What decides is known before a program runs.
            local.setattr(ProgramExpert, "__enter__", lambda self: self)
            parse = parsing.parse_game
            local.setattr(
                parsing, "parse_game", lambda path: _parsed(parse, path, path.read_text())
            )
            mark: str = getattr(self, f"_{stage}")(local)
            return mark

    def _collect(self, patch: Patch) -> str:
        return _told_by(patch, collect, "record", lambda player, seeds, header, *_: header)(
            collect.run, self.settings
        )

    def _evaluate(self, patch: Patch) -> str:
        patch.setattr(evaluate, "refuse_trained_seeds", lambda *_: None)
        return _told_by(patch, evaluate, "read_report", lambda _, mark: mark)(
            evaluate.run, self.settings
        )

    def _preprocess(self, _: Patch) -> str:
        settings = self.settings
        game = load_game(settings.game)
        sources, options = [Path(one) for one in settings.preprocess.shards], settings.preprocess
        folder = self.folder / "made"
        stems = [(source, source.stem) for source in sources]
        (plan,) = planned(stems, folder, options, game, subtask_in(settings, game))
        return plan.mark

    def _reread_state(self, patch: Patch) -> str:
        before = self.settings
        self.change(preprocess={"reread_state": True})
        mark = self._preprocess(patch)
        self.settings = before
        return mark

    def _label(self, _: Patch) -> str:
        settings = self.settings
        work = labelling_of(settings)
        source = Path(settings.label.shards[0])
        with opening.open_expert(work.task.expert, work.task.game) as expert:
            return labelling_plan.planned(source, work, expert).mark

    def _train(self, _: Patch) -> str:
        settings, train = self.settings, self.settings.train
        whole = settings.milestone is settings.from_ is settings.to is None
        subtask = None if whole else subtask_in(settings, load_game(settings.game))
        headers = []
        for path in train.shards:
            with Shard(Path(path)) as shard:
                headers.append(shard.header)
        return canonical_json(inputs_of(train, headers, train.precision, subtask))


class _Told(Exception):
    """The header or the mark that a stage was about to use."""


def _told_by(
    patch: Patch, module: Any, name: str, what: Callable[..., Any]
) -> Callable[[Callable[[Settings], object], Settings], str]:
    def stop(*args: Any, **_: Any) -> NoReturn:
        raise _Told(what(*args))

    def call(run: Callable[[Settings], object], settings: Settings) -> str:
        patch.setattr(module, name, stop)
        with pytest.raises(_Told) as caught:
            run(settings)
        told = caught.value.args[0]
        return told if isinstance(told, str) else str(told.provenance["fingerprint"])

    return call


def network(path: Path, push: int = 0, **changes: Any) -> Path:
    """A checkpoint for quest; the button that is pushed says which."""
    quest = load_game("quest")
    fits: dict[str, Any] = {
        "game": "quest",
        "rom_sha1": quest.rom_sha1,
        "actions": quest.buttons,
        "timing": quest.timing.contract,
        **changes,
    }
    kept: Checkpoint = checkpoint(**fits)
    kept.weights["head.bias"][push] += 1
    save_checkpoint(path, kept)
    return path


def make_world(folder: Path) -> Path:
    """Write the game, its shards and its networks."""
    shutil.copytree(QUEST, folder / "quest", ignore=shutil.ignore_patterns("source"))
    path = folder / "quest/game.yaml"
    text = path.read_text()
    first = "  power_on: {frames: 60}\n"
    path.write_text(text.replace(first, f"{first}  b: {{frames: 61}}\n"))
    quest = load_game("quest")
    of_quest: dict[str, Any] = {
        "game": "quest",
        "rom_sha1": quest.rom_sha1,
        "actions": quest.buttons,
        "timing": quest.timing.contract,
        "milestones": tuple(one.name for one in quest.milestones),
    }
    for name in ("a", "b"):
        told = {"stage": "collect", "fingerprint": name, "game_yaml": text}
        raw_shard(folder / f"{name}-raw-v001.h5", (3,), provenance=told)
        steps = (4,) if name == "a" else (5,)
        reached = ((-1,) * len(quest.milestones),)
        made.shard(folder / f"{name}-84-v001.h5", steps, reached=reached, **of_quest)
    for number, name in enumerate(("a", "b", "c", "d")):
        network(folder / f"{name}.pt", number)
    return folder


@functools.cache
def _parsed(parse: Callable[[Path], GameDescription], path: Path, _text: str) -> GameDescription:
    """Each text is read once."""
    return parse(path)


def tree(folder: Path, shards: Path) -> dict[str, Any]:
    """Settings with which every stage reads something of the world, and the shards of another."""
    return {
        "game": str(folder / "quest"),
        "paths": {"datasets": str(folder / "d"), "checkpoints": str(folder / "c")},
        "expert": {"path": str(folder / "quest/expert.py")},
        "collect": {"policy": str(folder / "a.pt"), "beta": 0.5},
        "evaluate": {"checkpoint": str(folder / "a.pt")},
        "preprocess": {"shards": [str(shards / "a-raw-v001.h5")]},
        "label": {
            "shards": [str(shards / "a-84-v001.h5")],
            "select": "disagree",
            "limit": 2,
            "student": str(folder / "a.pt"),
        },
        "train": {"shards": [str(shards / "a-84-v001.h5")], "start_from": str(folder / "a.pt")},
    }
