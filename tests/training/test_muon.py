"""Muon: orthogonal updates of the filters, torch's own as the peer, and carrying on."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional

from pipeline.training.impala import ImpalaCNN
from pipeline.training.muon import FASTER, Muon, orthogonal


def network() -> ImpalaCNN:
    torch.manual_seed(0)
    return ImpalaCNN(4, height=24, width=24, hidden=16)


def update(net: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> float:
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (8, 24, 24, 3), dtype=torch.uint8, generator=generator)
    loss = functional.cross_entropy(net(frames), torch.arange(8) % 4)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def test_all_singular_values_come_near_one() -> None:
    torch.manual_seed(0)
    for shape in ((16, 27), (32, 288), (40, 10)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
        assert values.min() > 0.6, shape
        assert values.max() < 1.3, shape


def test_a_filter_bank_moves_as_torchs_own_moves_the_same_matrix() -> None:
    torch.manual_seed(0)
    bank = nn.Conv2d(16, 32, 3)  # Adam has its bias
    matrix = nn.Parameter(bank.weight.detach().flatten(1).clone())
    mine = Muon(bank, rate=1e-3, weight_decay=0.1)
    peer = torch.optim.Muon([matrix], lr=FASTER * 1e-3, weight_decay=0.1)
    for _ in range(5):
        bank.weight.grad = torch.randn_like(bank.weight)
        matrix.grad = bank.weight.grad.flatten(1).clone()
        before = matrix.detach().clone()
        mine.step()
        peer.step()
        moved = (matrix - before).norm()
        # torch's computes in bfloat16.
        assert (bank.weight.flatten(1) - matrix).norm() < 0.05 * moved
        matrix.data.copy_(bank.weight.flatten(1))


def test_the_rest_moves_by_adam() -> None:
    mine, plain = network(), network()
    rest = [weights for weights in plain.parameters() if weights.ndim != 4]
    muon = Muon(mine, rate=1e-3, weight_decay=1e-2)
    adam = torch.optim.Adam(rest, lr=1e-3, weight_decay=1e-2)
    update(mine, muon, 0)
    update(plain, adam, 0)
    assert torch.allclose(mine.hidden.weight, plain.hidden.weight, atol=1e-6)
    assert not torch.equal(mine.blocks[0].conv.weight, plain.blocks[0].conv.weight)


def test_the_rate_of_the_groups_is_that_of_both_parts() -> None:
    net = network()
    optimizer = Muon(net, rate=1e-3, weight_decay=0)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = copy.deepcopy(net.state_dict())
    update(net, optimizer, 0)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_it_carries_on_to_the_bit() -> None:
    whole, first = network(), network()
    optimizer = Muon(whole, rate=1e-3, weight_decay=1e-5)
    for seed in range(4):
        update(whole, optimizer, seed)
    before = Muon(first, rate=1e-3, weight_decay=1e-5)
    for seed in range(2):
        update(first, before, seed)
    second = network()
    second.load_state_dict(first.state_dict())
    after = Muon(second, rate=5.0, weight_decay=0.5)  # the state brings its own
    after.load_state_dict(copy.deepcopy(before.state_dict()))
    for seed in range(2, 4):
        update(second, after, seed)
    for one, other in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
