"""Two labellings of the same recordings: counted by hand, step by step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.shards.format.schema import NO_ACTION, Episode, LabelStatus
from pipeline.shards.repair.diff import diff, last_milestone
from pipeline.system.errors import PipelineError
from tests.shards.factory import make_episode, make_header, processed_header, write


def labelled(episode: Episode, buttons: list[int]) -> Episode:
    """The episode with these labels; -1 is none."""
    expert = np.array([NO_ACTION if b < 0 else b for b in buttons], np.uint8)
    status = np.where(expert == NO_ACTION, LabelStatus.FAILED, LabelStatus.LABELLED)
    return replace(episode, expert_actions=expert, label_status=status.astype(np.uint8))


def small(steps: int, seed: int, milestones: tuple[int, int] = (2, -1)) -> Episode:
    return make_episode(steps, seed, size=(84, 84), milestones=milestones)


def test_agreement_is_counted_by_button_and_by_milestone(tmp_path: Path) -> None:
    first, second = small(6, 0, (2, 4)), small(4, 1, (-1, -1))
    a = write(
        tmp_path / "a.h5",
        processed_header(),
        [labelled(first, [0, 0, 1, 1, 2, -1]), labelled(second, [3, 3, -1, 0])],
    )
    # The other lists them the other way round, and has one that the first has not.
    b = write(
        tmp_path / "b.h5",
        processed_header(),
        [
            labelled(small(7, 2), [0] * 7),
            labelled(second, [3, 2, -1, -1]),
            labelled(first, [0, 1, 1, 1, 2, 2]),
        ],
    )
    told = diff(a, b)
    assert told == {
        "a": str(a),
        "b": str(b),
        "steps": 10,
        "both": 7,
        "only_a": 1,
        "only_b": 1,
        "unmatched_a": 0,
        "unmatched_b": 7,
        "agreement": 5 / 7,
        "by_action": [
            {"a": "A", "steps": 2, "agreement": 0.5, "b A": 1, "b B": 1, "b UP": 0, "b DOWN": 0},
            {"a": "B", "steps": 2, "agreement": 1.0, "b A": 0, "b B": 2, "b UP": 0, "b DOWN": 0},
            {"a": "UP", "steps": 1, "agreement": 1.0, "b A": 0, "b B": 0, "b UP": 1, "b DOWN": 0},
            {"a": "DOWN", "steps": 2, "agreement": 0.5, "b A": 0, "b B": 0, "b UP": 1, "b DOWN": 1},
        ],
        "by_milestone": [
            {"last_milestone": "none yet", "steps": 4, "agreement": 0.5},
            {"last_milestone": "left_home", "steps": 2, "agreement": 1.0},
            {"last_milestone": "badge", "steps": 1, "agreement": 1.0},
        ],
    }
    back = diff(b, a)
    assert (back["agreement"], back["only_a"], back["only_b"]) == (5 / 7, 1, 1)


def test_a_shard_agrees_with_itself_and_two_without_common_labels_with_nothing(
    tmp_path: Path,
) -> None:
    one, other = small(5, 0), small(5, 0)
    a = write(tmp_path / "a.h5", processed_header(), [labelled(one, [0, 1, 2, -1, -1])] * 2)
    b = write(tmp_path / "b.h5", processed_header(), [labelled(other, [-1, -1, -1, 0, 0])] * 2)
    assert diff(a, a)["agreement"] == 1.0
    assert diff(a, a)["steps"] == 10  # a recording that lies there twice counts twice
    told = diff(a, b)
    assert (told["both"], told["agreement"], told["only_a"], told["only_b"]) == (0, None, 6, 4)


@pytest.mark.parametrize(
    ("reached", "last"),
    [
        ([-1, -1], [-1, -1, -1, -1]),
        ([0, -1], [0, 0, 0, 0]),
        ([1, 3], [-1, 0, 0, 1]),
        ([3, 1], [-1, 1, 1, 0]),
        ([2, 2], [-1, -1, 1, 1]),
        ([-1, 4], [-1, -1, -1, -1]),
    ],
)
def test_the_last_milestone_before_a_step_is_the_latest_reached(
    reached: list[int], last: list[int]
) -> None:
    assert last_milestone(np.array(reached, np.int32), 4).tolist() == last


def test_shards_of_other_recordings_cannot_be_compared(tmp_path: Path) -> None:
    a = write(tmp_path / "a.h5", processed_header(), [small(5, 0)])
    b = write(tmp_path / "b.h5", processed_header(), [small(5, 1)])
    with pytest.raises(PipelineError) as error:
        diff(a, b)
    assert str(error.value) == (
        f"{a}, {b}: no recording in common, so there is nothing to compare; "
        "give two shards that descend from one"
    )


def test_a_recording_of_which_steps_were_left_out_cannot_be_compared(tmp_path: Path) -> None:
    whole = small(6, 0)
    part = replace(small(5, 0), root=whole.root)
    a = write(tmp_path / "a.h5", processed_header(), [whole])
    b = write(tmp_path / "b.h5", processed_header(), [small(3, 7), part])
    with pytest.raises(PipelineError) as error:
        diff(a, b)
    assert str(error.value) == (
        f"{b}: episode 1 ({whole.root}) has other steps than episode 0 of {a}; compare shards "
        "made from the same steps (preprocess.drop_null_actions leaves some out)"
    )


def test_shards_of_other_games_buttons_or_milestones_cannot_be_compared(tmp_path: Path) -> None:
    a = write(tmp_path / "a.h5", processed_header(), [small(5, 0)])
    b = write(tmp_path / "b.h5", processed_header(game="other"), [small(5, 0)])
    with pytest.raises(PipelineError) as error:
        diff(a, b)
    assert str(error.value) == f"{b}: the game is other, not tiny"
    c = write(tmp_path / "c.h5", processed_header(milestones=("x", "y")), [small(5, 0)])
    with pytest.raises(PipelineError) as error:
        diff(a, c)
    assert str(error.value) == (
        f"{c}: the milestones are x y, not left_home badge as in {a}; "
        "compare shards of one game.yaml"
    )


def test_raw_shards_can_be_compared_too(tmp_path: Path) -> None:
    episode = make_episode(5, 0, labelled=True)
    paths = [write(tmp_path / f"{i}.h5", make_header(mark=str(i)), [episode]) for i in range(2)]
    assert diff(*paths)["agreement"] == 1.0
