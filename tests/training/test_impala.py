"""The network: its size, what it takes, that all kinds of input mean the same.

The layout that it is trained in changes neither its answers nor its gradients.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from pipeline.training.impala import ImpalaCNN
from pipeline.training.machine import has_blocked_bf16

blocked_only = pytest.mark.skipif(
    not has_blocked_bf16(torch.device("cpu")), reason="no bfloat16 in oneDNN's blocked layout"
)


@pytest.fixture
def frames() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, 84, 84, 3), dtype=torch.uint8, generator=generator)


def test_it_has_the_parameters_of_the_plan() -> None:
    assert sum(p.numel() for p in ImpalaCNN(10).parameters()) == 1_091_658


def test_bytes_and_floats_in_either_order_of_axes_give_the_same_logits(
    frames: torch.Tensor,
) -> None:
    network = ImpalaCNN(10).eval()
    with torch.no_grad():
        logits = network(frames)
        assert logits.shape == (3, 10)
        for same in (
            frames.permute(0, 3, 1, 2),
            frames.permute(0, 3, 1, 2).contiguous(),
            frames.float() / 255,
            (frames.float() / 255).permute(0, 3, 1, 2),
        ):
            assert torch.allclose(network(same), logits, atol=1e-6)


def test_frames_are_not_changed(frames: torch.Tensor) -> None:
    before, floats = frames.clone(), frames.float() / 255
    kept = floats.clone()
    with torch.no_grad():
        ImpalaCNN(10)(frames)
        ImpalaCNN(10)(floats)
    assert torch.equal(frames, before)
    assert torch.equal(floats, kept)


def test_frames_as_they_lie_in_a_shard_are_channels_last_without_a_copy(
    frames: torch.Tensor,
) -> None:
    planes = frames.permute(0, 3, 1, 2)
    assert planes.is_contiguous(memory_format=torch.channels_last)
    assert ImpalaCNN(10).as_planes(frames).is_contiguous(memory_format=torch.channels_last)


def test_other_sizes_and_numbers_of_buttons_are_possible() -> None:
    network = ImpalaCNN(4, height=40, width=60, hidden=32)
    assert network(torch.zeros(2, 40, 60, 3, dtype=torch.uint8)).shape == (2, 4)


def test_frames_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 160, 240, 3\): the network takes \(N,84,84,3\)"):
        ImpalaCNN(10)(torch.zeros(1, 160, 240, 3, dtype=torch.uint8))


def test_every_parameter_learns(frames: torch.Tensor) -> None:
    network = ImpalaCNN(10)
    network(frames).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def by_the_book(network: ImpalaCNN, frames: torch.Tensor) -> torch.Tensor:
    """The logits, straight from the paper's figure, operation by operation."""
    weights = dict(network.named_parameters())

    def conv(x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)

    x = frames.permute(0, 3, 1, 2).contiguous().float() / 255
    for block in ("blocks.0", "blocks.1", "blocks.2"):
        x = functional.max_pool2d(conv(x, f"{block}.conv"), 3, stride=2, padding=1)
        for residual in (f"{block}.residuals.0", f"{block}.residuals.1"):
            inner = conv(functional.relu(x), f"{residual}.first")
            x = x + conv(functional.relu(inner), f"{residual}.second")
    x = functional.relu(x).flatten(1)
    x = functional.relu(functional.linear(x, network.hidden.weight, network.hidden.bias))
    return functional.linear(x, network.head.weight, network.head.bias)


def logits_and_gradients(
    network: ImpalaCNN, logits_of: Callable[[], torch.Tensor]
) -> list[torch.Tensor]:
    logits = logits_of().float()
    loss = functional.cross_entropy(logits, torch.arange(len(logits)) % logits.shape[1])
    return [logits, *torch.autograd.grad(loss, list(network.parameters()))]


def farthest(some: list[torch.Tensor], others: list[torch.Tensor]) -> float:
    """The largest distance of two tensors, in parts of the second's norm."""
    pairs = zip(some, others, strict=True)
    return max(float((a - b).detach().norm() / b.detach().norm()) for a, b in pairs)


