"""The arrows of the house: who may import whom."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PIPELINE = ROOT / "pipeline"
STAGES = ("collect", "preprocess", "label", "train", "evaluate")
FLOORS = (
    "system",
    "settings",
    "games",
    "shards.format",
    "shards.catalog",
    "shards",
    "shards.repair",
    "emulator",
    "reports",
    "loading",
    "training",
    "agents",
    "experts",
    "rollouts",
    "search",
    "experts.authoring",
    "preprocessing",
    "labelling",
    "exchange",
    "evaluation",
    "conformance",
    "stages",
    "loops",
    "commands",
    "__main__",
)
"""From the ground up: a room imports only those before it, and the five stages none of them."""
SHIPPED_GAMES = "pipeline.games.quest"


def floor_of(module: str) -> str:
    """The floor on which a module lies; the package itself is below all."""
    parts = module.split(".")[1:]
    if not parts:
        return FLOORS[0]
    if parts[0] in STAGES:
        return "stages"
    for length in (2, 1):
        if (floor := ".".join(parts[:length])) in FLOORS:
            return floor
    raise AssertionError(f"{module} lies in no room of FLOORS")


def modules() -> dict[str, Path]:
    """By dotted name, every module but those that belong to a game."""
    found = {}
    for path in sorted(PIPELINE.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if not name.startswith(SHIPPED_GAMES):
            found[name] = path
    return found


def arrows() -> dict[str, set[str]]:
    """By module, those of ours that it imports, late imports too."""
    known = modules()
    return {
        name: {
            other
            for other in imports_of(path) & known.keys()
            # "from package import module" is an import of the module
            if not any(longer.startswith(f"{other}.") for longer in imports_of(path) & known.keys())
        }
        - {name}
        for name, path in known.items()
    }


@functools.cache
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


def test_rooms_import_only_what_lies_below_them() -> None:
    upward = [
        f"{name} -> {other}"
        for name, others in arrows().items()
        for other in others
        if name != "pipeline" and other != "pipeline"
        if FLOORS.index(floor_of(other)) > FLOORS.index(floor_of(name))
    ]
    assert upward == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    # Modules that import nothing of what is left are taken away; what stays is in a circle.
    left = arrows()
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    assert left == {}


def test_no_stage_knows_another() -> None:
    known = arrows()
    stages = {f"pipeline.{stage}" for stage in STAGES}
    assert [stage for stage in sorted(stages) if known[stage] & stages] == []


def test_the_root_shows_the_five_stages() -> None:
    assert {path.stem for path in PIPELINE.glob("*.py")} == {"__init__", "__main__", *STAGES}


@pytest.mark.parametrize("room", ["emulator", "games", "shards", "settings", "rollouts", "search"])
def test_torch_stays_out_of(room: str) -> None:
    assert users_of("torch", files_of(room)) == []


@pytest.mark.parametrize(
    "room", [floor for floor in FLOORS if "." not in floor and floor not in ("emulator", "stages")]
)
def test_the_emulator_library_stays_out_of(room: str) -> None:
    room = f"{room}.py" if room == "__main__" else room
    assert users_of("mgba", files_of(room)) == []


@pytest.mark.parametrize("room", ["loading", "training"])
def test_no_emulator_is_needed_to_learn(room: str) -> None:
    assert users_of("pipeline.emulator", files_of(room)) == []


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("pipeline", ("torch", "mgba", "gymnasium", "numpy", "h5py", "pydantic")),
        ("pipeline.train", ("mgba", "cv2")),
        ("pipeline.loading.dataset", ("mgba",)),
        ("pipeline.preprocess", ("torch", "mgba")),
        ("pipeline.label", ("torch", "mgba")),
        ("pipeline.loops.author", ("torch", "mgba")),
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


def test_a_stage_is_a_recipe() -> None:
    long = [
        name for name in STAGES if len((PIPELINE / f"{name}.py").read_text().splitlines()) > 120
    ]
    assert long == []


def test_nothing_is_called_by_an_empty_name() -> None:
    empty = {"utils", "util", "common", "helpers", "helper", "misc", "manager"}
    assert [p for p in files_of(".") if p.stem in empty or p.parent.name in empty] == []
