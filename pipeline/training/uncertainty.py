"""How sure a student is of its button, how far several students differ, and how new a frame is."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.shards.format.frames import Frames
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.machine import choose_device

DROPPED = 0.2
"""Share of the hidden features that a thinned network does without."""
THINNED = 32
"""Thinned networks of one student."""
TOGETHER = 64
"""Frames that a network is asked about at a time: more are hardly faster, and need more memory."""
_BLOCK = 2048
"""Rows of a block of distances: with as many columns 16 MiB."""

Array = NDArray[np.float64]
Features = NDArray[np.float32]


def entropy(probabilities: Array) -> Array:
    """(n,) entropy in nats of n distributions (n,A) over buttons: 0 is sure, log A uniform.

    Settles and Craven 2008 compare it with `margin` and others.
    """
    logs = np.log(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
    total: Array = -(probabilities * logs).sum(axis=-1)
    return np.maximum(total, 0.0)


def margin(probabilities: Array) -> Array:
    """(n,) 1 - (p1 - p2) of the two likeliest buttons of (n,A): 1 cannot tell them apart."""
    two = np.partition(probabilities, -2, axis=-1)[..., -2:]
    between: Array = 1.0 - (two[..., 1] - two[..., 0])
    return between


def disagreement(members: Array) -> Array:
    """(n,) how far M networks differ in what they say (M,n,A) of n frames, in nats.

    The mean Kullback-Leibler divergence from each to their mean (McCallum and Nigam 1998), which
    is the entropy of the mean less the mean entropy: what a frame tells about the network
    (Houlsby et al. 2011). Where all are equally unsure of a button it is 0, unlike the entropy:
    such a frame is ambiguous, and a label would not fix that.
    """
    between: Array = entropy(members.mean(axis=0)) - entropy(members).mean(axis=0)
    return np.maximum(between, 0.0)


def softmax(logits: Array) -> Array:
    """Probabilities over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: Array = powers / powers.sum(axis=-1, keepdims=True)
    return shares


class Student:
    """A checkpoint that is asked for features and probabilities, in float32; it learns nothing.

    What it says of a frame is a function of the frame: it is always asked about TOGETHER frames,
    blank ones where there are fewer, because batches of another shape differ by rounding.
    """

    def __init__(self, checkpoint: Checkpoint, *, device: str = "auto") -> None:
        self.contract = checkpoint.frame_contract
        self.device = choose_device(device)
        network = checkpoint.network().to(self.device, torch.float32)
        self.network = network.to(memory_format=torch.channels_last)
        self.hidden = checkpoint.hidden
        self.told = bool(checkpoint.goals)
        """Whether its network is told the next milestone."""
        self._weight = network.head.weight.detach().cpu().double().numpy()
        self._bias = network.head.bias.detach().cpu().double().numpy()

    def features(self, frames: Frames, goals: NDArray[np.uint8] | None = None) -> Features:
        """The hidden layer's output (n,hidden) of frames (n,H,W,3) u8 as the contract says.

        Args:
            goals: (n,) number of each frame's next milestone, for a network that is told it.

        Raises:
            ValueError: a network that is told goals, and there are none.
        """
        blank = np.zeros((-len(frames) % TOGETHER, *frames.shape[1:]), np.uint8)
        asked = np.concatenate([frames, blank])
        told: NDArray[np.int64] | None = None
        if self.told and goals is not None:
            told = np.zeros(len(asked), np.int64)
            told[: len(goals)] = goals
        seen = np.empty((len(asked), self.hidden), np.float32)
        with torch.inference_mode():
            for first in range(0, len(asked), TOGETHER):
                some = torch.from_numpy(asked[first : first + TOGETHER]).to(self.device)
                goal = None
                if told is not None:
                    goal = torch.from_numpy(told[first : first + TOGETHER]).to(self.device)
                features = self.network.features(self.network.as_planes(some), goal)
                seen[first : first + TOGETHER] = features.cpu().numpy()
        return seen[: len(frames)]

    def probabilities(self, features: Features) -> Array:
        """(n,A) the network's probability of each button, of features (n,hidden)."""
        return softmax(features @ self._weight.T + self._bias)

    def thinned(self, features: Features, seed: int) -> Array:
        """(THINNED,n,A) what the student says with a part of its features left out.

        Monte-Carlo dropout (Gal and Ghahramani 2016) on the hidden features alone. Each thinned
        network leaves out the same features of every frame, chosen by ``seed``: they are like an
        ensemble, and a frame's answers do not depend on the others. The network was trained
        without dropout, so this is no approximate posterior, only how much the answer hangs on
        few features.
        """
        rng = np.random.default_rng([seed, THINNED])
        kept = rng.random((THINNED, self.hidden)) >= DROPPED
        weights = self._weight * (kept / (1.0 - DROPPED))[:, None, :]
        return softmax(np.einsum("nh,mah->mna", features, weights, optimize=True) + self._bias)


def nearest(features: Features, known: Features, before: Features | None = None) -> Features:
    """(n,) Euclidean distance of each of n features (n,h) to the nearest of m ``known`` (m,h).

    ``before`` are distances to others, with which the smaller counts. Equal features may be a
    rounding apart, about 1e-3 of their length. Memory: a block of distances, 16 MiB; time: n * m
    * h multiplications.
    """
    out = np.full(len(features), np.inf, np.float32) if before is None else before.copy()
    lengths, known_lengths = _squared(features), _squared(known)
    for low in range(0, len(features), _BLOCK):
        mine = slice(low, low + _BLOCK)
        for first in range(0, len(known), _BLOCK):
            other = slice(first, first + _BLOCK)
            squares = features[mine] @ known[other].T
            squares *= -2.0
            squares += known_lengths[other]
            closest = np.maximum(squares.min(axis=1) + lengths[mine], 0.0)
            out[mine] = np.minimum(out[mine], np.sqrt(closest))
    return out


def farthest_first(
    features: Features, distances: Features, count: int
) -> tuple[NDArray[np.intp], Features]:
    """Choose ``count`` of n features (n,h), each the farthest from all known and chosen before it.

    The greedy k-center of Gonzalez 1985, as Sener and Savarese 2018 choose what to label. Of two
    near ones the second is as far away as they are from one another, so it is chosen last.
    Memory: the features; time: n * count * h multiplications.

    Args:
        distances: (n,) to the nearest known one; inf throughout where none is known: then their
            mean counts as known.

    Returns:
        The chosen rows in the order of choice, and how far each was then; of equals the first.
    """
    left = distances.astype(np.float32, copy=True)
    if np.isinf(left).all():
        left = np.asarray(np.linalg.norm(features - features.mean(axis=0), axis=1), np.float32)
    lengths = _squared(features)
    rows = np.empty(count, np.intp)
    scores = np.empty(count, np.float32)
    for i in range(count):
        row = int(left.argmax())
        rows[i], scores[i] = row, left[row]
        squares = features @ features[row]
        squares *= -2.0
        squares += lengths
        squares += lengths[row]
        np.minimum(left, np.sqrt(np.maximum(squares, 0.0)), out=left)
        left[row] = -1.0  # below the 0 of others that are equal to it
    return rows, scores


def _squared(features: Features) -> Features:
    """(n,) squared length of each."""
    lengths: Features = np.einsum("nh,nh->n", features, features)
    return lengths
