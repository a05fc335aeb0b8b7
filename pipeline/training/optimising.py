"""One step of behavioural cloning: learning rate, loss, update; and how good the network is."""

from __future__ import annotations

import getpass
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.training.breakdown import NotFinite
from pipeline.training.impala import ImpalaCNN
from pipeline.training.muon import Muon

Schedule = Literal["constant", "one_cycle", "cosine"]
OptimizerKind = Literal["adam", "adamw", "muon"]


def learning_rate(schedule: Schedule, peak: float, step: int, steps: int) -> float:
    """The learning rate of update ``step`` (from 0) of ``steps``.

    A pure function, so that nothing of it has to be saved. ``one_cycle`` (Smith and Topin 2018)
    climbs from peak / 25 over the first three tenths and falls along a cosine to peak / 250,000;
    ``cosine`` falls from the peak to 0.
    """
    if schedule == "constant":
        return peak
    if schedule == "cosine":
        return peak * _half_cosine(step / steps)
    climb = max(1.0, 0.3 * steps)
    low, end = peak / 25, peak / 250_000
    if step < climb:
        return low + (peak - low) * _half_cosine(1 - step / climb)
    return end + (peak - end) * _half_cosine((step - climb) / max(1.0, steps - climb))


def _half_cosine(part: float) -> float:
    """From 1 at 0 to 0 at 1."""
    return (1 + math.cos(math.pi * min(1.0, part))) / 2


@dataclass
class Cloner:
    """A network in training: behavioural cloning is to minimise -log pi(expert's button | frame).

    Args:
        network: on its device.
        device: the same.
        dtype: bfloat16 computes the network under autocast; weights and loss stay float32.
        optimizer: of the network's parameters.
        gradient_clip: largest norm of the gradient; 0 leaves it alone.
    """

    network: ImpalaCNN
    device: torch.device
    dtype: torch.dtype
    optimizer: torch.optim.Optimizer
    gradient_clip: float = 0.0

    def logits(self, frames: Tensor, goals: Tensor | None = None) -> Tensor:
        """(B,A) f32 of frames (B,H,W,3) u8 and goals (B,) i64 on the device."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.network(frames, goals).float()  # type: ignore[no-any-return]

    def update(
        self,
        frames: Tensor,
        buttons: Tensor,
        rate: float,
        weights: Tensor | None = None,
        goals: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One update on B samples, each one's loss times its weight.

        Args:
            frames: (B,H,W,3) u8, on the device like all others.
            buttons: (B,) i64, the expert's.
            rate: learning rate.
            weights: (B,) f32; None weighs all alike.
            goals: (B,) i64, for a network that is told its goal.

        Returns:
            Mean loss (nats) and number of right answers, both before the update and still on the
            device, so that nobody waits for them.

        Raises:
            NotFinite: the loss or the norm of the gradient is not finite; nothing is updated. Not
                on a GPU, which nobody waits for: there such a loss, or a loss with such a gradient,
                is returned as NaN.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        logits = self.logits(frames, goals)
        if weights is None:
            loss = functional.cross_entropy(logits, buttons)
        else:
            loss = (functional.cross_entropy(logits, buttons, reduction="none") * weights).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = self._clipped()
        loss = loss.detach()
        if self.device.type != "cpu":
            loss = loss + 0 * norm  # NaN where the norm is not finite, else the same
        elif not (math.isfinite(float(loss)) and math.isfinite(float(norm))):
            raise NotFinite(f"loss {float(loss):.4g}, gradient norm {float(norm):.4g}")
        self.optimizer.step()
        return loss, (logits.detach().argmax(dim=1) == buttons).sum()

    def _clipped(self) -> Tensor:
        """The norm of the gradient, which is cut down to ``gradient_clip`` where there is one."""
        parameters = list(self.network.parameters())
        if self.gradient_clip:
            return nn.utils.clip_grad_norm_(parameters, self.gradient_clip)
        return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])

    def agreement(
        self, batches: Iterable[tuple[Tensor, Tensor, Tensor | None]]
    ) -> dict[str, float]:
        """Mean ``loss`` (nats) and ``agreement`` over batches.

        Agreement is the share of steps where the likeliest button is the expert's.

        Args:
            batches: at least one, each frames (B,H,W,3) u8, buttons (B,) i64 and, for a network
                that is told its goal, goals (B,) i64.
        """
        loss = right = count = 0.0
        self.network.eval()
        with torch.inference_mode():
            for frames, buttons, goals in batches:
                told = None if goals is None else goals.to(self.device)
                logits = self.logits(frames.to(self.device), told)
                answers = buttons.to(self.device)
                loss += float(functional.cross_entropy(logits, answers, reduction="sum"))
                right += float((logits.argmax(dim=1) == answers).sum())
                count += len(buttons)
        self.network.train()
        return {"loss": loss / count, "agreement": right / count}


def make_optimizer(
    network: nn.Module, *, kind: OptimizerKind, rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Adam (Kingma and Ba 2015), AdamW (Loshchilov and Hutter 2019), or :class:`Muon`.

    Adam is fused: one pass over the weights instead of ten.
    """
    _name_the_user()
    if kind == "muon":
        return Muon(network, rate=rate, weight_decay=weight_decay)
    made_by: Any = torch.optim.AdamW if kind == "adamw" else torch.optim.Adam
    made: torch.optim.Optimizer = made_by(
        network.parameters(), lr=rate, weight_decay=weight_decay, fused=True
    )
    return made


def _name_the_user() -> None:
    """A part of torch that the first optimizer loads names a folder after the user.

    In a container (``docker run --user 1000``) the user may have no name.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):  # OSError since Python 3.13
        os.environ["LOGNAME"] = f"user-{os.getuid()}"
