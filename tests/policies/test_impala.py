"""The network: its size, what it takes, and that all kinds of input mean the same."""

from __future__ import annotations

import pytest
import torch

from pipeline.policies.impala import ImpalaCNN


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
