"""Seeds of episodes: every episode of every purpose gets a game of its own."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Purpose = Literal["collect", "select", "evaluate"]

_CODES: dict[str, int] = {"collect": 1, "select": 2, "evaluate": 3}
_LOW_BITS = 30
_MASK = (1 << _LOW_BITS) - 1


def purpose_of(seed: int) -> Purpose | None:
    """What an episode with this seed was played for; None of a seed that is of no purpose."""
    codes: dict[int, Purpose] = {1: "collect", 2: "select", 3: "evaluate"}
    return codes.get(seed >> _LOW_BITS)


def episode_seeds(purpose: Purpose, base: int, count: int, first: int = 0) -> NDArray[np.uint32]:
    """Seeds of the episodes ``first`` .. ``first + count - 1``, (count,) u32.

    The two top bits are the purpose, so the games that a policy learns from ("collect"), is chosen
    by ("select") and is judged by ("evaluate") are disjoint by construction; no seed is 0. The low
    30 bits are a bijection of (index + an offset drawn from ``base``): one base never repeats a
    seed, and two bases share some only where their ranges happen to overlap.

    Raises:
        ValueError: an unknown purpose, or more than 2**30 episodes.
    """
    if purpose not in _CODES:
        raise ValueError(f"unknown purpose {purpose!r}; one of {', '.join(_CODES)}")
    if first < 0 or count < 0 or first + count > _MASK + 1:
        raise ValueError(f"episodes {first}..{first + count} are beyond the 2**30 seeds of a base")
    offset = int(np.random.SeedSequence(base).generate_state(1, np.uint32)[0])
    low = (np.arange(first, first + count, dtype=np.uint64) + np.uint64(offset)) & np.uint64(_MASK)
    for factor in (0x2545F491, 0x1B873593):  # odd: invertible modulo 2**30, as is the shift
        low = (low * np.uint64(factor)) & np.uint64(_MASK)
        low ^= low >> np.uint64(15)
    seeds: NDArray[np.uint32] = (low | np.uint64(_CODES[purpose] << _LOW_BITS)).astype(np.uint32)
    return seeds
