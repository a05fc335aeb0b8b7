"""The network of the plan: the residual convolutional network of IMPALA, ending in one logit a
button."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

CHANNELS = (16, 32, 32)


class Residual(nn.Module):
    """``x + conv(relu(conv(relu(x))))``, channels and size unchanged."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        # relu_ in place: the convolution's own output, which nothing else reads.
        inner: Tensor = self.second(functional.relu_(self.first(functional.relu(x))))
        return x + inner


class Block(nn.Module):
    """A convolution, a max-pool that halves the size, and two residuals."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.residuals = nn.Sequential(Residual(channels_out), Residual(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.residuals(self.pool(self.conv(x)))
        return out


class ImpalaCNN(nn.Module):
    """ImpalaCNN (Espeholt et al. 2018, figure 3, the large network without its LSTM).

    Three blocks of 16, 32 and 32 channels, a hidden layer, one logit a button: 1,091,658
    parameters at 10 buttons, 84x84x3 and hidden 256.

    Args:
        actions: number of buttons.
        height, width: size of the frames; three colours.
        hidden: width of the hidden layer.
    """

    def __init__(
        self,
        actions: int = 10,
        *,
        height: int = 84,
        width: int = 84,
        hidden: int = 256,
        channels: Sequence[int] = CHANNELS,
    ) -> None:
        super().__init__()
        self.size = (height, width)
        self.blocks = nn.Sequential(
            *(Block(i, o) for i, o in zip((3, *channels[:-1]), channels, strict=True))
        )
        for _ in channels:
            height, width = (height + 1) // 2, (width + 1) // 2
        self.hidden = nn.Linear(channels[-1] * height * width, hidden)
        self.head = nn.Linear(hidden, actions)

    def forward(self, frames: Tensor) -> Tensor:
        """Logits (N, actions) of frames (N,H,W,3) or (N,3,H,W), uint8 or float in 0..1.

        Frames as (N,H,W,3) cost nothing to turn: seen as (N,3,H,W) they already lie in the
        channels_last order that convolutions are fastest with.

        Raises:
            ValueError: frames of another shape.
        """
        logits: Tensor = self.head(self.features(self.as_planes(frames)))
        return logits

    def features(self, planes: Tensor) -> Tensor:
        """The hidden layer's output (N, hidden) of float planes (N,3,H,W) in 0..1."""
        x = functional.relu_(self.blocks(planes))
        return functional.relu_(self.hidden(x.flatten(1)))

    def as_planes(self, frames: Tensor) -> Tensor:
        """Any accepted frames as float planes (N,3,H,W) in 0..1."""
        height, width = self.size
        shape = tuple(frames.shape[1:])
        if shape == (height, width, 3):
            frames = frames.permute(0, 3, 1, 2)
        elif shape != (3, height, width):
            raise ValueError(
                f"frames of shape {tuple(frames.shape)}: the network takes "
                f"(N,{height},{width},3) or (N,3,{height},{width})"
            )
        dtype = self.head.weight.dtype
        if frames.dtype == torch.uint8:
            return frames.to(dtype).mul_(1 / 255)
        return frames.to(dtype)