def test_logits_and_gradients_are_those_of_the_plain_operations(frames: torch.Tensor) -> None:
    torch.manual_seed(0)
    network = ImpalaCNN(10).to(memory_format=torch.channels_last)
    ours = logits_and_gradients(network, lambda: network(frames))
    assert (
        farthest(ours, logits_and_gradients(network, lambda: by_the_book(network, frames))) < 1e-5
    )


def test_the_blocked_layout_computes_the_same_in_float32(frames: torch.Tensor) -> None:
    torch.manual_seed(0)
    network, frames = ImpalaCNN(10), frames.permute(0, 3, 1, 2).float() / 255
    inside = torch.randn(3, 32, 11, 11)

    def both(x: torch.Tensor) -> list[torch.Tensor]:
        out = x.to_dense() if x.is_mkldnn else x
        return [out, *torch.autograd.grad(out, list(network.blocks.parameters()), inside)]

    blocked, plain = both(network.blocks(frames.to_mkldnn())), both(network.blocks(frames))
    assert farthest(blocked, plain) < 1e-5


@blocked_only
def test_training_in_bfloat16_is_as_near_to_float32_as_without_the_blocked_layout(
    frames: torch.Tensor,
) -> None:
    torch.manual_seed(0)
    network = ImpalaCNN(10).to(memory_format=torch.channels_last)
    layouts = []
    network.blocks.register_forward_pre_hook(lambda blocks, x: layouts.append(x[0].layout))
    exact = logits_and_gradients(network, lambda: by_the_book(network, frames))
    with torch.autocast("cpu", torch.bfloat16):
        ours = logits_and_gradients(network, lambda: network(frames))
        usual = logits_and_gradients(network, lambda: by_the_book(network, frames))
    assert [str(layout) for layout in layouts] == ["torch._mkldnn"]
    assert farthest(ours[:1], exact[:1]) < 0.01
    assert farthest(ours, exact) < max(0.01, 1.1 * farthest(usual, exact))


@blocked_only
@pytest.mark.parametrize("size", [84, 42, 21])
def test_of_equal_maxima_the_first_gets_the_gradient_as_in_torch(size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    # Few different numbers, so that nearly every window holds its maximum several times, and
    # sums that bfloat16 holds exactly.
    x = torch.randint(-1, 2, (4, 32, size, size), generator=generator).bfloat16()
    half = (size + 1) // 2
    inside = torch.randint(1, 9, (4, 32, half, half), generator=generator).bfloat16()

    def gradient(blocked: bool) -> torch.Tensor:
        leaf = x.clone().requires_grad_()
        pooled = functional.max_pool2d(
            leaf.to_mkldnn() if blocked else leaf, 3, stride=2, padding=1
        )
        return torch.autograd.grad(pooled.to_dense() if blocked else pooled, leaf, inside)[0]

    assert torch.equal(gradient(blocked=True), gradient(blocked=False))


def test_a_network_that_is_told_its_goal_begins_as_one_that_is_not() -> None:
    torch.manual_seed(0)
    plain = ImpalaCNN(4, height=24, width=24, hidden=16)
    after = torch.rand(3)
    torch.manual_seed(0)
    told = ImpalaCNN(4, height=24, width=24, hidden=16, goals=3)
    assert torch.equal(torch.rand(3), after)
    weights = told.state_dict()
    assert weights.pop("goals.weight").shape == (3, 16)
    assert weights.keys() == plain.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in plain.state_dict().items())
    frames = torch.randint(0, 256, (5, 24, 24, 3), dtype=torch.uint8)
    assert torch.equal(told(frames, torch.tensor([0, 1, 2, 0, 1])), plain(frames))


def test_goals_are_given_to_a_network_that_is_told_them_and_to_no_other() -> None:
    frames = torch.zeros(1, 24, 24, 3, dtype=torch.uint8)
    told = ImpalaCNN(4, height=24, width=24, hidden=16, goals=3)
    with pytest.raises(ValueError, match=r"^this network is told its goals, and there are none$"):
        told(frames)
    plain = ImpalaCNN(4, height=24, width=24, hidden=16)
    with pytest.raises(ValueError, match=r"^this network is told no goals, and there are some$"):
        plain(frames, torch.tensor([0]))
