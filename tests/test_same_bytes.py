"""The same run gives the same bytes in every round.

Whoever's processes, folders and interruptions they were.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import h5py
import pytest

from pipeline.loops import dagger
from pipeline.settings.reading import Settings
from pipeline.shards.reader import Shard
from pipeline.training.checkpoint import load_checkpoint
from pipeline.training.optimising import Cloner
from tests.changed import change


def settings_in(folder: Path, workers: int) -> Settings:
    tree: dict[str, Any] = {
        "run": "tiny",
        "paths": {"datasets": folder / "datasets", "checkpoints": folder / "checkpoints"},
        "collect": {"max_steps": 25, "workers": workers},
        "preprocess": {"workers": workers, "validation": 0.0},
        "label": {"workers": workers},
        "train": {"batch_size": 4, "hidden": 16, "threads": 1, "precision": "fp32"},
        "evaluate": {"episodes": 2, "max_steps": 10, "workers": workers},
        "dagger": {"rounds": 2, "episodes": 2, "steps": 3, "evaluate_episodes": 1},
    }
    tree["train"] |= {"device": "cpu", "workers": 0, "cache": "ram"}
    return Settings.model_validate(tree)


def interrupt_at(update: int, patch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the network is updated for this time."""
    original, seen = Cloner.update, []

    def counted(self: Cloner, *args: Any) -> Any:
        seen.append(1)
        if len(seen) == update:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, *args)

    patch.setattr(Cloner, "update", counted)


def test_two_dagger_runs_are_the_same_in_every_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = settings_in(tmp_path / "one", 1), settings_in(tmp_path / "two/deep", 2)
    result = dagger.run(one)
    assert [row.round for row in result.rounds] == [0, 1]
    assert [row.beta for row in result.rounds] == [1.0, 0.0]
    assert result.rounds[1].labels > result.rounds[0].labels
    with monkeypatch.context() as patch:
        interrupt_at(5, patch)  # the second of the second round
        with pytest.raises(KeyboardInterrupt):
            dagger.run(other)
    assert (other.run_folder() / "round-01/last.pt").exists()
    assert not (other.run_folder() / "round-01/final.pt").exists()
    dagger.run(other)
    folders = [settings.shard_folder("quest") for settings in (one, other)]
    names, others = (sorted(path.name for path in folder.glob("*.h5")) for folder in folders)
    assert names == others
    assert len(names) == 2 * 3 + 1  # three a round, and the rollouts of the last evaluation
    for name in names:
        mine, theirs = (folder / name for folder in folders)
        if "-labelled-" not in name:
            assert mine.read_bytes() == theirs.read_bytes(), name
            continue
        # When each answer was given is told, and nothing else differs.
        with h5py.File(mine) as a, h5py.File(theirs) as b:
            differ: list[str] = []
            a.visititems(
                lambda path, item, b=b, differ=differ: (
                    differ.append(path)  # type: ignore[misc]
                    if isinstance(item, h5py.Dataset)
                    and (item[()].tobytes() != b[path][()].tobytes())
                    else None
                )
            )
            assert set(differ) <= {"labels/time", "checksums/chunks", "checksums/datasets"}
            attributes = [dict(file.attrs) for file in (a, b)]
            for told in attributes:
                del told["stored_sha256"]
            assert str(attributes[0]) == str(attributes[1])
    for round_ in range(2):
        networks = [
            load_checkpoint(settings.run_folder() / f"round-{round_:02d}/final.pt")
            for settings in (one, other)
        ]
        assert networks[0].sha256 == networks[1].sha256
        assert networks[0].inputs == networks[1].inputs
        assert networks[0].optimizer_sha256 == networks[1].optimizer_sha256
    assert load_checkpoint(one.run_folder() / "final.pt").sha256 == networks[0].sha256
    # The files that hold these networks are not the same: they tell seconds and folders.
    files = [settings.run_folder() / "final.pt" for settings in (one, other)]
    assert files[0].read_bytes() != files[1].read_bytes()
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.h5")}
    elsewhere = change(one, paths={"checkpoints": str(other.paths.checkpoints)})
    again = dagger.run(elsewhere)  # with the networks of the other folder nothing is to be done
    assert again.evaluation.milestones == result.evaluation.milestones
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.h5")} == stamps
    with Shard(folders[0] / "tiny-round-01-raw-v001.h5") as shard:
        assert shard.header.provenance["actor"]["checkpoint"]["sha256"] == (
            load_checkpoint(one.run_folder() / "round-00/final.pt").sha256
        )
