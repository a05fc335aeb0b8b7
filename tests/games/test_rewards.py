"""A reward that a shard could not hold is refused where it is written: in game.yaml."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.games.loading import load_game
from pipeline.system.errors import PipelineError

GAME = """format: 1
name: bare
title: BARE
platform: gba
rom: {sha1: "0000000000000000000000000000000000000000"}
timing: {hold: 1, release: 0}
max_steps: 1
variables: {x: {address: 0x02000000, type: u8}}
success: "x"
reward:
  step: 0.0
"""


def write(folder: Path, reward: str) -> Path:
    (folder / "game.yaml").write_text(GAME + f"  {reward}\n")
    return folder


@pytest.mark.parametrize("key", ["milestone", "success", "failure"])
@pytest.mark.parametrize(
    ("written", "found"),
    [
        (".inf", "inf"),
        ("-.inf", "-inf"),
        (".nan", "nan"),
        ("1.0e+39", "1e+39"),
        ("3.0e+38", "3e+38"),  # float32 holds it, but not the sum of two
    ],
)
def test_a_reward_that_a_shard_cannot_hold_is_refused(
    tmp_path: Path, key: str, written: str, found: str
) -> None:
    with pytest.raises(PipelineError) as error:
        load_game(write(tmp_path, f"{key}: {written}"))
    assert str(error.value) == (
        f"{tmp_path}/game.yaml, line 12: reward.{key}: expected a number from -1e+20 to 1e+20, "
        f"found {found}"
    )


def test_the_largest_reward_adds_up_for_the_longest_game(tmp_path: Path) -> None:
    largest = load_game(write(tmp_path, "success: 1.0e+20")).reward.success
    assert np.isfinite(np.float32(largest * 5 * 10**9))
