"""Episodes as moving pictures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.shards.format.frames import Frames
from pipeline.system.files import replace_file


def write_gif(path: Path, frames: Frames, *, every: int = 1, milliseconds: int = 80) -> None:
    """Write frames (N,H,W,3) u8 as a looping GIF, each ``every``-th of them.

    One palette for the whole film, taken from frames spread over it, so that colours do not
    flicker and the file stays small.
    """
    chosen = frames[::every]
    sample = chosen[np.linspace(0, len(chosen) - 1, min(16, len(chosen))).astype(int)]
    strip = Image.fromarray(np.concatenate(list(sample), axis=0))
    palette = strip.quantize(255, dither=Image.Dither.NONE)
    images = [
        Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)
        for frame in chosen
    ]
    film = io.BytesIO()
    images[0].save(
        film, "GIF", save_all=True, append_images=images[1:], duration=milliseconds, loop=0,
        optimize=False,
    )  # fmt: skip
    replace_file(path, film.getvalue(), "video")
