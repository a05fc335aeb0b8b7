"""Muon for the filters of a network, Adam for the rest of its weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

FASTER = 30.0
"""The filters' rate, in learning rates of the rest: at 7e-4, Jordan's 0.02."""
MOMENTUM = 0.95


class Muon(torch.optim.Optimizer):
    """Each filter bank's momentum, made orthogonal, is its update (Jordan et al. 2024).

    K. Jordan, Y. Jin, V. Boza, J. You, F. Cesista, L. Newhouse and J. Bernstein, "Muon: An
    optimizer for hidden layers in neural networks", https://kellerjordan.github.io/posts/muon/:
    five Newton-Schulz steps bring all singular values of the Nesterov momentum, a matrix (filters,
    weights of a filter), near 1. Weight decay is taken off the weights. All other weights (the
    hidden layer, for whose 256 x 3872 matrix the steps would cost as much as the rest of an update
    of 64 frames, the head, biases, goals) are Adam's (Kingma and Ba 2015). torch's own Muon
    takes two-dimensional weights only.

    Args:
        network: its four-dimensional weights are the filters.
        rate: learning rate of Adam's part; that of the filters is FASTER times it.
        weight_decay: of both parts.
    """

    def __init__(self, network: nn.Module, *, rate: float, weight_decay: float) -> None:
        filters = [weights for weights in network.parameters() if weights.ndim == 4]
        rest = [weights for weights in network.parameters() if weights.ndim != 4]
        # Said here too, as loading puts Adam's count of steps where a fused one wants it.
        groups: list[dict[str, Any]] = [{"params": filters}, {"params": rest, "fused": True}]
        super().__init__(groups, {"lr": rate, "weight_decay": weight_decay})
        self._adam = torch.optim.Adam(rest, lr=rate, weight_decay=weight_decay, fused=True)
        self._adam.state = self.state  # kept, saved and loaded with that of the filters

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state of both parts."""
        super().load_state_dict(state_dict)
        self._adam.state = self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One update of all weights that have a gradient."""
        del closure
        filters, rest = self.param_groups
        rate = FASTER * filters["lr"]
        for weights in filters["params"]:
            if weights.grad is None:
                continue
            state = self.state[weights]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(weights)
            momentum = state["momentum"].mul_(MOMENTUM).add_(weights.grad)
            ahead = weights.grad.add(momentum, alpha=MOMENTUM)
            update = orthogonal(ahead.flatten(1)).reshape(weights.shape)
            weights.mul_(1 - rate * filters["weight_decay"]).add_(update, alpha=-rate)
        (adam,) = self._adam.param_groups
        adam.update({name: value for name, value in rest.items() if name in ("lr", "weight_decay")})
        self._adam.step()


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """(m,n) with about the same singular vectors, all singular values between 0.7 and 1.2.

    A Newton-Schulz iteration of the fifth degree; its coefficients are Jordan's.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = matrix.mT if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
