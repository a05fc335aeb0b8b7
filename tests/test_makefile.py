"""What `make` does before there is an environment; stand-ins for its programs note each call."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PYTHON = """#!/bin/bash
echo "{name} $*" >> {calls}
case "$*" in
  *"import ensurepip, venv"*) exit {fails};;
  -V) echo "Python {version}";;
  "-m venv .venv") mkdir -p .venv/bin; cp "$0" .venv/bin/python;;
esac
"""
UV = """#!/bin/bash
echo "uv $*" >> {calls}
case "$1" in venv) mkdir -p .venv/bin; cp {python} .venv/bin/python;; esac
"""


class Machine:
    """A folder with the project's Makefile, and a PATH with nothing but what it was given."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls = folder / "project", folder / "calls"
        self.programs = folder / "bin"
        self.programs.mkdir()
        self.folder.mkdir()
        self.calls.touch()
        shutil.copy(ROOT / "Makefile", self.folder)
        for name in ("setup.cfg", "pyproject.toml", "constraints.txt"):
            (self.folder / name).touch()
        for name in ("bash", "sh", "make", "grep", "mkdir", "cp", "touch"):
            there = shutil.which(name)
            assert there, name
            (self.programs / name).symlink_to(there)
        self.program("ldconfig", "#!/bin/sh\n")  # it finds no libmgba
        self.program("apt-cache", "#!/bin/sh\n")  # and knows each package
        self.program("id", "#!/bin/sh\necho 0\n")  # root
        for name in ("apt-get", "sudo"):
            self.program(name, f'#!/bin/sh\necho "{name} $*" >> {self.calls}\n')

    def program(self, name: str, text: str) -> Path:
        path = self.programs / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def python(self, version: str, fails: int = 0) -> Path:
        """A Python; ``fails`` is what it says where it is asked for ensurepip and venv."""
        name = f"python{version}"
        return self.program(
            name, PYTHON.format(name=name, calls=self.calls, version=version, fails=fails)
        )

    def make(self, *words: str) -> subprocess.CompletedProcess[str]:
        # Nothing of the make that runs the tests: it hands on its variables, PYTHON among them.
        return subprocess.run(
            ["make", *words],
            cwd=self.folder, env={"PATH": str(self.programs)}, capture_output=True, text=True,
        )  # fmt: skip

    def called(self, name: str) -> list[str]:
        lines = self.calls.read_text().splitlines()
        return [line for line in lines if line.split(" ")[0] == name]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_make_takes_the_newest_python_that_can_make_an_environment(machine: Machine) -> None:
    machine.python("3.10")
    machine.python("3.12")
    machine.python("3.13", fails=1)  # as Debian's, where python3-venv is not installed
    done = machine.make("venv")
    assert done.returncode == 0, done.stderr
    assert "python3.12 -m venv .venv" in machine.called("python3.12")
    assert "python3.10 -m venv .venv" not in machine.called("python3.10")


def test_a_python_that_is_named_is_taken(machine: Machine) -> None:
    machine.python("3.14")
    chosen = machine.python("3.11")
    done = machine.make("venv", f"PYTHON={chosen}")
    assert done.returncode == 0, done.stderr
    assert "python3.11 -m venv .venv" in machine.called("python3.11")
    assert not machine.called("python3.14")
    assert "for Python 3.11 " in done.stdout


def test_a_python_that_is_too_old_or_too_new_is_one_line(machine: Machine) -> None:
    machine.program("python3.9", "#!/bin/sh\nexit 1\n")
    done = machine.make("venv", "PYTHON=python3.9")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == (
        "error: python3.9 is not Python 3.10 to 3.14; say which with: make PYTHON=/path/to/python3"
    )
    assert not (machine.folder / ".venv").exists()


def test_root_is_told_that_apt_runs(machine: Machine) -> None:
    machine.python("3.12")
    done = machine.make("venv")
    assert "installing libmgba0.10t64 bubblewrap with apt-get (SUDO=no forbids it)" in done.stdout
    assert "apt-get install -y -qq libmgba0.10t64 bubblewrap" in machine.called("apt-get")


def test_sudo_no_never_runs_apt(machine: Machine) -> None:
    machine.python("3.12")
    done = machine.make("venv", "SUDO=no")
    assert done.returncode == 0, done.stderr
    assert machine.called("apt-get") == machine.called("sudo") == []
    assert "python3.12 -m pipeline.emulator.installing" in machine.called("python3.12")


def test_sudo_no_says_what_the_tests_want(machine: Machine) -> None:
    machine.python("3.12")
    done = machine.make("dev", "SUDO=no")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == (
        "error: the system packages hdf5-tools bubblewrap are missing; install them with: "
        "sudo apt-get install hdf5-tools bubblewrap"
    )
    assert machine.called("apt-get") == machine.called("sudo") == []


def test_uv_makes_the_environment_where_it_is_there(machine: Machine) -> None:
    python = machine.python("3.13", fails=1)  # uv needs no ensurepip of it
    machine.program("uv", UV.format(calls=machine.calls, python=python))
    done = machine.make("venv", f"PYTHON={python}", "SUDO=no")
    assert done.returncode == 0, done.stderr
    made, installed = machine.called("uv")
    assert made == f"uv venv --quiet --python {python} .venv"
    assert installed == "uv pip install --quiet --python .venv/bin/python -c constraints.txt -e ."


def test_uv_no_is_pip(machine: Machine) -> None:
    python = machine.python("3.13")
    machine.program("uv", UV.format(calls=machine.calls, python=python))
    done = machine.make("venv", f"PYTHON={python}", "SUDO=no", "UV=no")
    assert done.returncode == 0, done.stderr
    assert not machine.called("uv")
    assert any(
        line.split()[1:4] == ["-m", "pip", "install"] for line in machine.called(python.name)
    )


def test_torch_for_processors_comes_from_its_own_index(machine: Machine) -> None:
    machine.python("3.12")
    done = machine.make("venv", "SUDO=no", "TORCH=cpu")
    installed = next(line for line in machine.called("python3.12") if "pip install" in line)
    assert "--extra-index-url https://download.pytorch.org/whl/cpu" in installed
    assert "6 GB" not in done.stdout
