"""The comparison's curves of chosen labels, on the real emulator with a tiny budget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import compare, label, preprocess, train
from pipeline.config import Settings, load_settings
from pipeline.errors import PipelineError
from pipeline.policies.checkpoint import load_checkpoint
from pipeline.reports.plots import plot_comparison
from pipeline.shards.reader import Shard
from pipeline.shards.schema import LabelStatus

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("compare")
    return Settings.model_validate(
        {
            "run": "small",
            "paths": {"datasets": folder / "datasets", "checkpoints": folder / "checkpoints"},
            "collect": {"max_steps": 50, "workers": 1},
            "preprocess": {"workers": 1},
            "label": {"workers": 1},
            "train": {"batch_size": 8, "threads": 1, "hidden": 16, "schedule": "one_cycle"},
            "evaluate": {"max_steps": 20, "workers": 1},
            "compare": {
                "seeds": [0],
                "labels": [30, 40],
                "updates": [2, 4],
                "episodes": 1,
                "rollouts": 1,
                "demonstrations": 1,
                "controls": [],
                "select": ["novel"],
            },
        }
    )


@pytest.fixture(scope="module")
def result(settings: Settings) -> dict[str, Any]:
    return compare.run(settings)


def test_chosen_labels_are_compared_with_as_many_spread_evenly(result: dict[str, Any]) -> None:
    assert [(row["method"], row["labels"], row["updates"]) for row in result["rows"]] == [
        (method, labels, updates)
        for method in ("dagger", "novel")
        for labels, updates in [(30, 2), (40, 4)]
    ]
    cells = json.loads(Path(result["table"]).read_text())["cells"]
    before = [{k: v for k, v in c.items() if k != "method"} for c in cells if c["labels"] == 30]
    assert before[0] == before[1]  # one network, before anything was chosen
    assert Path(result["plot"]).stat().st_size > 10_000


def test_only_the_choice_differs_in_the_first_round(
    settings: Settings, result: dict[str, Any]
) -> None:
    shards = settings.shard_folder("quest") / "compare"
    names = sorted(str(path.relative_to(shards)) for path in shards.rglob("*round-1*"))
    assert names == [
        "even-10/small-dagger-0-round-1-labelled-v001.h5",
        "novel-10/small-dagger-0-round-1-labelled-v001.h5",
        "small-dagger-0-round-1-84-v001.h5",
        "small-dagger-0-round-1-raw-v001.h5",
    ]
    with Shard(shards / names[0]) as even, Shard(shards / names[1]) as chosen:
        asked = [
            np.flatnonzero(shard.column("label_status") == LabelStatus.LABELLED)
            for shard in (even, chosen)
        ]
        frames = even.read_frames(0, 50)
        assert (frames == chosen.read_frames(0, 50)).all()
    assert [len(rows) for rows in asked] == [10, 10]
    assert asked[0].tolist() == np.linspace(0, 49, 10).round().astype(int).tolist()
    assert asked[0].tolist() != asked[1].tolist()
    pictures = [len({frame.tobytes() for frame in frames[rows]}) for rows in asked]
    assert pictures[1] >= pictures[0]
    for run in ("dagger-0-40", "novel-0-40"):
        network = load_checkpoint(settings.run_folder() / run / "final.pt")
        assert network.metrics["summary"]["labels"] == 40


def test_no_stage_makes_new_versions_of_what_was_compared(
    settings: Settings, result: dict[str, Any]
) -> None:
    """The shards are thinned to budgets and not split: only who names them takes them."""
    home = settings.game_folder("quest")
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*.h5")}
    for stage, missing in (
        (preprocess, "no raw shard to preprocess; run 'collect' first, or name one in "
         "preprocess.shards"),
        (label, "no processed shard to label; run 'collect' and 'preprocess' first"),
        (train, "no labelled shard; run the stages collect, preprocess and label first"),
    ):  # fmt: skip
        with pytest.raises(PipelineError) as caught:
            stage.run(settings)
        assert str(caught.value) == (
            f"{home / 'small'}: {missing}, or take those of another run with --from_run "
            "(small/compare, small/compare/even-10, small/compare/novel-10)"
        )
    assert compare.run(settings)["rows"] == result["rows"]
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*.h5")} == before


def test_the_curve_of_the_readme_fits_its_budgets() -> None:
    plain = load_settings(ROOT / "configs" / "compare.yaml").compare
    assert plain.select == []
    assert plain.controls == ["cloning", "cloning_clean"]
    chosen = load_settings(ROOT / "configs" / "compare-select.yaml").compare
    assert chosen.select == ["uncertain", "disagree", "novel"]
    assert len(chosen.labels) == len(chosen.updates)


def test_a_plot_has_a_line_for_each_method_that_was_run(tmp_path: Path) -> None:
    rows = [
        {
            "method": method,
            "labels": labels,
            "success_rate": 0.5,
            "success_low": 0.4,
            "success_high": 0.6,
            "by_seed": [0.4, 0.6],
            "milestones_mean": 3.0,
        }
        for method in ("dagger", "uncertain", "disagree", "novel", "cloning", "cloning_clean")
        for labels in (10, 20)
    ]
    few = plot_comparison(rows[:2], tmp_path / "few.png").read_bytes()
    many = plot_comparison(rows, tmp_path / "many.png").read_bytes()
    assert 5_000 < len(few) < len(many)
