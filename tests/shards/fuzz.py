"""Cases of damage: each a function of a number, tried in a guarded child."""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.shards.format.schema import STEP_COLUMNS
from pipeline.shards.reader import Shard
from pipeline.shards.repair.salvage import save
from pipeline.shards.repair.verify import examine
from pipeline.system.errors import PipelineError

Rng = np.random.Generator
_EPISODE_COLUMNS = (
    *("lengths", "starts", "seeds", "success", "splits", "returns", "milestones"),
    *("start_state_rows", "final_frames"),
)
_SECONDS = 5.0
"""Of the processor, for one case; most take a hundredth of one. What hangs dies of SIGPROF."""
_VERIFIED = 4
"""One case in so many is verified too, where the reader refuses it already."""
_SALVAGED = 8
"""One case in so many is salvaged too."""


def flipped_bits(data: bytearray, rng: Rng) -> None:
    for at in rng.integers(0, len(data), rng.choice([1, 1, 1, 2, 8])):
        data[at] ^= 1 << int(rng.integers(8))


def changed_bytes(data: bytearray, rng: Rng) -> None:
    for at in rng.integers(0, len(data), rng.choice([1, 1, 2, 8])):
        data[at] = int(rng.choice([0, 1, 127, 128, 255, int(rng.integers(256))]))


