"""Trainings that break down: NaN or infinity in loss, gradient or weights, or divergence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from torch import Tensor

TIMES = 10.0
"""A training diverges where its loss is so many times that of a network that knows nothing."""
UPDATES = 20
"""So many updates in a row must have such a mean loss."""


class NotFinite(ArithmeticError):
    """An update whose loss or gradient is no finite number; the weights are as they were."""


def limit_of(first: float, actions: int) -> float:
    """The loss, in nats a sample, beyond which a training has diverged.

    A network that knows nothing has log(actions), or what the first update of this very training
    had (its samples may be weighted). At ten times that it is sure of the wrong button nearly
    everywhere: 23 nats a sample of ten buttons. Sound trainings, whatever their spikes, stay far
    below it over UPDATES updates.

    Args:
        first: loss of the first update, in nats.
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
