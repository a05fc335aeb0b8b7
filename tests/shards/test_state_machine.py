"""Shards published, labelled, merged, split, filtered, damaged, salvaged and migrated in any order.

Hypothesis plays the real functions on real files, and beside them a model that is lists of steps.
What a file gives must be what its list says, and what is refused must be what the model refuses.

``MACHINE_EXAMPLES=300 MACHINE_STEPS=40 pytest tests/shards/test_state_machine.py`` plays longer;
with ``--hypothesis-seed=0`` it is the same each time.
"""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    multiple,
    precondition,
    rule,
)

from pipeline.shards.catalog.catalogue import enter
from pipeline.shards.format.frames import FrameContract
from pipeline.shards.format.schema import NO_ACTION, SCHEMA_VERSION, Episode, LabelStatus
from pipeline.shards.reader import Shard
from pipeline.shards.repair import edit
from pipeline.shards.repair.migrate import migrate
from pipeline.shards.repair.relabel import relabel
from pipeline.shards.repair.salvage import save
from pipeline.shards.repair.verify import examine
from pipeline.system.errors import PipelineError
from tests.shards.factory import make_episode, make_header, make_labels, write
from tests.shards.small import LENGTHS, OLD, SIZE, flip, place

EXAMPLES = int(os.environ.get("MACHINE_EXAMPLES", 5))
STEPS = int(os.environ.get("MACHINE_STEPS", 12))
HEADER = make_header(frame_contract=FrameContract(*SIZE, "none"), stage="raw")
WHERE = ("frames", "final_frames", "episodes")
PLAYED: Counter[str] = Counter()
"""How often each rule came to something, over all examples."""


@dataclass(frozen=True)
class Played:
    """An episode of the model: the game it is of, and the expert's button at each step."""

    seed: int
    buttons: tuple[int | None, ...]
    """None where there is no label."""
    told: bool = False
    """Whether its steps say who labelled them."""


@dataclass
class Modelled:
    """A shard of the model."""

    path: Path
    episodes: list[Played]
    version: int = SCHEMA_VERSION
    hit: set[int] = field(default_factory=set)
    """Episodes that damage has hit."""
    flipped: set[tuple[str, int]] = field(default_factory=set)

    @property
    def opens(self) -> bool:
        return not any(dataset == "episodes" for dataset, _ in self.flipped)

    @property
    def starts(self) -> list[int]:
        return np.cumsum([0, *(len(one.buttons) for one in self.episodes)]).tolist()


@functools.cache
def recorded(seed: int, steps: int) -> Episode:
    """The recording that tests.shards.small makes of a game."""
    return replace(
        make_episode(steps, seed, size=SIZE),
        start_state=0,
        ram_crc32=np.arange(steps, dtype=np.uint32) * 77,
    )


def start_state(seed: int) -> bytes:
    return bytes([65 + seed % 64]) * (300 + seed)


