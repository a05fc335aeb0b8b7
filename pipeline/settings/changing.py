"""Settings with some keys replaced, in a way that a type checker sees through."""

from __future__ import annotations

from pipeline.settings.expert_fields import Expert
from pipeline.settings.fields import (
    Collect,
    Curriculum,
    Evaluate,
    Label,
    Preprocess,
    Settings,
    Train,
)


def change(
    settings: Settings,
    run: str | None = None,
    *,
    subtask: tuple[str | None, str | None] | None = None,
    owner: str | None = None,
    collect: Collect | None = None,
    preprocess: Preprocess | None = None,
    train: Train | None = None,
    label: Label | None = None,
    expert: Expert | None = None,
    evaluate: Evaluate | None = None,
    curriculum: Curriculum | None = None,
) -> Settings:
    """Settings with some keys replaced.

    Of a section the keys that it was made with are taken, and no others: ``change(settings,
    train=Train(steps=5))`` leaves the batch size as it is in ``settings``. So a key that there is
    not, or a value of another type, is an error of mypy's (``tests/typed_changes.py``).

    Args:
        run: renames the run.
        subtask: the milestones from which and to which the game is played; (None, None) is all of
            it.
        owner: the run that shards belong to.
    """
    tree = settings.model_dump()
    sections = {
        "collect": collect,
        "preprocess": preprocess,
        "train": train,
        "label": label,
        "expert": expert,
        "evaluate": evaluate,
        "curriculum": curriculum,
    }
    for name, section in sections.items():
        if section is not None:
            tree[name].update(section.model_dump(exclude_unset=True))
    if subtask is not None:
        tree |= {"milestone": None, "from_": subtask[0], "to": subtask[1]}
    if run is not None:
        tree["run"] = run
    if owner is not None:
        tree["owner"] = owner
    return Settings.model_validate(tree)
