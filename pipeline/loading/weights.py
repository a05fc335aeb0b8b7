"""How much each sample counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.shards.format.schema import NO_ACTION
from pipeline.system.errors import PipelineError

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Weights:
    """Factors of a sample's weight; what is not named has factor 1.

    The weights are scaled to a mean of 1 over the dataset, so that the learning rate keeps
    its meaning.
    """

    by_action: Mapping[str, float] = field(default_factory=dict)
    """Button name -> factor."""
    balance: float = 0.0
    """0 leaves the classes as they are, 1 gives each button the same sum: factor
    (share of the button) ** -balance."""
    by_round: Mapping[int, float] = field(default_factory=dict)
    """DAgger round -> factor."""
    by_shard: Mapping[str, float] = field(default_factory=dict)
    """File name of a shard -> factor."""

    def resolve(
        self,
        actions: Sequence[str],
        paths: Sequence[Path],
        rounds: Sequence[Sequence[int | None]],
        buttons: NDArray[np.uint8],
        shards: Indices,
    ) -> ResolvedWeights:
        """The factors as tables.

        Args:
            actions: names of the A buttons.
            paths: of the S shards.
            rounds: (S,) those of each shard's episodes; None stands for none.
            buttons: (C,chunk_rows) the buttons of all rows, NO_ACTION where not chosen.
            shards: (C,) the shard of each chunk.

        Raises:
            PipelineError: a button, round or shard that is not there, or a factor below 0.
        """
        names = [path.name for path in paths]
        self._check("button", self.by_action, actions)
        self._check("round", self.by_round, [n for one in rounds for n in one if n is not None])
        self._check("shard", self.by_shard, names)
        counts = np.zeros((len(paths), len(actions)))
        for i in range(len(paths)):
            here = buttons[shards == i]
            counts[i] = np.bincount(here[here != NO_ACTION], minlength=len(actions))
        shares = counts.sum(axis=0) / max(1.0, counts.sum())
        classes = np.array([self.by_action.get(name, 1.0) for name in actions])
        classes *= np.where(shares > 0, np.maximum(shares, 1e-9) ** -self.balance, 1.0)
        of_shards = np.array(
            [
                self.by_shard.get(name, 1.0) * self._of_rounds(name, one)
                for name, one in zip(names, rounds, strict=True)
            ]
        )
        total = float((counts * of_shards[:, None] * classes).sum())
        if not total > 0:
            raise PipelineError(
                "train.action_weights, round_weights, shard_weights: all are 0, so nothing would "
                "be learned; raise some"
            )
        scale = counts.sum() / total
        return ResolvedWeights((classes * scale).astype(np.float32), of_shards.astype(np.float32))

    def _of_rounds(self, name: str, rounds: Sequence[int | None]) -> float:
        """The factor of a shard's rounds, which must be one: its steps do not tell theirs."""
        factors = {1.0 if n is None else self.by_round.get(n, 1.0) for n in rounds}
        if len(factors) > 1:
            there = ", ".join("none" if n is None else str(n) for n in rounds)
            raise PipelineError(
                f"train.round_weights: {name} holds episodes of the rounds {there}, and their "
                "factors differ; give these rounds one factor, or learn from the shards that it "
                "was merged from"
            )
        return factors.pop()

    def _check(self, kind: str, given: Mapping[Any, float], there: Sequence[object]) -> None:
        setting = _SETTINGS[kind]
        for name, factor in given.items():
            if name not in there:
                known = ", ".join(map(str, dict.fromkeys(there))) or "none"
                raise PipelineError(f"train.{setting}: no {kind} '{name}'; there are: {known}")
            if not 0 <= factor < float("inf"):
                raise PipelineError(
                    f"train.{setting}: the {kind} '{name}' has {factor}; give 0 or more"
                )


_SETTINGS = {"button": "action_weights", "round": "round_weights", "shard": "shard_weights"}


@dataclass(frozen=True)
class ResolvedWeights:
    """Weight of a sample: that of its button times that of its shard."""

    classes: NDArray[np.float32]
    """(A,) of each button."""
    shards: NDArray[np.float32]
    """(S,) of each shard."""

    def __call__(self, buttons: Indices, shards: Indices) -> NDArray[np.float32]:
        """(...,) f32 of buttons (...,) and shards (...,)."""
        out: NDArray[np.float32] = self.classes[buttons] * self.shards[shards]
        return out