class Machine(RuleBasedStateMachine):
    """Every rule gives the shards that it made, and leaves all others as they were."""

    shards = Bundle("shards")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="machine-"))
        self.number = 0
        self.seed = len(LENGTHS)  # those before it are in the old shards
        self.made: dict[Path, Modelled] = {}
        self.bytes: dict[Path, bytes] = {}

    def teardown(self) -> None:
        for shard in self.made.values():
            self.holds(shard)
        assert {p for p in self.folder.iterdir() if p.name[0] != "."} == set(self.made)
        shutil.rmtree(self.folder)

    def name(self) -> str:
        self.number += 1
        return f"shard{self.number}"

    def add(
        self,
        path: Path,
        episodes: Sequence[Played],
        rule: str,
        version: int = SCHEMA_VERSION,
        damage_of: Modelled | None = None,
    ) -> Modelled:
        """Note a shard that was made, or found again, and check it.

        Args:
            damage_of: the shard whose chunks were copied as they are stored.
        """
        PLAYED[rule] += 1
        enter(path)  # or else a child would look at each, which takes its time
        shard = Modelled(path, list(episodes), version)
        if damage_of is not None:
            shard.flipped, shard.hit = set(damage_of.flipped), set(damage_of.hit)
        if path in self.made:
            assert self.made[path].episodes == shard.episodes
        else:
            self.made[path] = shard
            self.bytes[path] = path.read_bytes()
        self.holds(self.made[path])
        return shard

    def holds(self, shard: Modelled) -> None:
        """The file gives what the list says; a damaged one says what is hit."""
        assert shard.path.read_bytes() == self.bytes[shard.path]
        found = examine(shard.path)
        hit = {index for one in found["hits"] for index, _ in one["episodes"]}
        assert (found["problems"], hit) == ([], shard.hit)
        if not shard.opens:
            with pytest.raises(PipelineError, match="/episodes is damaged in chunk"):
                Shard(shard.path).handle()
            return
        with Shard(shard.path) as opened:
            assert opened.n_episodes == len(shard.episodes)
            states = opened.start_states()
            for index, model in enumerate(shard.episodes):
                if index not in shard.hit:
                    compare(opened.episode(index), model, states)

    def refused(self, call: Callable[[], object], rule: str) -> None:
        """Nothing is written, and nothing is changed."""
        before = sorted(self.folder.iterdir())
        with pytest.raises(PipelineError):
            call()
        assert sorted(p for p in self.folder.iterdir() if p.name != ".catalogue") == [
            p for p in before if p.name != ".catalogue"
        ]
        PLAYED[f"{rule}, refused"] += 1

    @initialize(target=shards)
    def old(self) -> Modelled:
        path = self.folder / f"{self.name()}-v001.h5"
        shutil.copyfile(OLD / "raw.h5", path)
        return self.add(path, [Played(i, (None,) * n) for i, n in enumerate(LENGTHS)], "old", 4)

    @rule(target=shards, lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4))
    def publish(self, lengths: list[int]) -> Modelled:
        seeds = range(self.seed, self.seed + len(lengths))
        self.seed += len(lengths)
        pairs = list(zip(seeds, lengths, strict=True))
        episodes = [replace(recorded(*one), start_state=i) for i, one in enumerate(pairs)]
        states = [start_state(seed) for seed in seeds]
        path = write(self.folder / f"{self.name()}-v001.h5", HEADER, episodes, states)
        return self.add(path, [Played(seed, (None,) * n) for seed, n in pairs], "publish")

    @rule(target=shards, source=shards, draw=st.integers(0, 1 << 16), told=st.booleans())
    def label(self, source: Modelled, draw: int, told: bool) -> object:
        steps = source.starts[-1]
        rng = np.random.default_rng(draw)
        expert = rng.integers(0, 4, steps).astype(np.uint8)
        expert[rng.random(steps) < draw % 3 / 2] = NO_ACTION
        status = np.where(expert == NO_ACTION, LabelStatus.FAILED, LabelStatus.LABELLED)
        target = self.folder / f"{self.name()}-v001.h5"
        labels = make_labels(steps) if told else None
        call = functools.partial(
            relabel, source.path, target, expert, status.astype(np.uint8), {"stage": "label"}
        )
        if not source.opens:
            self.refused(lambda: call(labels), "label")
            return multiple()
        call(labels)
        answers = [None if button == NO_ACTION else int(button) for button in expert]
        episodes = [
            Played(one.seed, tuple(answers[low : low + len(one.buttons)]), told)
            for one, low in zip(source.episodes, source.starts, strict=False)
        ]
        return self.add(target, episodes, "label", damage_of=source)

    @rule(
        target=shards,
        sources=st.lists(shards, min_size=2, max_size=3, unique_by=id),
        keep=st.sampled_from([None, "first", "last"]),
    )
    def merge(self, sources: list[Modelled], keep: edit.Keep | None) -> object:
        taken: dict[int, tuple[int, int]] = {}
        places = [(s, i) for s, source in enumerate(sources) for i in range(len(source.episodes))]
        for s, i in places:
            seed = sources[s].episodes[i].seed
            if keep == "last" or seed not in taken:
                taken[seed] = s, i
        kept = sorted(taken.values())
        stem = self.name()

        def call() -> edit.Picked:
            return edit.merge([source.path for source in sources], stem, keep=keep)

        damaged = any(not source.opens for source in sources)
        damaged |= any(i in sources[s].hit for s, i in kept)
        if (len(kept) < len(places) and keep is None) or damaged:
            self.refused(call, "merge")
            return multiple()
        result = call()
        assert result["left_out"] == len(places) - len(kept)
        episodes = [sources[s].episodes[i] for s, i in kept]
        return self.add(Path(str(result["shard"])), episodes, "merge")

    @rule(target=shards, source=shards, size=st.integers(1, 3))
    def split(self, source: Modelled, size: int) -> object:
        stem = edit.stem_and_version(source.path)[0]
        count = len(source.episodes)
        parts = [source.episodes[low : low + size] for low in range(0, count, size)]
        there = [p for p in self.made if p.name.startswith(f"{stem}-part-") and "part" not in stem]
        numbers = [int(p.name.removeprefix(f"{stem}-part-")[:2]) for p in there]

        def call() -> list[edit.Edited]:
            return edit.split(source.path, episodes=size)

        others = any(number > len(parts) for number in numbers)
        if len(parts) < 2 or others or source.hit:
            self.refused(call, "split")
            return multiple()
        before = set(self.made)
        paths = [Path(row["shard"]) for row in call()]
        made = [self.add(*one, "split") for one in zip(paths, parts, strict=True)]
        return multiple(*(one for one in made if one.path not in before))

    @rule(target=shards, source=shards, seeds=st.sets(st.integers(0, 12)), whole=st.booleans())
    def filter(self, source: Modelled, seeds: set[int], whole: bool) -> object:
        kept = [
            (i, one)
            for i, one in enumerate(source.episodes)
            if one.seed in seeds and not (whole and None in one.buttons)
        ]
        stem = self.name()
        asked = edit.Criteria(seeds=tuple(seeds), complete_labels=whole or None)

        def call() -> edit.Picked:
            return edit.filter_shard(source.path, asked, stem)

        if not source.opens or any(i in source.hit for i, _ in kept):
            self.refused(call, "filter")
            return multiple()
        result = call()
        if not kept:
            assert result["shard"] is None
            return multiple()
        return self.add(Path(str(result["shard"])), [one for _, one in kept], "filter")

    @rule(source=shards, where=st.sampled_from(WHERE), at=st.data())
    def damage(self, source: Modelled, where: str, at: st.DataObject) -> None:
        if source.version < SCHEMA_VERSION and where != "frames":
            return
        if not source.opens:  # to be asked where its chunks lie
            return
        rows = source.starts[-1] if where == "frames" else len(source.episodes)
        chunk = at.draw(st.integers(0, (rows - 1) // 16 if where == "frames" else rows - 1))
        if (where, chunk) in source.flipped:
            return
        offset, size = place(source.path, where, chunk)
        flip(source.path, offset + size // 2)
        enter(source.path)
        self.bytes[source.path] = source.path.read_bytes()
        source.flipped.add((where, chunk))
        first, last = (chunk * 16, chunk * 16 + 15) if where == "frames" else (chunk, chunk)
        bounds = zip(source.starts, source.starts[1:], strict=False)
        source.hit |= (
            {i for i, (low, high) in enumerate(bounds) if low <= last and high > first}
            if where == "frames"
            else {chunk}
        )
        PLAYED["damage"] += 1
        self.holds(source)

    @rule(target=shards, source=shards)
    def salvage(self, source: Modelled) -> object:
        kept = [one for i, one in enumerate(source.episodes) if i not in source.hit]
        stem = self.name()
        if not source.hit or not kept:
            self.refused(lambda: save(source.path, stem=stem), "salvage")
            return multiple()
        result = save(source.path, stem=stem)
        assert {row["episode"] for row in result["lost"]} == source.hit
        lost = sum(len(source.episodes[i].buttons) for i in source.hit)
        assert result["lost_frames"] == lost
        return self.add(Path(result["shard"]), kept, "salvage")

    @rule(target=shards, source=shards)
    def migrate(self, source: Modelled) -> object:
        stem, version = edit.stem_and_version(source.path)
        if source.version == SCHEMA_VERSION and source.opens:
            done = migrate(source.path)
            assert (done.shard, done.up_to_date) == (source.path, True)
            return multiple()
        following = source.path.with_name(f"{stem}-v{version + 1:03d}.h5")
        if not source.opens or (source.hit and following not in self.made):
            self.refused(lambda: migrate(source.path), "migrate")
            return multiple()
        done = migrate(source.path)
        assert (done.shard, done.up_to_date) == (following, following in self.made)
        if done.up_to_date:
            return multiple()
        with Shard(source.path) as one, Shard(done.shard) as other:
            assert one.header == other.header
        return self.add(done.shard, source.episodes, "migrate")

    @precondition(lambda self: len(self.made) > 2)
    @rule(source=consumes(shards))
    def remove(self, source: Modelled) -> None:
        """What was made of a shard does not need it."""
        stem = edit.stem_and_version(source.path)[0]
        if any(path != source.path and stem in path.name for path in self.made):
            return
        source.path.unlink(missing_ok=True)
        self.made.pop(source.path, None)


def compare(found: Episode, model: Played, states: Sequence[bytes]) -> None:
    """An episode that was read is the one of the model, bit for bit."""
    expected = recorded(model.seed, len(model.buttons))
    for name in ("frames", "actions", "rewards", "terminated", "truncated", "ram_crc32"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name
    for name, values in expected.state.items():
        assert np.array_equal(found.state[name], values), name
    assert np.array_equal(found.final_frame, expected.final_frame)
    assert np.array_equal(found.milestones, expected.milestones)
    assert (found.root, found.seed, found.success) == (
        *(expected.root, expected.seed, expected.success),
    )
    assert states[found.start_state] == start_state(model.seed)
    buttons = [None if button == NO_ACTION else button for button in found.expert_actions.tolist()]
    assert tuple(buttons) == model.buttons
    assert not model.told or found.labels is not None


Machine.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
TestEveryOrderOfSteps = Machine.TestCase


def test_zz_each_kind_of_step_came_to_something() -> None:
    """Said of the longer form alone: a few examples need not have all."""
    print(dict(sorted(PLAYED.items())))
    if EXAMPLES >= 50:
        rules = "publish label merge split filter damage salvage migrate"
        assert {*rules.split(), "merge, refused", "salvage, refused"} <= set(PLAYED)
