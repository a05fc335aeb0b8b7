"""What each dataset means, in words that stock tools print: ``h5dump -A FILE`` reads as a manual.

Nothing here is read back, and nothing of it decides the identity of a shard.
"""

from __future__ import annotations

from typing import NamedTuple

import h5py

from pipeline.shards.format.attributes import write_text
from pipeline.shards.format.schema import LabelStatus

_STATUSES = ", ".join(f"{one.value} {one.name.lower().replace('_', ' ')}" for one in LabelStatus)


_ASIDE = "aside"


class Described(NamedTuple):
    """The attributes ``description`` and ``unit``; no unit where there is none."""

    text: str
    unit: str = ""


_BUTTON, _RGB = "index into the attribute 'actions' of /", "RGB, 0-255"

ROOT = Described(
    "Episodes of one game, frame by frame: what the player saw, which button was pressed, and "
    "which one the expert would have pressed. N steps in order, E episodes one after another, M "
    "milestones. Row i of each dataset of N rows is step i."
)

DESCRIBED: dict[str, Described] = {
    "frames": Described("(N,H,W,3) the screen that the player saw before each step", _RGB),
    "actions": Described("(N,) the button that was pressed", _BUTTON),
    "expert_actions": Described(
        "(N,) the right button, by the expert; 255 where there is none",
        _BUTTON,
    ),
    "label_status": Described(f"(N,) what became of the question to the expert: {_STATUSES}"),
    "rewards": Described("(N,) reward after each step", "points, as game.yaml counts them"),
    "terminated": Described("(N,) the episode ended by itself with this step"),
    "truncated": Described("(N,) the step was the last one allowed of its episode"),
    "ram_crc32": Described("(N,) CRC32 of the console's RAM before each step, to check a replay"),
    "episodes": Described(
        "(E,) a row an episode. start, length: its steps. seed: of the game. return: sum of the "
        "rewards. success: the game was won. split: 0 train, 1 validation. milestones: the step "
        "after which each was reached, or -1. start_state: row of /start_states (in a processed "
        "shard: of its parent's). root: the game id (game, start, seed), which decides the split. "
        "recording: the recording that it descends from, which its copies share"
    ),
    "final_frames": Described("(E,H,W,3) the screen after the last step of each episode", _RGB),
    "labels": Described("Who gave each label, why there is none, and what it cost"),
    "labels/expert": Described(
        "(N,) id of the expert that was asked, a key of 'experts' in the provenance; empty where "
        "none was, or nobody knows which"
    ),
    "labels/reason": Described("(N,) why there is no label; empty where there is nothing to say"),
    "labels/attempt": Described("(N,) how often the question was put", "times"),
    "labels/time": Described(
        "(N,) when the answer came; NaN where there is none", "seconds since 1970-01-01 UTC"
    ),
    "labels/input_tokens": Described("(N,) what the model read for the label", "tokens"),
    "labels/output_tokens": Described("(N,) what the model wrote for the label", "tokens"),
    "labels/dollars": Described("(N,) what the label cost", "US dollars"),
    "labels/score": Described(
        "(N,) how unsure or new the step was that it was chosen to be asked; NaN where by no score"
    ),
    "state": Described("Variables in the console's RAM, by their names in game.yaml"),
    "start_states": Described(
        "(S,L) save states of the emulator from which episodes begin; row i ends after lengths[i]",
        "bytes",
    ),
    "checksums": Described("What the writer noted of each dataset; 'data verify' compares it"),
    "checksums/datasets": Described(
        "(D,) a row a dataset. sha256: of the chunks' sha256, before compression. stored_sha256: "
        "of the stored bytes. first, chunks: its rows of /checksums/chunks"
    ),
    "checksums/chunks": Described(
        "(C,) CRC32 of the stored bytes of each chunk of each dataset (of /episodes: of each row)"
    ),
}
"""By the path without the leading slash, in the order in which a file lists them."""


def describe(file: h5py.File) -> None:
    """Say of everything in a file what it is, and put it in the order of DESCRIBED.

    h5py and ``h5dump -q creation_order`` list it so; ``h5ls`` sorts by name.
    """
    _note(file, ROOT)
    for path, said in DESCRIBED.items():
        if path in file:
            _note(file[path], said)
            file.move(path, _ASIDE)  # and back: last of its group by the order of creation
            file.move(_ASIDE, path)
    for name, variable in file["state"].items():
        _note(variable, Described(f"(N,...) the variable '{name}' before each step"))


def _note(item: h5py.Group | h5py.Dataset, said: Described) -> None:
    if "description" in item.attrs:
        return
    write_text(item, "description", said.text)
    if said.unit:
        write_text(item, "unit", said.unit)
