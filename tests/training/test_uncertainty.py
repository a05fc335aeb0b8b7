"""Scores of steps: on distributions made by hand, on a student's frames, and greedy novelty."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pipeline.training import uncertainty
from pipeline.training.impala import ImpalaCNN
from pipeline.training.uncertainty import (
    THINNED,
    Student,
    disagreement,
    entropy,
    farthest_first,
    margin,
    nearest,
    softmax,
)
from tests.loading import made
from tests.training.test_checkpoint import checkpoint

SURE = [1.0, 0.0, 0.0, 0.0]
EVEN = [0.25, 0.25, 0.25, 0.25]
TORN = [0.5, 0.5, 0.0, 0.0]


@pytest.fixture(scope="module")
def student() -> Student:
    torch.manual_seed(0)
    return Student(checkpoint(weights=ImpalaCNN(10, hidden=32).state_dict(), hidden=32))


def frames(count: int) -> np.ndarray:
    return np.stack([made.frame_of(i % 10, i) for i in range(count)])


def test_entropy_is_zero_where_the_student_is_sure_and_the_logarithm_where_it_knows_nothing() -> (
    None
):
    known = entropy(np.array([SURE, EVEN, TORN]))
    assert known == pytest.approx([0.0, math.log(4), math.log(2)])


def test_margin_is_one_where_two_buttons_cannot_be_told_apart() -> None:
    assert margin(np.array([SURE, EVEN, TORN, [0.1, 0.7, 0.2, 0.0]])) == pytest.approx(
        [0.0, 1.0, 1.0, 0.5]
    )


def test_entropy_and_margin_may_differ_about_what_is_less_sure() -> None:
    torn_and_vague = np.array([[0.5, 0.49, 0.01, 0.0], [0.55, 0.15, 0.15, 0.15]])
    assert np.diff(margin(torn_and_vague))[0] < 0 < np.diff(entropy(torn_and_vague))[0]


def test_networks_that_are_equally_unsure_do_not_disagree() -> None:
    agreeing = np.array([[TORN], [TORN], [TORN]])
    split = np.array([[SURE], [SURE[::-1]]])
    assert disagreement(agreeing) == pytest.approx([0.0])
    assert disagreement(split) == pytest.approx([math.log(2)])


def test_disagreement_is_the_mean_divergence_from_the_consensus() -> None:
    members = softmax(np.random.default_rng(0).normal(size=(5, 7, 4)))
    consensus = members.mean(axis=0)
    divergence = (members * np.log(members / consensus)).sum(axis=2).mean(axis=0)
    assert disagreement(members) == pytest.approx(divergence)


def test_what_a_student_says_of_a_frame_does_not_depend_on_the_others(student: Student) -> None:
    shown = frames(100)
    seen = student.features(shown)
    assert seen.shape == (100, 32)
    order = np.random.default_rng(0).permutation(100)
    assert (student.features(shown[order]) == seen[order]).all()
    assert (student.features(shown[37:38]) == seen[37:38]).all()
    assert student.features(shown[:0]).shape == (0, 32)
    assert np.allclose(student.probabilities(seen).sum(axis=1), 1.0)


def test_the_probabilities_are_those_of_the_whole_network(student: Student) -> None:
    shown = frames(5)
    with torch.inference_mode():
        logits = student.network(torch.from_numpy(shown)).double().numpy()
    assert student.probabilities(student.features(shown)) == pytest.approx(softmax(logits))


def test_thinned_networks_are_chosen_by_the_seed_and_the_same_for_every_frame(
    student: Student,
) -> None:
    seen = student.features(frames(20))
    said = student.thinned(seen, seed=3)
    assert said.shape == (THINNED, 20, 10)
    assert np.allclose(student.thinned(seen[4:5], seed=3)[:, 0], said[:, 4], rtol=1e-12)
    assert not np.allclose(student.thinned(seen, seed=4), said)
    # Each leaves out features: what it says differs from the whole network and from the others.
    assert len(np.unique(said[:, 0].round(9), axis=0)) > THINNED / 2


def test_distances_are_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    here, known = (rng.normal(size=(n, 6)).astype(np.float32) for n in (50, 40))
    apart = np.linalg.norm(here[:, None] - known[None], axis=2)
    monkeypatch.setattr(uncertainty, "_BLOCK", 7)
    assert nearest(here, known) == pytest.approx(apart.min(axis=1), abs=1e-5)
    before = nearest(here, known[:15])
    assert nearest(here, known[15:], before) == pytest.approx(apart.min(axis=1), abs=1e-5)


def test_each_chosen_is_the_farthest_from_all_known_and_chosen() -> None:
    rng = np.random.default_rng(1)
    here, known = (rng.normal(size=(n, 4)).astype(np.float32) for n in (60, 5))
    rows, scores = farthest_first(here, nearest(here, known), 20)
    assert len(set(rows.tolist())) == 20
    for i, row in enumerate(rows):
        centres = np.concatenate([known, here[rows[:i]]])
        apart = np.linalg.norm(here[:, None] - centres[None], axis=2).min(axis=1)
        assert row == apart.argmax()
        assert scores[i] == pytest.approx(apart[row], abs=1e-5)


def test_of_two_near_features_only_one_is_chosen_while_others_are_left() -> None:
    corners = np.array([[0, 0], [9, 0], [0, 9], [9, 9]], np.float32)
    here = np.concatenate([corners, corners + np.float32(0.01)])
    rows, scores = farthest_first(here, np.full(8, np.inf, np.float32), 8)
    assert sorted((rows[:4] % 4).tolist()) == [0, 1, 2, 3]
    assert (scores[:4] > 1).all()
    assert (scores[4:] < 0.1).all()
    assert sorted(rows.tolist()) == list(range(8))
