"""The label stage: another expert gives another shard; labels are added, or replaced on request."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import label
from pipeline.settings.reading import Settings
from pipeline.shards.catalog.catalogue import entries_of
from pipeline.shards.catalog.facts import Facts
from pipeline.shards.format.schema import TRAIN, VALIDATION
from pipeline.shards.reader import Shard
from pipeline.shards.repair.diff import diff
from tests.changed import change
from tests.shards.factory import make_episode, processed_header, processed_shard, write, write_game


def facts(path: str) -> Facts:
    return entries_of([Path(path)])[0].get()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    game = write_game(tmp_path / "tiny")
    (game / "expert.py").write_text("def act(s):\n    return 'A' if s['x'] > 0 else 1 / 0\n")
    (tmp_path / "second.py").write_text("def act(s):\n    return 'UP'\n")
    processed_shard(tmp_path / "datasets" / "tiny" / "a-84-v001.h5", (5, 23))
    return Settings.model_validate(
        {"game": str(game), "paths": {"datasets": tmp_path / "datasets"}, "label": {"workers": 1}}
    )


def test_another_expert_gives_a_new_shard_and_the_first_one_gives_the_first_again(
    settings: Settings, tmp_path: Path
) -> None:
    first = label.run(settings)
    second = label.run(change(settings, expert={"path": tmp_path / "second.py"}))
    assert [Path(r.shards[0]).name for r in (first, second)] == [
        "a-labelled-v001.h5",
        "a-labelled-v002.h5",
    ]
    assert second.labels == second.frames == 28
    assert 0 < first.labels < 28
    with Shard(first.shards[0]) as one, Shard(second.shards[0]) as two:
        assert (two.column("expert_actions") == 2).all()
        assert not (one.column("expert_actions") == 2).any()
    told = diff(Path(first.shards[0]), Path(second.shards[0]))
    assert (told["both"], told["agreement"]) == (first.labels, 0.0)
    assert (told["only_a"], told["only_b"]) == (0, 28 - first.labels)
    again = label.run(settings)
    assert again.up_to_date
    assert again.labels == first.labels


def test_labels_are_added_where_there_are_none_and_kept_where_there_are(
    settings: Settings, tmp_path: Path
) -> None:
    first = label.run(settings)
    second = change(
        settings, label={"shards": first.shards}, expert={"path": tmp_path / "second.py"}
    )
    added = label.run(second)
    assert Path(added.shards[0]).name == "a-labelled-v002.h5"
    assert added.asked == 28 - first.labels
    told = diff(Path(first.shards[0]), Path(added.shards[0]))
    assert (told["agreement"], told["only_b"]) == (1.0, added.asked)
    by = facts(added.shards[0]).experts
    assert [(who.split()[0], n) for who, n in by.items()] == [
        ("second.py", added.asked),
        ("expert.py", first.labels),
    ]
    assert label.run(second).up_to_date


def test_labels_are_replaced_on_request(settings: Settings, tmp_path: Path) -> None:
    first = label.run(settings)
    replaced = label.run(
        change(
            settings,
            label={"shards": first.shards, "relabel": True},
            expert={"path": tmp_path / "second.py"},
        )
    )
    assert Path(replaced.shards[0]).name == "a-labelled-v002.h5"
    assert replaced.asked == 28
    assert list(facts(replaced.shards[0]).experts.values()) == [28]


def test_of_labels_that_were_replaced_in_part_the_rest_still_has_its_expert(
    settings: Settings, tmp_path: Path
) -> None:
    whole = label.run(change(settings, expert={"path": tmp_path / "second.py"}))
    (tmp_path / "third.py").write_text("def act(s):\n    return 'B'\n")
    part = label.run(
        change(
            settings,
            label={"shards": whole.shards, "relabel": True, "limit": 10},
            expert={"path": tmp_path / "third.py"},
        )
    )
    by = facts(part.shards[0]).experts
    assert [(who.split()[0], n) for who, n in by.items()] == [("third.py", 10), ("second.py", 18)]
    again = {"shards": part.shards, "relabel": True, "limit": 5}
    last = facts(label.run(change(settings, label=again)).shards[0])
    # Asked were the first, the last and three between them: each label still has its expert.
    assert {who.split()[0]: n for who, n in last.experts.items()} == {
        "expert.py": last.labels - 23,
        "second.py": 15,
        "third.py": 8,
    }


def test_a_picture_is_asked_about_once_where_repeats_are_left_out(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_wall, walking = make_episode(6, 0, size=(84, 84)), make_episode(4, 1, size=(84, 84))
    at_wall.frames[2:5] = at_wall.frames[1]  # three presses that changed nothing
    walking.frames[3] = at_wall.frames[0]  # and a picture of another game
    write(tmp_path / "datasets/tiny/b-84-v001.h5", processed_header(), [at_wall, walking])
    (tmp_path / "any.py").write_text("def act(s):\n    return 'UP'\n")
    once = change(
        settings,
        expert={"path": tmp_path / "any.py"},
        label={"shards": ["datasets/tiny/b-84-v001.h5"], "repeats": False},
    )
    monkeypatch.chdir(tmp_path)
    (shard,) = label.run(once).shards
    assert label.run(once).up_to_date
    asked = facts(str(shard))
    assert (asked.frames, asked.labels) == (10, 6)
    with Shard(shard) as kept:
        status = kept.column("label_status")
    assert status.tolist() == [1, 1, 0, 0, 0, 1, 1, 1, 1, 0]
    whole = change(once, label={"repeats": True})
    assert label.run(whole).labels == 10


def test_replaced_labels_are_those_of_one_expert_where_repeats_are_left_out(
    settings: Settings, tmp_path: Path
) -> None:
    at_wall = make_episode(6, 0, size=(84, 84))
    at_wall.frames[1:] = at_wall.frames[0]
    path = write(tmp_path / "datasets/tiny/c-84-v001.h5", processed_header(), [at_wall])
    for button in ("UP", "B"):
        (tmp_path / f"{button}.py").write_text(f"def act(s):\n    return {button!r}\n")
    first = change(settings, expert={"path": tmp_path / "UP.py"}, label={"shards": [str(path)]})
    (labelled,) = label.run(first).shards
    second = change(
        settings,
        expert={"path": tmp_path / "B.py"},
        label={"shards": [str(labelled)], "relabel": True, "repeats": False},
    )
    (replaced,) = label.run(second).shards
    with Shard(replaced) as shard:
        assert len(set(shard.column("expert_actions").tolist())) == 1


def test_a_picture_has_a_label_in_the_split_that_is_trained_on(
    settings: Settings, tmp_path: Path
) -> None:
    unseen, seen = make_episode(3, 0, size=(84, 84)), make_episode(3, 1, size=(84, 84))
    seen.frames[:] = unseen.frames[:]
    episodes = [replace(unseen, split=VALIDATION), replace(seen, split=TRAIN)]
    path = write(tmp_path / "datasets/tiny/d-84-v001.h5", processed_header(), episodes)
    (tmp_path / "any.py").write_text("def act(s):\n    return 'UP'\n")
    once = change(
        settings,
        expert={"path": tmp_path / "any.py"},
        label={"shards": [str(path)], "repeats": False},
    )
    assert label.run(once).labels == 6
