"""quest learned from programs that a model wrote, from the first prompt to the last figure.

``python -m tests.author_demo FOLDER`` starts the loopback server, whose model is the conversation
of `tests.quest_author`, and runs the real commands on it: author, collect, preprocess, label,
train, evaluate, and dagger, with prices set, so that every table says what a success has cost.
``--size few`` only shows that the commands fit together, ``--size all`` is the default run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.model_server import ModelServer
from tests.quest_author.conversation import Conversation

ROOT = Path(__file__).parent.parent
MODEL = ["--model.name", "a-model-1", "--model.prices.input", "3", "--model.prices.output", "15"]
# Enough to learn the greater part of the game; only as many as it takes to go through all stages.
SIZES = {
    "some": {
        "collect": ["--episodes", "16"],
        "train": ["--steps", "600"],
        "evaluate": ["--episodes", "20"],
        "dagger": [
            "--rounds", "3", "--episodes", "16", "--steps", "600",
            "--dagger.evaluate_episodes", "10", "--evaluate.episodes", "40",
        ],
    },
    "few": {
        "collect": ["--episodes", "4"],
        "train": ["--steps", "30"],
        "evaluate": ["--episodes", "4", "--max_steps", "200"],
        "dagger": [
            "--rounds", "2", "--episodes", "4", "--steps", "30", "--collect.max_steps", "400",
            "--dagger.evaluate_episodes", "2", "--evaluate.episodes", "4",
            "--evaluate.max_steps", "200",
        ],
    },
    "all": {"collect": ["--episodes", "16"], "train": ["--steps", "1000"]},
}  # fmt: skip


def run(
    stage: str, words: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> dict[str, Any]:
    """Run one command, show what it shows, and return its result."""
    command = [sys.executable, "-m", "pipeline", stage, "--json", "--config", "configs/quest.yaml"]
    command += ["--paths.datasets", f"{folder}/datasets"]
    command += ["--paths.checkpoints", f"{folder}/checkpoints", *words]
    print(f"\n$ pokemon-il {stage} {' '.join(words)}", flush=True)
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
    )
    last = ""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("{"):
            last = line
        else:
            print(line, end="", flush=True)
    if process.wait():
        raise SystemExit(process.returncode)
    result: dict[str, Any] = json.loads(last)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--size", choices=SIZES, default="some", help="all: DAgger as in configs/quest.yaml"
    )
    given = parser.parse_args()
    folder = given.folder.resolve()
    sizes = SIZES[given.size]
    with ModelServer(Conversation()) as server:
        key = server.environment()
        run("author", [*MODEL, "--author.dry_run"], folder, key)
        wrote = run("author", [*MODEL, "--budget.dollars", "20"], folder, key)
    # From here on the program is free, and no key is there.
    key = dict.fromkeys(key, "")
    use = ["--expert.path", str(wrote["program"])]
    run("collect", [*use, *sizes.get("collect", [])], folder, key)
    run("preprocess", [], folder, key)
    run("label", use, folder, key)
    run("train", ["--run", "cloned", *sizes.get("train", [])], folder, key)
    run("evaluate", ["--run", "cloned", *use, *sizes.get("evaluate", [])], folder, key)
    learned = run("dagger", ["--run", "learned", *use, *sizes.get("dagger", [])], folder, key)
    print(
        f"\n{learned['success_rate']:.2f} of unseen games won, {learned['milestones_mean']:.1f} "
        f"milestones a game, for ${learned['dollars']:.4f}"
    )


if __name__ == "__main__":
    main()
