"""The arrows of the house: who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PIPELINE = ROOT / "pipeline"
ROOMS = ("shards", "loading", "emulator", "games", "experts", "policies", "reports")
STAGES = (
    "collect",
    "preprocess",
    "train",
    "label",
    "evaluate",
    "dagger",
    "compare",
    "author",
    "curriculum",
)


def imports_of(path: Path) -> set[str]:
    """Dotted names that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def files_of(*places: str) -> list[Path]:
    found: list[Path] = []
    for place in places:
        path = PIPELINE / place
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    assert found
    return found


def users_of(package: str, files: list[Path]) -> list[str]:
    return [
        str(path.relative_to(ROOT))
        for path in files
        if any(name == package or name.startswith(f"{package}.") for name in imports_of(path))
    ]


@pytest.mark.parametrize(
    "room", ["emulator", "games", "shards", "frames.py", "config.py", "settings.py"]
)
def test_torch_stays_out_of(room: str) -> None:
    assert users_of("torch", files_of(room)) == []


@pytest.mark.parametrize("room", ["loading", "policies", "shards", "experts", "reports"])
def test_the_emulator_library_stays_out_of(room: str) -> None:
    assert users_of("mgba", files_of(room)) == []


@pytest.mark.parametrize("room", ROOMS)
def test_no_room_knows_a_stage(room: str) -> None:
    for stage in STAGES:
        assert users_of(f"pipeline.{stage}", files_of(room)) == []


@pytest.mark.parametrize("stage", ["collect", "preprocess", "train", "label", "evaluate"])
def test_no_stage_knows_another(stage: str) -> None:
    others = [other for other in STAGES if other != stage]
    assert [o for o in others if users_of(f"pipeline.{o}", files_of(f"{stage}.py"))] == []


def test_shards_know_no_other_room() -> None:
    for room in set(ROOMS) - {"shards"}:
        users = users_of(f"pipeline.{room}", files_of("shards"))
        # Importing foreign files must name the game they were played on.
        assert users in ([], ["pipeline/shards/npz.py"] if room == "games" else [])


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("pipeline", ("torch", "mgba")),
        ("pipeline.train", ("mgba", "cv2")),
        ("pipeline.loading.dataset", ("mgba",)),
        ("pipeline.preprocess", ("torch", "mgba")),
        ("pipeline.label", ("torch", "mgba")),
        ("pipeline.author", ("torch", "mgba")),
        ("pipeline.shards.reader", ("torch", "mgba")),
        ("pipeline.emulator.env", ("torch",)),
    ],
)
def test_importing_a_module_brings_nothing_it_must_not(
    module: str, forbidden: tuple[str, ...]
) -> None:
    script = f"import sys, {module}; print([m for m in {forbidden!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_files_are_rooms_not_halls() -> None:
    long = [path.name for path in files_of(".") if len(path.read_text().splitlines()) > 400]
    assert long == []


def test_nothing_is_called_by_an_empty_name() -> None:
    empty = {"utils", "util", "common", "helpers", "helper", "misc", "manager"}
    assert [p for p in files_of(".") if p.stem in empty or p.parent.name in empty] == []
