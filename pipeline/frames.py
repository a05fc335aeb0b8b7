"""What a frame is: the contract between the data and the network, and the only resize."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class FrameContract:
    """How the frames of a shard, or of a network's input, were made.

    Stored in every shard and every checkpoint, and compared before the two meet, because a
    resize that differs between training and play silently ruins a policy.
    """

    height: int
    width: int
    resampling: str  # "none" (as the console drew it) or "bilinear"
    colour: str = "RGB"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.height}x{self.width} {self.colour}, resampling {self.resampling}"


def resize(frames: Frames, contract: FrameContract) -> Frames:
    """Resize frames (N,H,W,3) u8 to (N, contract.height, contract.width, 3) u8.

    Pillow's bilinear filter with antialiasing, which is what ``torchvision.transforms.Resize``
    does on PIL images: the result is identical to it, bit for bit.
    """
    if contract.resampling == "none" or frames.shape[1:3] == (contract.height, contract.width):
        return frames
    out = np.empty((len(frames), contract.height, contract.width, 3), np.uint8)
    size = (contract.width, contract.height)
    for i, frame in enumerate(frames):
        out[i] = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR))
    return out
