"""Installing: what a wheel holds, what a machine lacks, an emulator that does not fit."""

import itertools
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from pipeline.commands import doctor
from pipeline.emulator import installing, mgba_library, self_check
from pipeline.emulator.known_second import known_second
from pipeline.settings.reading import load_settings
from pipeline.system.errors import PipelineError

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel made from that (not from the checkout)."""
    out = tmp_path_factory.mktemp("dist")
    script = "import sys; from setuptools import build_meta as b; "
    script += "getattr(b, 'build_' + sys.argv[2])(sys.argv[1])"
    source = out / "source"
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    )  # fmt: skip
    for name in filter(None, done.stdout.decode().split("\0")):
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())

    def build(folder: Path, what: str) -> None:
        subprocess.run(
            [sys.executable, "-c", script, str(out), what],
            cwd=folder, check=True, capture_output=True, text=True,
        )  # fmt: skip

    build(source, "sdist")
    sdist = next(out.glob("*.tar.gz"))
    subprocess.run(["tar", "-xzf", str(sdist), "-C", str(out)], check=True)
    build(out / sdist.name.removesuffix(".tar.gz"), "wheel")
    return out


def test_a_wheel_made_from_the_sdist_holds_the_games(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
        assert (
            wheel.read("pipeline/games/quest/quest.gba")
            == (ROOT / "pipeline/games/quest/quest.gba").read_bytes()
        )
    for name in ("quest/game.yaml", "quest/expert.py", "emerald/game.yaml"):
        assert f"pipeline/games/{name}" in names
    assert not [name for name in names if name.startswith(("tests/", "datasets/"))]


def test_a_wheel_collects_preprocesses_and_trains_outside_the_checkout(
    built: Path, tmp_path: Path
) -> None:
    place = tmp_path / "env"
    venv.create(place, with_pip=True)  # an environment that uv made has none to lend
    python = place / "bin/python"
    packages = next((place / "lib").glob("python*/site-packages"))
    # The dependencies of this environment; its editable install is not among them, since only
    # the .pth files of an environment's own folder are read.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    wheel = next(built.glob("*.whl"))
    subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)],
        check=True,
    )  # fmt: skip
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}

    def run(*words: str) -> str:
        done = subprocess.run(
            [str(place / "bin/pokemon-il"), *words],
            cwd=tmp_path, env=env, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    where = subprocess.run(
        [str(python), "-c", "import pipeline; print(pipeline.__file__)"],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(where.stdout.strip()).is_relative_to(place)
    run("collect", "--episodes", "2", "--max_steps", "40", "--workers", "1")
    run("preprocess", "--workers", "1")
    assert "20" in run("train", "--steps", "20", "--batch_size", "8", "--validate_every", "0")
    assert (tmp_path / "checkpoints/default/final.pt").exists()


def test_the_known_second_is_what_the_emulator_plays_here() -> None:
    assert known_second() == self_check.KNOWN


def test_an_emulator_that_plays_something_else_is_refused_once_and_for_each_pair_of_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    module = Path(str(sys.modules["mgba._pylib"].__file__))
    asked: list[str] = []

    def answer(said: str) -> None:
        def run(*words: object, **options: object) -> "subprocess.CompletedProcess[str]":
            asked.append(said)
            return subprocess.CompletedProcess([], 0, f"{said}\n", "")

        monkeypatch.setattr(subprocess, "run", run)

    answer("0" * 32)
    for _ in range(2):  # what is wrong is not remembered
        with pytest.raises(PipelineError) as raised:
            self_check.check_once(module)
    line = str(raised.value)
    assert line.startswith("the emulator does not play as it should on Python ")
    assert f"a known second of quest gives {'0' * 32}; it is made of {module} and " in line
    assert line.endswith("take another Python with make PYTHON=..., or libmgba 0.10")
    answer(self_check.KNOWN)
    for _ in range(3):
        self_check.check_once(module)
    assert len(asked) == 3


def test_an_emulator_that_hangs_is_named_after_its_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(self_check, "SECONDS", 0.01)
    with pytest.raises(PipelineError, match=r"gives no frame within 0\.01 seconds; it is made of"):
        self_check.check_once(Path(str(sys.modules["mgba._pylib"].__file__)))


def test_a_library_that_is_named_and_not_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "libmgba.so.0.10"
    monkeypatch.setenv("POKEMON_IL_LIBMGBA", str(path))
    with pytest.raises(PipelineError) as raised:
        mgba_library.load_mgba.__wrapped__()
    assert str(raised.value) == (
        f"{path}: cannot be loaded ({path}: cannot open shared object file: No such file or "
        "directory); remove it or POKEMON_IL_LIBMGBA, and run 'pokemon-il setup'"
    )


def test_the_module_is_asked_for_by_the_tags_of_its_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installing, "_has_pip", lambda: True)
    command = installing.module_command(tmp_path)
    assert command[-1] == "mgba==0.10.2"
    told = dict(itertools.pairwise(command))
    assert [told[name] for name in ("--python-version", "--implementation", "--abi")] == [
        "3.11", "cp", "cp311",
    ]  # fmt: skip
    assert told["--target"] == str(tmp_path)
    assert {"--no-deps", "--only-binary=:all:"} < set(command)


def test_an_environment_of_uv_asks_uv_for_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installing, "_has_pip", lambda: False)
    monkeypatch.setenv("UV", "/opt/uv")
    command = installing.module_command(tmp_path)
    assert command[:5] == ["/opt/uv", "pip", "install", "--quiet", "--python"]
    assert command[-3:] == ["--target", str(tmp_path), "mgba==0.10.2"]
    assert not {"--implementation", "--abi"} & set(command)  # uv has no such options


def test_without_pip_and_uv_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installing, "_has_pip", lambda: False)
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(installing.NotInstalled) as raised:
        installing.module_command(tmp_path)
    assert str(raised.value) == (
        f"{sys.executable}: has no pip, which is needed to install mgba==0.10.2; run "
        f"'{sys.executable} -m ensurepip', or make the environment with 'python3 -m venv'"
    )


def test_a_machine_without_apt_is_told_what_to_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(installing.NotInstalled) as raised:
        installing.install_library()
    assert str(raised.value) == (
        "apt-get: is not on this machine, so that libmgba cannot be unpacked; ask your "
        "administrator for libmgba.so.0.10 (mGBA 0.10), or name one in POKEMON_IL_LIBMGBA"
    )


def test_a_release_without_the_library_takes_it_from_debian_12(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"
    apt = tmp_path / "bin/apt-get"
    apt.parent.mkdir()
    apt.write_text(
        f"""#!/bin/bash
        echo "$@" >> {asked}
        case "$*" in
          *debian.list*simulate*" libmgba0.10") printf 'Inst libc6\\nInst libmgba0.10\\n';;
          *simulate*) exit 100;;
          *download*) echo 'E: no route' >&2; exit 100;;
        esac
        """
    )
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{apt.parent}:{os.environ['PATH']}")
    with pytest.raises(installing.NotInstalled, match=r"cannot download libmgba \(E: no route\)"):
        installing.install_library(tmp_path / "own")
    assert asked.read_text().splitlines()[-1].endswith(" download libmgba0.10")  # its own libc6
    assert installing.DEBIAN_KEY.read_text().startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----")


def test_the_doctor_names_each_gap_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_output", lambda command: "")
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor.os.path, "exists", lambda path: False)
    (tmp_path / "main_Packages.lz4").touch()
    monkeypatch.setattr(doctor, "LISTS", tmp_path)
    result = doctor.run(load_settings())
    assert result["missing"] == ["libmgba"]
    assert result["error"] == "this machine lacks libmgba; the table has the commands"
    told = {row["what"]: row["do"] for row in result["machine"]}
    assert (
        told["libmgba"]
        == "this system has no such package; make venv SUDO=no unpacks it into .venv"
    )
    assert told["bubblewrap"].startswith(
        "sudo apt-get install bubblewrap or pip install pydantic-monty and "
        "--expert.isolation monty; "
    )


def test_the_doctor_asks_for_lists_of_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_output", lambda command: "")
    monkeypatch.setattr(doctor.os.path, "exists", lambda path: False)
    monkeypatch.setattr(doctor, "LISTS", tmp_path)
    told = {row.what: row for row in doctor.rows()}["libmgba"]
    assert told.found == "not found, and no lists of packages"
    assert told.do == (
        "sudo apt-get update, then make doctor again; or make venv SUDO=no unpacks it into .venv"
    )


def test_the_doctor_shows_the_vector_units_of_this_architecture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An emulator of another architecture shows the host's /proc/cpuinfo."""
    monkeypatch.setattr(doctor.platform, "machine", lambda: "aarch64")
    told = {row.what: row for row in doctor.rows()}["vector units"]
    assert "avx" not in told.found


def test_the_doctor_knows_a_way_where_bubblewrap_may_not_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "_output", lambda command: "")
    monkeypatch.setattr(doctor.shutil, "which", lambda name: "/bin/false")
    told = {row.what: row for row in doctor.rows()}["user namespaces"]
    assert (told.state, told.found) == (doctor.NOTE, "refused")
    assert "in Docker: --security-opt seccomp=unconfined; or pip install pydantic-monty" in told.do


def test_the_doctor_runs_before_anything_is_installed() -> None:
    done = subprocess.run(
        [sys._base_executable, "-I", "-S", str(ROOT / "pipeline/commands/doctor.py")],  # type: ignore[attr-defined]
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split() == ["what", "state", "found", "do"]
