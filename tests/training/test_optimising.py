"""Learning rates, and one update of behavioural cloning."""

from __future__ import annotations

import copy
import os
import subprocess
import sys

import pytest
import torch
from torch.nn import functional

from pipeline.training.impala import ImpalaCNN
from pipeline.training.optimising import Cloner, OptimizerKind, learning_rate, make_optimizer

CPU = torch.device("cpu")


def cloner(gradient_clip: float = 0.0, decay: float = 0.0, kind: OptimizerKind = "adam") -> Cloner:
    torch.manual_seed(0)
    network = ImpalaCNN(4, height=24, width=24, hidden=16)
    optimizer = make_optimizer(network, kind=kind, rate=1e-3, weight_decay=decay)
    return Cloner(network, CPU, torch.float32, optimizer, gradient_clip)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    frames = torch.randint(0, 256, (8, 24, 24, 3), dtype=torch.uint8, generator=generator)
    return frames, torch.arange(8) % 4


def test_a_constant_rate_is_constant() -> None:
    assert {learning_rate("constant", 1e-4, step, 100) for step in range(100)} == {1e-4}


def test_cosine_falls_from_the_peak_to_nothing() -> None:
    rates = [learning_rate("cosine", 1.0, step, 100) for step in range(101)]
    assert rates[0] == 1
    assert rates[50] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0)
    assert rates == sorted(rates, reverse=True)


def test_one_cycle_is_that_of_torch() -> None:
    steps = 50
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.7, total_steps=steps + 1, pct_start=(0.3 * steps + 1) / (steps + 1)
    )
    for step in range(steps):
        assert learning_rate("one_cycle", 0.7, step, steps) == pytest.approx(
            theirs.get_last_lr()[0], rel=1e-6
        )
        optimizer.step()
        theirs.step()


def test_an_update_is_adam_on_the_mean_cross_entropy() -> None:
    mine, (frames, buttons) = cloner(decay=1e-2), batch()
    plain = copy.deepcopy(mine.network)
    optimizer = torch.optim.Adam(plain.parameters(), lr=5e-4, weight_decay=1e-2)
    for _ in range(3):
        loss, right = mine.update(frames, buttons, 5e-4)
        logits = plain(frames.float() / 255)
        expected = functional.cross_entropy(logits, buttons)
        optimizer.zero_grad()
        expected.backward()
        optimizer.step()
        assert float(loss) == pytest.approx(expected.item(), rel=1e-4)
        assert int(right) == int((logits.argmax(1) == buttons).sum())
    for a, b in zip(mine.network.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(a, b, atol=2e-4)


def test_weight_decay_of_adamw_shrinks_the_weights_themselves() -> None:
    mine, (frames, buttons) = cloner(decay=100.0, kind="adamw"), batch()
    before = mine.network.hidden.weight.detach().norm()
    mine.update(frames, buttons, 1e-3)
    assert float(mine.network.hidden.weight.detach().norm() / before) == pytest.approx(
        0.9, abs=0.03
    )


def test_the_gradient_is_clipped_to_its_largest_norm() -> None:
    mine, (frames, buttons) = cloner(gradient_clip=0.01), batch()
    mine.update(frames, buttons, 0.0)
    grads = [p.grad for p in mine.network.parameters() if p.grad is not None]
    norm = torch.stack([g.norm() for g in grads]).norm()
    assert float(norm) == pytest.approx(0.01, rel=1e-3)


def test_a_told_network_learns_to_answer_one_frame_by_the_goal() -> None:
    torch.manual_seed(0)
    network = ImpalaCNN(4, height=24, width=24, hidden=16, goals=4)
    optimizer = make_optimizer(network, kind="adam", rate=1e-3, weight_decay=0)
    told = Cloner(network, CPU, torch.float32, optimizer)
    frames, goals = batch()[0][:1].expand(8, -1, -1, -1), torch.arange(8) % 4
    buttons = (goals + 1) % 4
    assert told.agreement([(frames, buttons, goals)])["agreement"] == 0.25
    for _ in range(60):
        told.update(frames, buttons, 1e-2, goals=goals)
    assert told.agreement([(frames, buttons, goals)])["agreement"] == 1
    assert told.logits(frames, goals).argmax(1).tolist() == buttons.tolist()


def test_agreement_counts_each_step_once_and_changes_nothing() -> None:
    mine, (frames, buttons) = cloner(), batch()
    with torch.no_grad():
        logits = mine.network(frames)
    measured = mine.agreement([(frames[:5], buttons[:5], None), (frames[5:], buttons[5:], None)])
    assert measured["agreement"] == float((logits.argmax(1) == buttons).float().mean())
    assert measured["loss"] == pytest.approx(float(functional.cross_entropy(logits, buttons)))
    assert mine.network.training


NAMELESS = """
import os
import pwd
def getpwuid(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = getpwuid
from torch import nn
from pipeline.training.optimising import make_optimizer
make_optimizer(nn.Linear(2, 2), kind="adam", rate=1e-3, weight_decay=0)
import getpass
assert getpass.getuser() == f"user-{os.getuid()}"  # what torch asks, in some versions at once
"""


def test_a_user_without_a_name_can_train() -> None:
    """As in a container that runs as a number that /etc/passwd does not hold."""
    named = ("LOGNAME", "USER", "LNAME", "USERNAME", "TORCHINDUCTOR_CACHE_DIR")
    env = {name: value for name, value in os.environ.items() if name not in named}
    subprocess.run([sys.executable, "-c", NAMELESS], env=env, check=True)
