"""Episodes kept as ``.npz`` files (observations, actions, rewards, dones) into a raw shard."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypedDict

import numpy as np

from pipeline.exchange.npz_arrays import CONSOLES, Console, read_npz, sha256_of
from pipeline.games.loading import load_game
from pipeline.games.platforms import PLATFORMS
from pipeline.settings.reading import Settings
from pipeline.shards.catalog.catalogue import Catalogue
from pipeline.shards.catalog.names import publish_name, stem_and_version
from pipeline.shards.format.frames import FrameContract
from pipeline.shards.format.provenance import fingerprint, provenance
from pipeline.shards.format.remarks import Remarks
from pipeline.shards.format.schema import Episode, ShardHeader
from pipeline.shards.reader import Shard
from pipeline.shards.writer import ShardWriter
from pipeline.system.errors import PipelineError


class Imported(TypedDict):
    """The shard that came of npz files."""

    shard: str
    up_to_date: bool
    episodes: int
    frames: int
    return_mean: float
    remarks: list[str]
    """What was odd about the files, a line each."""


def import_episodes(
    files: Sequence[Path | str],
    settings: Settings,
    *,
    name: str = "import",
    game_name: str | None = None,
    expert: bool = False,
) -> Imported:
    """Publish the raw shard ``NAME-raw`` of a game from npz files, one episode each.

    Args:
        game_name: the game that was played; none takes ``settings.game``.
        expert: the actions are an expert's, so that they are labels too.

    Raises:
        PipelineError: no such game, a file that cannot be an episode of it, or a full disk.
    """
    game = load_game(game_name or settings.game)
    shown = PLATFORMS[game.platform]
    console = Console(shown.title, shown.height, shown.width)
    remarks = Remarks()
    paths, digests = _once_each([Path(file) for file in files], remarks)
    decisive = {"expert": expert}
    milestones = tuple(milestone.name for milestone in game.milestones)
    told = [game.buttons, game.timing.contract, milestones]  # of the game, in the shard's header
    mark = fingerprint("import", decisive, game.name, game.rom_sha1, told, digests)
    target, up_to_date = publish_name(settings.shard_folder(game.name), f"{name}-raw", mark)
    header = ShardHeader(
        kind="raw",
        game=game.name,
        rom_sha1=game.rom_sha1,
        actions=tuple(game.buttons),
        timing=game.timing.contract,
        frame_contract=FrameContract(0, 0, "none"),
        milestones=milestones,
        provenance=provenance(
            "import",
            settings=decisive,
            fingerprint=mark,
            actor={"files": [path.name for path in paths], "sha256": digests},
        ),
    )
    if not up_to_date:
        _warn_of_other_shards(target, paths, digests, remarks)
        import_npz(
            paths,
            target,
            header,
            expert=expert,
            console=console,
            size=settings.preprocess.size,
            remarks=remarks,
        )
    with Shard(target) as shard:
        return {
            "shard": str(target),
            "up_to_date": up_to_date,
            "episodes": shard.n_episodes,
            "frames": shard.n_frames,
            "return_mean": float(shard.returns.mean()),
            "remarks": remarks.lines(),
        }


def _once_each(paths: Sequence[Path], remarks: Remarks) -> tuple[list[Path], list[str]]:
    """The files and their sha256, without those whose bytes came before."""
    first: dict[str, Path] = {}
    for path in paths:
        digest = sha256_of(path)
        if digest in first:
            remarks.warn(path, f"the same recording as {first[digest]}; it is taken once")
        else:
            first[digest] = path
    return list(first.values()), list(first)


def _warn_of_other_shards(
    target: Path, paths: Sequence[Path], digests: Sequence[str], remarks: Remarks
) -> None:
    """Say which files are in a shard of another name, beside which they would be learned twice."""
    named = dict(zip(digests, paths, strict=True))
    stem, _ = stem_and_version(target)
    catalogue = Catalogue(target.parent)
    others = [path for path in catalogue.files() if stem_and_version(path)[0] != stem]
    for entry in catalogue.of(others):
        if entry.error is not None or entry.get().stage != "import":
            continue
        actor = entry.get().provenance.get("actor")
        known = actor.get("sha256") if isinstance(actor, dict) else None
        for digest in known if isinstance(known, list) else []:
            if digest in named:
                remarks.warn(named[digest], f"{entry.path} has this recording too")


def import_npz(
    paths: Sequence[Path],
    target: Path,
    header: ShardHeader,
    *,
    expert: bool = False,
    console: Console | None = None,
    size: int = 84,
    remarks: Remarks | None = None,
) -> ShardHeader:
    """Publish ``target`` with one episode a file; the frame contract follows from the first file.

    ``observations`` is (T or T+1,H,W,3) or (T or T+1,3,H,W), u8 or float in 0..1; ``actions``
    (T,) indices into the header's actions; ``rewards`` (T,); ``dones`` (T,), true at the last
    step only, or nowhere (the episode then counts as broken). Without observation T+1 the last
    screen is repeated as the final frame. The files tell no state, seed, success or milestone:
    they become none, 0, false and -1. A file with the content of an earlier one is left out.
    Memory: one file.

    Args:
        console: the one that the game is played on; none takes the screen of any.
        size: frames of ``size`` by ``size`` are known as resized before.
        remarks: takes what is odd, but can be meant.

    Raises:
        PipelineError: a file that is missing, damaged, or not as above; ``target`` exists.
    """
    if not paths:
        raise PipelineError("data import: no files; name some, such as episode_*.npz")
    remarks = Remarks() if remarks is None else remarks
    read = partial(
        read_npz, header=header, expert=expert, console=console, size=size, remarks=remarks
    )
    first = read(paths[0])
    seen = {_content(first): paths[0]}
    height, width = first.final_frame.shape[:2]
    # A console's own screen, or else what the plan's tools made of it with torchvision's Resize.
    native = (height, width) in {(one.height, one.width) for one in CONSOLES}
    resampling = "none" if native else "bilinear"
    header = replace(header, frame_contract=FrameContract(height, width, resampling))
    with ShardWriter(target, header) as writer:
        writer.append(first)
        for path in paths[1:]:
            episode = read(path)
            if episode.final_frame.shape != first.final_frame.shape:
                raise PipelineError(
                    f"{path}: frames of {'x'.join(map(str, episode.final_frame.shape[:2]))}, but "
                    f"{paths[0]} has {height}x{width}; import them into shards of their own"
                )
            content = _content(episode)
            if content in seen:
                remarks.warn(path, f"the same recording as {seen[content]}; it is taken once")
            else:
                seen[content] = path
                writer.append(episode)
    return replace(header, shard_id=writer.shard_id)


def _content(episode: Episode) -> str:
    """sha256 of all that a file tells."""
    digest = hashlib.sha256()
    told = (episode.frames, episode.final_frame, episode.actions, episode.rewards)
    for values in (*told, episode.terminated):
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()
