"""The README's picture of scenes: ``python -m tests.bench.gallery RAW_SHARD``.

Takes the first successful episode of a raw shard and shows the title, and the screens around its
milestones and battles, two rows of four.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.shards.reader import Shard

TARGET = Path("pipeline/reports/gallery/scenes.png")


def main(path: str) -> None:
    with Shard(path) as shard:
        chosen = int(np.flatnonzero(shard.success)[0])
        start, length = int(shard.starts[chosen]), int(shard.lengths[chosen])
        names = shard.header.milestones
        reached = dict(zip(names, shard.milestones[chosen].tolist(), strict=True))
        fighting = np.flatnonzero(shard.state("in_battle", start, start + length))
        steps = [
            0,
            reached["left_home"] + 3,
            reached["errand_received"] - 2,
            reached["route_entered"] + 12,
            reached["orb_found"] - 2,
            int(fighting[fighting > reached["orb_delivered"]][4]),
            reached["gym_entered"] - 4,
            int(fighting[-6]),
        ]
        frames = [shard.read_frames(start + step, start + step + 1)[0] for step in steps]
    rows = [np.concatenate(frames[first : first + 4], axis=1) for first in (0, 4)]
    Image.fromarray(np.concatenate(rows)).quantize(255).save(TARGET, optimize=True)
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
