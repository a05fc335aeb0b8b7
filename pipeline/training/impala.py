"""IMPALA's residual convolutional network, ending in one logit a button."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.training.machine import has_blocked_bf16

CHANNELS = (16, 32, 32)


class Convolution(nn.Conv2d):
    """A 3x3 convolution that keeps the size, of tensors in any layout.

    ``conv2d`` refuses bfloat16 tensors in oneDNN's blocked layout beside ordinary weights,
    although the operation below it, and its derivative, take them.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_mkldnn or self.bias is None:
            return super().forward(x)
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        convolved: Tensor = torch.ops.aten.mkldnn_convolution(
            x, weight, bias, self.padding, self.stride, self.dilation, self.groups
        )
        return convolved


class Residual(nn.Module):
    """``x + conv(relu(conv(relu(x))))``, channels and size unchanged."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Convolution(channels, channels)
        self.second = Convolution(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        # relu_ in place: the convolution's own output, which nothing else reads.
        inner: Tensor = self.second(functional.relu_(self.first(functional.relu(x))))
        return x + inner


class Block(nn.Module):
    """A convolution, a max-pool that halves the size, and two residuals."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = Convolution(channels_in, channels_out)
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
        goals: how many goals there are to be told of, each a vector that is added to the hidden
            layer's input; 0 makes a network that is told none. At first the vectors are 0, so that
            it begins as the same network that is not told.
    """

    def __init__(
        self,
        actions: int = 10,
        *,
        height: int = 84,
        width: int = 84,
        hidden: int = 256,
        channels: Sequence[int] = CHANNELS,
        goals: int = 0,
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
        self.goals: nn.Embedding | None = None
        if goals:
            zeros = torch.zeros(goals, hidden)
            self.goals = nn.Embedding.from_pretrained(  # type: ignore[no-untyped-call]
                zeros, freeze=False
            )

    def forward(self, frames: Tensor, goals: Tensor | None = None) -> Tensor:
        """Logits (N, actions) of frames, and of goals (N,) i64 where the network is told them.

        Frames are (N,H,W,3) or (N,3,H,W), uint8 or float in 0..1.

        Frames as (N,H,W,3) cost nothing to turn: seen as (N,3,H,W) they already lie in the
        channels_last order that convolutions are fastest with.

        Raises:
            ValueError: frames of another shape, a network that is told goals without them, or
                one that is not with them.
        """
        logits: Tensor = self.head(self.features(self.as_planes(frames), goals))
        return logits

    def features(self, planes: Tensor, goals: Tensor | None = None) -> Tensor:
        """The hidden layer's output (N, hidden) of float planes (N,3,H,W) in 0..1.

        Raises:
            ValueError: as that of ``forward``.
        """
        x = functional.relu_(self._convolved(planes))
        inner: Tensor = self.hidden(x.flatten(1))
        if self.goals is not None and goals is not None:
            inner = inner + self.goals(goals).to(inner.dtype)
        elif self.goals is not None:
            raise ValueError("this network is told its goals, and there are none")
        elif goals is not None:
            raise ValueError("this network is told no goals, and there are some")
        return functional.relu_(inner)

    def _convolved(self, planes: Tensor) -> Tensor:
        """The blocks' output; when training in bfloat16, in oneDNN's blocked layout.

        There a max-pool takes a third of the time that torch's own takes over channels_last (it
        keeps the place of a maximum in one byte, not in eight), and a convolution nine tenths;
        a training step with batch 64 takes a seventh less. The mathematics are the same: of
        equal maxima the first gets the gradient. In float32 nothing is gained, and with the few
        frames of a playing network the way there and back costs more than it saves.
        """
        autocast = torch.is_autocast_enabled(planes.device.type)
        dtype = torch.get_autocast_dtype(planes.device.type) if autocast else planes.dtype
        training = torch.is_grad_enabled() and dtype == torch.bfloat16
        if not (training and has_blocked_bf16(planes.device)):
            return self.blocks(planes)  # type: ignore[no-any-return]
        blocked: Tensor = self.blocks(planes.to(dtype).to_mkldnn())
        return blocked.to_dense()

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
