"""Trainings that break down: numbers that are none any more, or a loss that has run away."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from torch import Tensor

TIMES = 10.0
"""A loss has run away at so many times what ignorance costs."""
UPDATES = 20
"""Updates on end that must be so bad on average before it counts."""


class NotFinite(ArithmeticError):
    """An update whose loss or gradient is no finite number; the weights are as they were."""


def limit_of(first: float, actions: int) -> float:
    """The loss beyond which a training has diverged.

    Ignorance costs log(actions), or what the first update of this very training did (its samples
    may be weighted). A network at ten times that is sure of the wrong button nearly
    everywhere: 23 nats a sample of ten buttons. Healthy trainings, whatever their spikes, stay far
    below it over UPDATES updates.

    Args:
        first: loss of the first update.
        actions: number of buttons.
    """
    return TIMES * max(first, math.log(max(actions, 2)))


def not_finite(tensors: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]]) -> list[str]:
    """Names of the tensors that hold a NaN or an infinity. Cost: one pass over them."""
    named = tensors.items() if isinstance(tensors, Mapping) else tensors
    return [
        name
        for name, tensor in named
        if tensor.is_floating_point() and not bool(tensor.isfinite().all())
    ]
