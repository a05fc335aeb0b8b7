"""Plots for the README and for a run's folder."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

from pipeline.system.files import replace_file

matplotlib.use("Agg")
import matplotlib.pyplot as plt

STYLE = {
    "dagger": ("DAgger", "#1f6fb4", "o"),
    "cloning": ("cloning, demonstrations under the same noise", "#d9691e", "s"),
    "cloning_clean": ("cloning, clean demonstrations", "#7a7a7a", "^"),
    "cloning_cycles": ("cloning, restarted as often as DAgger", "#a0522d", "<"),
    "cloning_thinned": ("cloning, labels as sparse as DAgger's", "#e0a800", ">"),
    "cloning_thinned_cycles": ("cloning, restarted and sparse", "#3b9e9e", "X"),
    "uncertain": ("DAgger, labels where the student is least sure", "#c0392b", "D"),
    "disagree": ("DAgger, labels where its dropout disagrees", "#8e44ad", "v"),
    "novel": ("DAgger, labels on what is newest to it", "#2a8a4a", "P"),
}
SPREAD = "DAgger, labels spread evenly"
"""What ``dagger`` is called beside curves whose labels are chosen."""
APART = 0.012
"""Of the width: how far the methods stand apart at the same budget, so that bars do not hide."""


def plot_comparison(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Success and milestones against expert labels, a line a method; points are single seeds."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.8), constrained_layout=True)
    methods = [method for method in STYLE if any(row["method"] == method for row in rows)]
    chosen = any(method in ("uncertain", "disagree", "novel") for method in methods)
    width = max(row["labels"] for row in rows) - min(row["labels"] for row in rows)
    for place, method in enumerate(methods):
        title, colour, marker = STYLE[method]
        title = SPREAD if method == "dagger" and chosen else title
        mine = [row for row in rows if row["method"] == method]
        aside = (place - (len(methods) - 1) / 2) * APART * width
        labels = [row["labels"] + aside for row in mine]
        rates = [row["success_rate"] for row in mine]
        errors = [
            [row["success_rate"] - row["success_low"] for row in mine],
            [row["success_high"] - row["success_rate"] for row in mine],
        ]
        left.errorbar(labels, rates, errors, color=colour, marker=marker, label=title, capsize=3)
        for x, row in zip(labels, mine, strict=True):
            n = len(row["by_seed"])
            left.scatter([x] * n, row["by_seed"], color=colour, s=10, alpha=0.5)
        milestones = [row["milestones_mean"] for row in mine]
        right.plot(labels, milestones, color=colour, marker=marker)
    left.set(xlabel="expert labels", ylabel="success rate", ylim=(-0.03, 1.03))
    right.set(xlabel="expert labels", ylabel="milestones reached", ylim=(0, None))
    for axes in (left, right):
        axes.set_xticks(sorted({row["labels"] for row in rows}))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    columns = 3 if len(methods) <= 3 else 2
    figure.legend(loc="outside upper center", ncols=columns, frameon=False, fontsize=8)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=130, format=path.suffix.lstrip("."))
    plt.close(figure)
    replace_file(path, picture.getvalue(), "plot")
    return path
