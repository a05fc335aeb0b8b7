"""Recordings of other tools that are not what they seem: refused, or warned of, in one line."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.exchange.npz_arrays import Console, read_npz
from pipeline.shards.format.remarks import Remarks
from pipeline.system.errors import PipelineError
from tests.shards.factory import make_header

HEADER = make_header()
GBA = Console("Game Boy Advance", 160, 240)
GB = Console("Game Boy", 144, 160)
EXCHANGED = "height and width are exchanged, a"


def arrays(steps: int = 6, seed: int = 0, shape: tuple[int, ...] = (84, 84, 3)) -> dict[str, Any]:
    rng = np.random.default_rng([seed, steps])
    return {
        "observations": rng.integers(0, 256, (steps, *shape), np.uint8),
        "actions": np.arange(steps) % 4,
        "rewards": np.zeros(steps, np.float32),
        "dones": np.arange(steps) == steps - 1,
    }


def save(path: Path, **content: Any) -> Path:
    np.savez(path, **content)
    return path


def seen(*shape: int) -> dict[str, Any]:
    return {"observations": np.full((6, *shape), 9, np.uint8)}


REFUSED: dict[str, tuple[Console, dict[str, Any], str]] = {
    "exchanged": (
        GBA,
        seen(240, 160, 3),
        f"frames of 240x160 (height x width): {EXCHANGED} Game Boy Advance shows 160x240",
    ),
    "exchanged, channels first": (
        GBA,
        seen(3, 240, 160),
        f"frames of 240x160 (height x width): {EXCHANGED} Game Boy Advance shows 160x240",
    ),
    "exchanged and halved": (
        GBA,
        seen(120, 80, 3),
        f"frames of 120x80 (height x width): {EXCHANGED} Game Boy Advance shows 160x240",
    ),
    "exchanged, of a Game Boy": (
        GB,
        seen(160, 144, 3),
        f"frames of 160x144 (height x width): {EXCHANGED} Game Boy shows 144x160",
    ),
    "exchanged, of a Game Boy, for another game": (
        GBA,
        seen(160, 144, 3),
        f"frames of 160x144 (height x width): {EXCHANGED} Game Boy shows 144x160",
    ),
    "another console": (
        GBA,
        seen(144, 160, 3),
        "frames of 144x160 (height x width) are those of a Game Boy, but a Game Boy Advance shows "
        "160x240",
    ),
    "another console, the other way": (
        GB,
        seen(160, 240, 3),
        "frames of 160x240 (height x width) are those of a Game Boy Advance, but a Game Boy shows "
        "144x160",
    ),
    "no frames": (
        GBA,
        {"observations": np.zeros((0, 84, 84, 3), np.float32)},
        "observations are (0, 84, 84, 3), so there are no pixels",
    ),
    "no rows": (
        GBA,
        {"observations": np.zeros((6, 0, 84, 3), np.float32)},
        "observations are (6, 0, 84, 3), so there are no pixels",
    ),
    "no pixels": (
        GBA,
        {"observations": np.zeros((6, 0, 0, 3), np.uint8)},
        "observations are (6, 0, 0, 3), so there are no pixels",
    ),
    "no width, channels first": (
        GBA,
        {"observations": np.zeros((6, 3, 84, 0), np.uint8)},
        "observations are (6, 3, 84, 0), so there are no pixels",
    ),
    "greyscale": (
        GBA,
        seen(160, 240),
        "observations are (6, 160, 240), not (T,H,W,3) or (T,3,H,W); of greyscale, give each pixel "
        "three times",
    ),
    "greyscale with a channel": (
        GBA,
        seen(160, 240, 1),
        "observations are (6, 160, 240, 1), not (T,H,W,3) or (T,3,H,W); of greyscale, give each "
        "pixel three times",
    ),
    "RGBA": (
        GBA,
        seen(160, 240, 4),
        "observations are (6, 160, 240, 4), not (T,H,W,3) or (T,3,H,W); of RGBA, leave out the "
        "fourth channel",
    ),
    "four frames stacked": (
        GBA,
        seen(160, 240, 12),
        "observations are (6, 160, 240, 12), not (T,H,W,3) or (T,3,H,W)",
    ),
    "float 0..255": (
        GBA,
        {"observations": np.full((6, 84, 84, 3), 200.0)},
        "float observations from 200 to 200, not in 0..1; store colours of 0..255 as uint8",
    ),
    "float -1..1": (
        GBA,
        {"observations": np.full((6, 84, 84, 3), -1.0)},
        "float observations from -1 to -1, not in 0..1",
    ),
    "float NaN": (
        GBA,
        {"observations": np.full((6, 84, 84, 3), np.nan)},
        "float observations from nan to nan, not in 0..1",
    ),
    "int32 frames": (
        GBA,
        {"observations": np.ones((6, 84, 84, 3), np.int32)},
        "observations are int32, not uint8 or float in 0..1",
    ),
    "boolean frames": (
        GBA,
        {"observations": np.ones((6, 84, 84, 3), np.bool_)},
        "observations are bool, not uint8 or float in 0..1",
    ),
    "reward NaN": (
        GBA,
        {"rewards": np.array([0, 0, np.nan, 0, 0, 0])},
        "rewards are not finite numbers: nan at step 2",
    ),
    "reward infinite": (
        GBA,
        {"rewards": np.array([0, -np.inf, 0, 0, 0, 0], np.float32)},
        "rewards are not finite numbers: -inf at step 1",
    ),
    "reward beyond float32": (
        GBA,
        {"rewards": np.array([0, 0, 0, 0, 0, 1e39])},
        "reward 1e+39 at step 5 is beyond what float32 can hold",
    ),
    "reward just beyond float32": (
        GBA,
        {"rewards": np.array([0, 0, 0, -3.4028236e38, 0, 0])},
        "reward -3.40282e+38 at step 3 is beyond what float32 can hold",
    ),
    "rewards that add up": (
        GBA,
        {"rewards": np.full(6, 3e38)},
        "rewards add up to 1.8e+39, beyond what float32 can hold",
    ),
    "complex rewards": (
        GBA,
        {"rewards": np.zeros(6, complex)},
        "rewards are complex128, not numbers",
    ),
    "rewards as text": (GBA, {"rewards": np.array(["1"] * 6)}, "rewards are <U1, not numbers"),
    "done twice over": (
        GBA,
        {"dones": np.array([0, 0, 0, 0, 0, 2])},
        "dones hold 2 at step 5, not 0 or 1",
    ),
    "done by halves": (
        GBA,
        {"dones": np.array([0, 0.5, 0, 0, 0, 1])},
        "dones hold 0.5 at step 1, not 0 or 1",
    ),
    "done NaN": (
        GBA,
        {"dones": np.array([0, 0, 0, 0, 0, np.nan])},
        "dones hold nan at step 5, not 0 or 1",
    ),
    "done minus one": (
        GBA,
        {"dones": np.array([0, 0, 0, 0, 0, -1])},
        "dones hold -1 at step 5, not 0 or 1",
    ),
    "done in the middle": (
        GBA,
        {"dones": np.array([0, 0, 1, 0, 0, 1])},
        "done at step 2 of 6; give one episode a file",
    ),
    "one-hot": (
        GBA,
        {"actions": np.eye(6, 10)},
        "expected (T,) each, found actions (6, 10), rewards (6,), dones (6,); make indices of "
        "one-hot actions with .argmax(1)",
    ),
    "float actions": (GBA, {"actions": np.zeros(6)}, "actions are float64, not integers"),
    "boolean actions": (GBA, {"actions": np.zeros(6, bool)}, "actions are bool, not integers"),
    "negative action": (
        GBA,
        {"actions": np.array([0, 0, 0, -1, 0, 0], np.int8)},
        "action -1 at step 3, but there are 4: A B UP DOWN",
    ),
    "action too large": (
        GBA,
        {"actions": np.array([2**63] * 6, np.uint64)},
        "action 9223372036854775808 at step 0, but there are 4: A B UP DOWN",
    ),
    "ragged": (
        GBA,
        {"rewards": np.zeros(5)},
        "expected (T,) each, found actions (6,), rewards (5,), dones (6,)",
    ),
    "a scalar": (
        GBA,
        {"dones": np.array(1)},
        "expected (T,) each, found actions (6,), rewards (6,), dones ()",
    ),
    "Python objects": (
        GBA,
        {"actions": np.array([{}] * 6)},
        "holds Python objects or damaged arrays, not plain numbers",
    ),
    "a structure": (
        GBA,
        {"rewards": np.zeros(6, [("a", "f4")])},
        "rewards are [('a', '<f4')], not numbers",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_an_episode_is_refused(tmp_path: Path, case: str) -> None:
    console, change, what = REFUSED[case]
    path = save(tmp_path / "e.npz", **arrays() | change)
    with pytest.raises(PipelineError) as error:
        read_npz(path, HEADER, console=console)
    assert str(error.value) == f"{path}: not an episode to import: {what}"


REMARKED: dict[str, tuple[dict[str, Any], str]] = {
    "only 0 and 1": (
        {"observations": np.arange(6 * 84 * 84 * 3).reshape(6, 84, 84, 3).astype(np.uint8) % 2},
        "warning: {}: the brightest colour of its frames is 1 of 255; were they scaled to 0..1 "
        "before they became uint8?",
    ),
    "only 0": (
        {"observations": np.zeros((6, 84, 84, 3), np.uint8)},
        "warning: {}: the brightest colour of its frames is 0 of 255; were they scaled to 0..1 "
        "before they became uint8?",
    ),
    "float 0..1": (
        {"observations": np.full((6, 84, 84, 3), 0.5)},
        "note: {}: float frames in 0..1, taken as colours of 0..255 divided by 255",
    ),
    "another size": (
        seen(96, 96, 3),
        "warning: {}: frames of 96x96 (height x width), but a Game Boy Advance shows 160x240; they "
        "are taken as resized before",
    ),
    "never done": (
        {"dones": np.zeros(6, bool)},
        "warning: {}: no step is done, so the episode counts as truncated",
    ),
    "more arrays": (
        {"infos": np.zeros(6), "episode_id": np.zeros(1)},
        "warning: {}: left out, as a shard has no place for it: episode_id, infos",
    ),
}


@pytest.mark.parametrize("case", REMARKED)
def test_what_is_odd_is_taken_and_said(tmp_path: Path, case: str) -> None:
    change, line = REMARKED[case]
    path = save(tmp_path / "e.npz", **arrays() | change)
    remarks = Remarks()
    assert len(read_npz(path, HEADER, console=GBA, remarks=remarks)) == 6
    assert remarks.lines() == [line.format(path)]


@pytest.mark.parametrize("shape", [(84, 84, 3), (160, 240, 3), (3, 160, 240), (3, 84, 84)])
def test_of_what_is_usual_nothing_is_said(tmp_path: Path, shape: tuple[int, ...]) -> None:
    remarks = Remarks()
    path = save(tmp_path / "e.npz", **arrays(shape=shape))
    read_npz(path, HEADER, console=GBA, remarks=remarks)
    assert remarks.lines() == []


def test_a_remark_about_many_files_is_one_line(tmp_path: Path) -> None:
    remarks = Remarks()
    for name in ("a", "b", "c"):
        path = save(tmp_path / f"{name}.npz", **arrays() | {"dones": np.zeros(6)})
        read_npz(path, HEADER, console=GBA, remarks=remarks)
    assert remarks.lines() == [
        f"warning: {tmp_path}/a.npz and 2 more: no step is done, so the episode counts as truncated"
    ]


@pytest.mark.parametrize(
    ("names", "hint"),
    [
        (
            {"observations": "obs", "actions": "acts", "rewards": "rew", "dones": "terminals"},
            "no observations, actions, rewards, dones; the file has obs, acts, rew, terminals; "
            "rename obs to observations, acts to actions, rew to rewards, terminals to dones",
        ),
        (
            {"dones": "done"},
            "no dones; the file has observations, actions, rewards, done; rename done to dones",
        ),
        (
            {"observations": "Observation"},
            "no observations; the file has Observation, actions, rewards, dones; rename "
            "Observation to observations",
        ),
        ({"dones": "zebra"}, "no dones; the file has observations, actions, rewards, zebra"),
    ],
)
def test_an_array_of_another_name_is_recognised(
    tmp_path: Path, names: dict[str, str], hint: str
) -> None:
    content = {names.get(name, name): values for name, values in arrays().items()}
    path = save(tmp_path / "e.npz", **content)
    with pytest.raises(PipelineError) as error:
        read_npz(path, HEADER)
    assert str(error.value) == f"{path}: not an episode to import: {hint}"


def test_a_file_that_unpacks_to_more_than_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "e.npz", **arrays())
    sizes = {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": 1000}
    monkeypatch.setattr("os.sysconf", sizes.__getitem__)
    with pytest.raises(PipelineError) as error:
        read_npz(path, HEADER)
    assert str(error.value) == (
        f"{path}: not an episode to import: unpacks to 0.0 GiB, more than this machine's memory; "
        "cut it into shorter episodes"
    )


@pytest.mark.parametrize("shape", ["(6, 84, 84, 1000000000)", "(99999999, 84, 84, 3)"])
def test_an_array_that_claims_more_than_it_has_is_refused(tmp_path: Path, shape: str) -> None:
    path, rest = tmp_path / "e.npz", arrays()
    rest.pop("observations")
    save(path, **rest)
    array = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        array,
        {"descr": "|u1", "fortran_order": False, "shape": tuple(map(int, shape[1:-1].split(",")))},
    )
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("observations.npy", array.getvalue())
    with pytest.raises(PipelineError) as error:
        read_npz(path, HEADER)
    assert str(error.value) in (
        f"{path}: not an episode to import: holds Python objects or damaged arrays, not plain "
        "numbers",
        f"{path}: not an episode to import: needs more memory than there is; cut it into shorter "
        "episodes",
    )
