"""Settings changed by keys and values, whatever they are: tests try wrong ones, too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.settings.reading import Settings


def change(
    settings: Settings,
    run: str | None = None,
    *,
    subtask: tuple[str | None, str | None] | None = None,
    owner: str | None = None,
    **sections: Mapping[str, Any],
) -> Settings:
    """Settings with some keys of some sections replaced; lists of paths become lists of names."""
    tree = settings.model_dump()
    for section, values in sections.items():
        tree[section].update({key: _named(value) for key, value in values.items()})
    if subtask is not None:
        tree |= {"milestone": None, "from_": subtask[0], "to": subtask[1]}
    tree |= {key: value for key, value in (("run", run), ("owner", owner)) if value is not None}
    return Settings.model_validate(tree)


def _named(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [str(one) if isinstance(one, Path) else one for one in value]
    return value
