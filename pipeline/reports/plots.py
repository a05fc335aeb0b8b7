"""Plots for the README and for a run's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

STYLE = {
    "dagger": ("DAgger", "#1f6fb4", "o"),
    "cloning": ("cloning, demonstrations under the same noise", "#d9691e", "s"),
    "cloning_clean": ("cloning, clean demonstrations", "#7a7a7a", "^"),
}


def plot_comparison(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Success and milestones against expert labels, a line a method; points are single seeds."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.8), constrained_layout=True)
    for method, (title, colour, marker) in STYLE.items():
        mine = [row for row in rows if row["method"] == method]
        labels = [row["labels"] for row in mine]
        rates = [row["success_rate"] for row in mine]
        errors = [
            [row["success_rate"] - row["success_low"] for row in mine],
            [row["success_high"] - row["success_rate"] for row in mine],
        ]
        left.errorbar(labels, rates, errors, color=colour, marker=marker, label=title, capsize=3)
        for row in mine:
            n = len(row["by_seed"])
            left.scatter([row["labels"]] * n, row["by_seed"], color=colour, s=10, alpha=0.5)
        milestones = [row["milestones_mean"] for row in mine]
        right.plot(labels, milestones, color=colour, marker=marker)
    left.set(xlabel="expert labels", ylabel="success rate", ylim=(-0.03, 1.03))
    right.set(xlabel="expert labels", ylabel="milestones reached", ylim=(0, None))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path