def changed_number(data: bytearray, rng: Rng) -> None:
    """One of the numbers that HDF5's structures are made of: an offset, a size, a count."""
    width = int(rng.choice([2, 4, 8]))
    at = int(rng.integers(len(data) // width)) * width
    old = int.from_bytes(data[at : at + width], "little")
    limit = (1 << 8 * width) - 1
    options = [0, 1, 8, 96, len(data), limit, limit // 2, old + 1, old * 2]
    new = options[int(rng.integers(len(options)))] & limit
    data[at : at + width] = new.to_bytes(width, "little")


def overwritten_run(data: bytearray, rng: Rng) -> None:
    at, size = _block(data, rng)
    data[at : at + size] = [bytes(size), b"\xff" * size, rng.bytes(size)][int(rng.integers(3))]


def swapped_blocks(data: bytearray, rng: Rng) -> None:
    (a, size), (b, _) = _block(data, rng), _block(data, rng)
    size = min(size, abs(a - b), len(data) - max(a, b))
    data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]


def duplicated_block(data: bytearray, rng: Rng) -> None:
    (a, size), (b, _) = _block(data, rng), _block(data, rng)
    size = min(size, len(data) - max(a, b))
    data[b : b + size] = data[a : a + size]


def cut_end(data: bytearray, rng: Rng) -> None:
    """Cut, and in half of the cases as long as before again: zeros, or the start of the file."""
    whole = bytes(data)
    del data[int(rng.integers(len(data))) :]
    missing = len(whole) - len(data)
    data.extend([b"", b"", bytes(missing), whole[:missing]][int(rng.integers(4))])


def moved_rest(data: bytearray, rng: Rng) -> None:
    """Bytes left out or put in: everything after them lies elsewhere."""
    at, size = _block(data, rng)
    if rng.integers(2):
        del data[at : at + size]
    else:
        data[at:at] = rng.bytes(size)


def _block(data: bytearray, rng: Rng) -> tuple[int, int]:
    size = int(rng.choice([8, 16, 64, 512, 4096]))
    return int(rng.integers(len(data) - size)) & (-8 if rng.integers(2) else -1), size


DAMAGES: tuple[Callable[[bytearray, Rng], None], ...] = (
    flipped_bits,
    changed_bytes,
    changed_number,
    overwritten_run,
    swapped_blocks,
    duplicated_block,
    cut_end,
    moved_rest,
)


def case_of(original: bytes, number: int) -> bytes:
    """The damaged file; the kinds of damage take turns."""
    data, rng = bytearray(original), np.random.default_rng(number)
    DAMAGES[number % len(DAMAGES)](data, rng)
    return bytes(data)


def try_cases(path: Path, *, first: int, stop: int) -> dict[str, int]:
    """Try some cases of damage to the shard ``path``; how often each allowed outcome came.

    Raises:
        AssertionError: an outcome that is not allowed; names the case.
    """
    folder = case_folder(path)
    folder.mkdir(exist_ok=True)
    outcomes: dict[str, int] = {}
    for number in range(first, stop):
        (folder / "number").write_text(str(number))  # for who finds this process dead
        signal.setitimer(signal.ITIMER_PROF, _SECONDS)  # its own time, however busy the machine
        damaged = folder / "a.h5"
        damaged.write_bytes(case_of(_original(path), number))
        outcome = _outcome(path, damaged, number)
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    return outcomes


def case_folder(path: Path) -> Path:
    """Where the files of the cases of a shard lie: the last one, and its ``number``."""
    return path.parent / f"cases-{path.stem}"


def _outcome(path: Path, damaged: Path, number: int) -> str:
    case = f"case {number} of {path.name} ({DAMAGES[number % len(DAMAGES)].__name__})"
    sound = _content(path)
    try:
        read: dict[str, Any] | None = content_of(damaged)
    except PipelineError as error:
        read, line = None, str(error)
    else:
        line = ""
    assert line.isprintable(), case
    checked = _verified(damaged) if read is not None or number % _VERIFIED == 0 else "refused"
    # Version 1 has no checksums where nothing is compressed: there it is verify that must see.
    assert read in (None, sound) or (path.name.startswith("v1") and checked != "ok"), case
    assert checked != "ok" or read == sound, case
    if checked == "ok":
        return "unharmed"
    if number // len(DAMAGES) % _SALVAGED == 0:
        return _salvaged(path, damaged, case)
    return checked


def _verified(path: Path) -> str:
    try:
        found = examine(path)
    except PipelineError:
        return "unreadable"
    return "damaged" if found["problems"] or found["hits"] else "ok"


def _salvaged(path: Path, damaged: Path, case: str) -> str:
    """Whatever is saved must be as it was: an episode of the original, by its root."""
    try:
        result = save(damaged, stem="saved")
    except PipelineError:
        return "refused by salvage"
    target = Path(result["shard"])
    try:
        with Shard(target) as shard:
            for index, root in enumerate(shard.roots):
                assert _episode_bytes(shard, index) == _episodes(path)[root], case
    finally:
        target.unlink()
    return "salvaged"


@functools.cache
def _original(path: Path) -> bytes:
    return path.read_bytes()


@functools.cache
def _content(path: Path) -> dict[str, Any]:
    return content_of(path)


@functools.cache
def _episodes(path: Path) -> dict[str, Any]:
    with Shard(path) as shard:
        return {root: _episode_bytes(shard, i) for i, root in enumerate(shard.roots)}


def content_of(path: Path) -> dict[str, Any]:
    """Everything that a shard gives, through every door that it has."""
    with Shard(path) as shard:
        ram = shard.ram_crc32()
        return {
            "header": shard.header,
            "roots": shard.roots,
            "start_states": shard.start_states(),
            "ram_crc32": None if ram is None else ram.tobytes(),
            "frames": shard.read_frames(0, shard.n_frames).tobytes(),
            **{name: shard.column(name).tobytes() for name in STEP_COLUMNS},
            **{f"labels/{name}": _numbers(v) for name, v in (shard.labels() or {}).items()},
            **{f"state/{name}": _numbers(shard.state(name)) for name in shard.state_names},
            **{name: _numbers(getattr(shard, name)) for name in _EPISODE_COLUMNS},
        }


def _episode_bytes(shard: Shard, index: int) -> list[Any]:
    found = vars(shard.episode(index))
    states = shard.start_states()
    start = found.pop("start_state")
    found["start"] = states[start] if states else start
    found |= {f"state {name}": values for name, values in found.pop("state").items()}
    found |= {f"labels {name}": values for name, values in (found.pop("labels") or {}).items()}
    return sorted((k, _numbers(v) if isinstance(v, np.ndarray) else v) for k, v in found.items())


def _numbers(values: Any) -> tuple[str, tuple[int, ...], bytes]:
    return values.dtype.str, values.shape, values.tobytes()
