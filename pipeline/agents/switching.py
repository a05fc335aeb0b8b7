"""A switching policy: a network for each milestone, playing while its milestone is next."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.agents.network import NetworkActor
from pipeline.agents.protocol import Choice, Turn
from pipeline.games.description import GameDescription
from pipeline.games.subtask import known_milestone
from pipeline.settings.expert_fields import PlayMode
from pipeline.shards.format.frames import Frames
from pipeline.system.errors import PipelineError
from pipeline.system.files import replace_file
from pipeline.training.checkpoint import SWITCHING_SUFFIX

FORMAT = "pokemon-il switching policy"
OLD_FORMAT = "pokemon-il relay"
"""What files say that were written when it was called so."""

VERSION = 1


@dataclass(frozen=True)
class SwitchingPolicy:
    """The checkpoints of a game's milestones, one after the other."""

    path: Path
    checkpoints: dict[str, Path]
    """By milestone, in the game's order; none between the first and the last is left out."""
    first: int
    """Number of the first milestone among the game's."""

    def checkpoint_for(self, goal: int) -> Path:
        """Who plays while milestone ``goal`` is next.

        Before the first milestone that has a network, it is the network of that one; after the last
        one, the last network.
        """
        return list(self.checkpoints.values())[
            min(max(goal - self.first, 0), len(self.checkpoints) - 1)
        ]


def is_switching(path: Path) -> bool:
    """Whether a policy's file is a switching policy, by its name."""
    return Path(path).suffix == SWITCHING_SUFFIX


def write_switching_policy(path: Path, checkpoints: Mapping[str, Path]) -> None:
    """Write a switching policy, whole or not at all; the same switching policy is the same bytes.

    Args:
        path: ends in ``.json``.
        checkpoints: by milestone; they are named by their path from the switching policy's folder.

    Raises:
        PipelineError: the disk refuses.
    """
    if not is_switching(path):
        raise ValueError(f"{path}: a switching policy's name ends in {SWITCHING_SUFFIX}")
    folder = os.path.abspath(path.parent)
    named = {
        milestone: Path(os.path.relpath(os.path.abspath(one), folder)).as_posix()
        for milestone, one in checkpoints.items()
    }
    content = {"format": FORMAT, "version": VERSION, "checkpoints": named}
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    replace_file(path, text.encode(), "switching policy")


def read_switching_policy(path: Path) -> dict[str, Path]:
    """The checkpoint of each milestone, in the order of the file.

    Raises:
        PipelineError: no such file, foreign, written by a newer pipeline, or a checkpoint is gone.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise PipelineError(f"{path}: no such switching policy; run the curriculum first") from None
    except OSError as error:
        raise PipelineError(
            f"{path}: cannot read the switching policy ({os.strerror(error.errno or 0)}); fix that"
        ) from None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or content.get("format") not in (FORMAT, OLD_FORMAT):
        raise PipelineError(
            f"{path}: no switching policy of this pipeline; give a checkpoint, or a switching "
            "policy that curriculum "
            "wrote"
        )
    version, named = content.get("version"), content.get("checkpoints")
    if type(version) is not int or version > VERSION:
        raise PipelineError(
            f"{path}: switching policy version {version}, but this pipeline reads up to version "
            f"{VERSION}; "
            "update the pipeline"
        )
    if (
        not isinstance(named, dict)
        or not named
        or not all(isinstance(one, str) and "\0" not in one for one in named.values())
    ):
        raise PipelineError(
            f"{path}: 'checkpoints' must name a file for each milestone; write it anew with "
            "curriculum"
        )
    found = {milestone: path.parent / one for milestone, one in named.items()}
    for milestone, checkpoint in found.items():
        if not checkpoint.is_file():
            raise PipelineError(
                f"{path}: its checkpoint for '{milestone}' is gone ({checkpoint}); put it back, "
                "or run the curriculum again"
            )
    return found


def load_switching_policy(path: Path, game: GameDescription) -> SwitchingPolicy:
    """A switching policy for a game; it may cover a part of the game's milestones.

    Raises:
        PipelineError: what :func:`read_switching_policy` raises, a milestone that the game does
            not have, or
            one between two of them that it leaves out.
    """
    path, found = Path(path), read_switching_policy(path)
    for milestone in found:
        try:
            known_milestone(game, milestone)
        except PipelineError as error:
            raise PipelineError(f"{path}: {error}") from None
    names = [one.name for one in game.milestones]
    places = sorted(names.index(milestone) for milestone in found)
    run = names[places[0] : places[-1] + 1]
    missing = [name for name in run if name not in found]
    if missing:
        raise PipelineError(
            f"{path}: names no checkpoint for the milestone '{missing[0]}', though for others "
            "before and after it; add one, or run the curriculum again"
        )
    return SwitchingPolicy(path, {name: found[name] for name in run}, places[0])


class SwitchingActor:
    """Plays with a switching policy: the network answers whose milestone is the game's next one.

    What it answers to a frame does not depend on the other games (see `NetworkActor`). A file that
    plays for several milestones is loaded once.

    Args:
        path: the switching policy's file.
        game: what is to be played.
        mode, device: as `NetworkActor` takes them.

    Raises:
        PipelineError: the switching policy or one of its checkpoints cannot be read, or does not
            fit.
    """

    def __init__(
        self,
        path: Path,
        game: GameDescription,
        *,
        mode: PlayMode = "argmax",
        device: str = "cpu",
    ) -> None:
        self.switching = load_switching_policy(path, game)
        self.actors = {
            checkpoint: NetworkActor(checkpoint, game, mode=mode, device=device)
            for checkpoint in distinct(self.switching.checkpoints)
        }

    def act(self, frames: Frames, turns: Sequence[Turn]) -> list[Choice]:
        """One choice for each of B games, as `NetworkActor` takes and gives them."""
        asked = [self.switching.checkpoint_for(turn.goal).resolve() for turn in turns]
        choices: dict[int, Choice] = {}
        for checkpoint in dict.fromkeys(asked):
            rows = [i for i, one in enumerate(asked) if one == checkpoint]
            theirs = [
                replace(turns[i], memory=turns[i].memory.setdefault(str(checkpoint), {}))
                for i in rows
            ]
            chosen = self.actors[checkpoint].act(frames[rows], theirs)
            choices.update(zip(rows, chosen, strict=True))
        return [choices[i] for i in range(len(turns))]


def distinct(checkpoints: Mapping[str, Path]) -> list[Path]:
    """The files of a switching policy, each once, in its order."""
    return list(dict.fromkeys(one.resolve() for one in checkpoints.values()))
