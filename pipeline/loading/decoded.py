"""Decoded frames that are kept, in memory that all workers share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.loading.shared_memory import SharedArray
from pipeline.loading.source import FrameSource, Indices

Frames = NDArray[np.uint8]


class Decoded:
    """Every frame of a source under its row, decoded when its chunk is first asked for.

    Several processes fill it side by side: two that decode the same chunk write the same bytes.

    Memory: chunks * chunk_bytes, taken as they are filled, in anonymous memory that all share. It
    is no file on disk: beside the shards that would lie on the very network disk whose reads it
    should save, where two hosts do not see each other's writes to a mapped file.
    """

    def __init__(self, source: FrameSource) -> None:
        self.source = source
        self._good = SharedArray((source.chunks,), np.uint8)
        self._filled = False
        self._scratch = np.empty(source.chunk_bytes, np.uint8)
        self._memory = SharedArray((source.chunks * source.chunk_bytes,), np.uint8)
        self._map()

    def _map(self) -> None:
        self.frames: Frames = self._memory.array.reshape(-1, *self.source.frame_shape)
        """(rows,H,W,3)"""

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "frames"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._map()

    def gather(self, rows: Indices, out: Frames) -> None:
        """Copy the frames of rows (n,) into ``out`` (n,H,W,3), decoding what is not there yet.

        Raises:
            PipelineError: a shard is damaged or gone.
            IndexError: a row that does not exist; ``out`` is as it was.
        """
        count = len(self.frames)
        if len(rows) and not (rows.min() >= 0 and rows.max() < count):
            wrong = rows[(rows < 0) | (rows >= count)][0]
            raise IndexError(f"row {wrong} of decoded frames, which have {count}")
        if not self._filled:
            self._fill(np.unique(rows // self.source.chunk_rows))
        # The bounds are checked: "raise" would check them again, and go by way of a copy.
        np.take(self.frames, rows, axis=0, out=out, mode="clip")

    def _fill(self, chunks: Indices) -> None:
        good = self._good.array
        for chunk in chunks[good[chunks] == 0].tolist():
            self.source.read_chunk(chunk, self._scratch)
            self._memory.write(chunk * self.source.chunk_bytes, self._scratch)
            good[chunk] = 1
        self._filled = bool(good.all())
