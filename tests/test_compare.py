"""The comparison's curves of chosen labels, on the real emulator with a tiny budget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import label, preprocess, train
from pipeline.loops import compare
from pipeline.loops.thinning import thin
from pipeline.reports.plots import plot_comparison
from pipeline.reports.telling import told
from pipeline.settings.reading import Settings, load_settings
from pipeline.shards.format.schema import LabelStatus
from pipeline.shards.reader import Shard
from pipeline.system.errors import PipelineError
from pipeline.training.checkpoint import load_checkpoint
from pipeline.training.optimising import learning_rate

ROOT = Path(__file__).parent.parent
CONTROLS = ("cloning_cycles", "cloning_thinned", "cloning_thinned_cycles")


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
                "controls": ["cloning_cycles", "cloning_thinned", "cloning_thinned_cycles"],
                "select": ["novel"],
            },
        }
    )


@pytest.fixture(scope="module")
def result(settings: Settings) -> dict[str, Any]:
    return told(compare.run(settings))


def test_chosen_labels_are_compared_with_as_many_spread_evenly(result: dict[str, Any]) -> None:
    assert [(row["method"], row["labels"], row["updates"]) for row in result["rows"]] == [
        (method, labels, updates)
        for method in ("dagger", "novel", *CONTROLS)
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
    names = sorted(str(path.relative_to(shards)) for path in shards.rglob("*-dagger-0-round-1*"))
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
    assert told(compare.run(settings))["rows"] == result["rows"]
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*.h5")} == before


def test_the_controls_have_daggers_schedule_its_labels_an_episode_or_both(
    settings: Settings, result: dict[str, Any]
) -> None:
    first = settings.run_folder() / "dagger-0-30" / "final.pt"
    given: dict[str, tuple[Any, ...]] = {}
    thin: dict[str, list[int]] = {}
    for method in ("dagger", *CONTROLS):
        network = load_checkpoint(settings.run_folder() / f"{method}-0-40" / "final.pt")
        train = network.settings["train"]
        rates = [
            learning_rate(train["schedule"], train["learning_rate"], step, train["steps"])
            for step in range(network.step)
        ]
        (state, *_) = network.optimizer["state"].values()
        begun = train["start_from"] and Path(train["start_from"])
        given[method] = (begun, network.step, rates, int(state["step"]))
        assert network.metrics["summary"]["labels"] == 40
        thin[method] = []
        for path in train["shards"][1:]:
            with Shard(Path(path)) as shard:
                asked = shard.column("label_status") == LabelStatus.LABELLED
                ends = np.cumsum(shard.lengths)
                thin[method] += [
                    int(asked[end - n : end].sum())
                    for end, n in zip(ends, shard.lengths, strict=True)
                ]
    # (where it began, updates, the rate of each, updates of its optimizer)
    assert given["dagger"][:2] == (first, 2)
    assert given["dagger"][3] == 2
    assert given["cloning_cycles"] == given["cloning_thinned_cycles"] == given["dagger"]
    assert given["cloning_thinned"][:2] == (None, 4)
    # Labels of each episode beside the first demonstrations.
    assert thin == {
        "dagger": [10],
        "cloning_cycles": [],
        "cloning_thinned": [10],
        "cloning_thinned_cycles": [10],
    }


def test_the_curve_of_the_readme_fits_its_budgets() -> None:
    plain = load_settings(ROOT / "configs" / "compare.yaml").compare
    assert plain.select == []
    assert plain.controls == Settings().compare.controls
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
        for method in (
            "dagger",
            "uncertain",
            "disagree",
            "novel",
            "cloning",
            "cloning_clean",
            *CONTROLS,
        )
        for labels in (10, 20)
    ]
    few = plot_comparison(rows[:2], tmp_path / "few.png").read_bytes()
    many = plot_comparison(rows, tmp_path / "many.png").read_bytes()
    assert 5_000 < len(few) < len(many)


def test_labels_that_are_too_few_to_be_thinned_are_named(
    settings: Settings, result: dict[str, Any], tmp_path: Path
) -> None:
    (source,) = settings.shard_folder("quest").rglob("*thinned*-labelled-v001.h5")
    with pytest.raises(PipelineError) as caught:
        thin(source, tmp_path, "few", 11)
    assert str(caught.value) == (
        f"{source}: has 10 labels, fewer than the 11 that are to be kept; let the expert play more "
        "episodes (compare.rollouts), or lower compare.labels"
    )
    assert list(tmp_path.iterdir()) == []
    kept = thin(source, tmp_path, "few", 4)
    with Shard(source) as before, Shard(kept) as after:
        left = np.flatnonzero(after.column("label_status") == LabelStatus.LABELLED)
        there = np.flatnonzero(before.column("label_status") == LabelStatus.LABELLED)
        assert left.tolist() == there[[0, 3, 6, 9]].tolist()
        assert np.array_equal(
            after.column("expert_actions")[left], before.column("expert_actions")[left]
        )
    assert thin(source, tmp_path, "few", 4) == kept
