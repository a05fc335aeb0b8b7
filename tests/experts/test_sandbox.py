"""Which sandbox a program gets, what is said where there is none, and how its processes live."""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pipeline.experts.opening import open_expert
from pipeline.experts.program import ProgramExpert
from pipeline.experts.protocol import Questions
from pipeline.experts.sandbox import Limits, Program, Reply, Trouble, bwrap, monty
from pipeline.experts.sandbox.worker_sandbox import WorkerSandbox, launch_trusted
from pipeline.games.loading import load_game
from pipeline.settings.reading import Settings
from pipeline.system.errors import PipelineError
from tests.experts.asked import BUTTONS, ask, at_one, expert, names, survives

ROOT = Path(__file__).parents[2]
QUEST = ROOT / "pipeline" / "games" / "quest" / "expert.py"
PRESS_A = "def act(state): return 'A'"
SANDBOXES = ["bwrap", "monty"]


def inhabitants(program: ProgramExpert) -> list[int]:
    """The processes of an expert's sandbox: that outside it, then those inside."""
    found = [program._sandbox._process._process.pid]  # type: ignore[attr-defined]
    for pid in found:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        found += [int(child) for child in children.split()]
    return found


def test_a_program_that_ships_with_the_project_is_trusted_and_every_other_is_not(
    tmp_path: Path,
) -> None:
    assert ProgramExpert(QUEST, BUTTONS).isolation == "trusted"
    assert ProgramExpert(QUEST, BUTTONS, isolation="bwrap").isolation == "bwrap"
    copy = tmp_path / "expert.py"
    copy.write_bytes(QUEST.read_bytes())
    assert ProgramExpert(copy, BUTTONS).isolation == "bwrap"
    # A program of the user's own game folder is not ours either.
    assert ProgramExpert(copy, BUTTONS, isolation="monty").isolation == "monty"


def test_links_are_followed_before_a_program_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped, outside = tmp_path / "games", tmp_path / "outside"
    shipped.mkdir()
    outside.mkdir()
    monkeypatch.setattr("pipeline.experts.sandbox.opening.SHIPPED", shipped)
    (outside / "own.py").write_text(PRESS_A)
    (shipped / "ours.py").write_text(PRESS_A)
    (shipped / "linked.py").symlink_to(outside / "own.py")
    (shipped / "folder").symlink_to(outside)
    (outside / "linked.py").symlink_to(shipped / "ours.py")
    found = [
        ProgramExpert(path, BUTTONS).isolation
        for path in (
            shipped / "linked.py",
            shipped / "folder" / "own.py",
            shipped / ".." / "outside" / "own.py",
            outside / "linked.py",
        )
    ]
    assert found == ["bwrap", "bwrap", "bwrap", "trusted"]
    with pytest.raises(PipelineError, match="only programs that ship"):
        ProgramExpert(shipped / "linked.py", BUTTONS, isolation="trusted")


def test_what_runs_is_what_was_hashed_however_the_file_changes(tmp_path: Path) -> None:
    with expert(tmp_path, PRESS_A) as program:
        before = program.sha256
        (tmp_path / "expert.py").write_text("def act(state): return 'B'")
        program.close()
        assert ask(program, 0).buttons.tolist() == [0]
        assert program.sha256 == before


def test_a_strange_program_is_not_trusted_on_demand(tmp_path: Path) -> None:
    with pytest.raises(PipelineError) as caught:
        expert(tmp_path, PRESS_A, "trusted")
    assert str(caught.value) == (
        f"{tmp_path / 'expert.py'}: only programs that ship with the project run as trusted; "
        "choose --expert.isolation bwrap or --expert.isolation monty"
    )


def test_isolation_is_no_part_of_the_identity(tmp_path: Path) -> None:
    one, two = expert(tmp_path, PRESS_A, "bwrap"), expert(tmp_path, PRESS_A, "monty")
    assert one.identity == two.identity
    assert set(one.identity) == {"kind", "path", "sha256"}


def test_settings_choose_the_isolation_and_its_limits(tmp_path: Path) -> None:
    (tmp_path / "expert.py").write_text(at_one("return 'B' * 10**8"))
    chosen = {"path": str(tmp_path / "expert.py"), "isolation": "monty", "memory_mb": 64}
    settings = Settings.model_validate({"expert": chosen})
    with open_expert(settings, load_game("quest")) as program:
        assert isinstance(program, ProgramExpert)
        assert program.isolation == "monty"
        answers = program.answer(Questions({"x": np.array([1])}))
    assert answers.reasons[0].endswith("> 67108864 bytes, line 4")


def test_bwrap_that_is_missing_is_named_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PipelineError) as caught, expert(tmp_path, PRESS_A, "auto"):
        pass
    assert str(caught.value) == (
        "bwrap is not installed, and programs that do not ship with the project run in it; "
        "install it with 'sudo apt-get install bubblewrap', or choose --expert.isolation monty"
    )


def test_a_kernel_that_refuses_is_told_from_bwrap_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "expert.py").write_text(PRESS_A)
    script = f"""
import errno, sys, pyseccomp as s
from pathlib import Path
from pipeline.system.errors import PipelineError
from pipeline.experts.program import ProgramExpert
rules = s.SyscallFilter(s.ALLOW)
rules.add_rule(s.ERRNO(errno.EPERM), "clone", s.Arg(0, s.MASKED_EQ, 0x20000, 0x20000))
rules.add_rule(s.ERRNO(errno.EPERM), "unshare")
rules.load()
try:
    ProgramExpert(Path({str(tmp_path / "expert.py")!r}), ("A",)).__enter__()
except PipelineError as error:
    print(error)
"""
    told = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert told.startswith(
        "bwrap is installed, but this machine refuses to isolate with it (bwrap: "
    )
    assert told.endswith(
        "); allow user namespaces (sysctl user.max_user_namespaces, "
        "kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns), "
        "or choose --expert.isolation monty\n"
    )


def test_a_python_that_does_not_start_in_bwrap_is_told_from_a_kernel_that_refuses(
    tmp_path: Path,
) -> None:
    with pytest.raises(PipelineError) as caught, expert(tmp_path, PRESS_A, memory_mb=1):
        pass
    told = str(caught.value)
    assert told.startswith("Python does not start in bwrap (")
    assert told.endswith("); fix that, or choose --expert.isolation monty")


def test_a_user_with_limits_of_his_own_is_isolated_within_them(tmp_path: Path) -> None:
    (tmp_path / "expert.py").write_text(PRESS_A)
    script = f"""
import resource
from pathlib import Path
from tests.experts.test_sandbox import Path, ProgramExpert, ask, inhabitants
resource.setrlimit(resource.RLIMIT_CPU, (77, 77))
with ProgramExpert(Path({str(tmp_path / "expert.py")!r}), ("A",)) as program:
    pid = inhabitants(program)[-1]
    print([line for line in open(f"/proc/{{pid}}/limits") if "cpu" in line][0].split()[3:5])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "['77', '77']\n"


def test_a_library_that_is_missing_is_named_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find = ctypes.util.find_library
    monkeypatch.setattr(
        ctypes.util, "find_library", lambda name: None if name == "seccomp" else find(name)
    )
    monkeypatch.delitem(sys.modules, "pyseccomp", raising=False)
    bwrap._rules.cache_clear()
    with pytest.raises(PipelineError) as caught:
        bwrap.launch_bwrap(Limits())
    assert str(caught.value) == (
        "libseccomp is not installed, and without it programs are not isolated; install it with "
        "'sudo apt-get install libseccomp2', or choose --expert.isolation monty"
    )


def test_monty_that_is_missing_is_named_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monty, "find_spec", lambda name: None)  # as without the extra
    with pytest.raises(PipelineError) as caught, expert(tmp_path, PRESS_A, "monty"):
        pass
    assert str(caught.value) == (
        "monty is not installed; install it with 'pip install pydantic-monty', or choose "
        "--expert.isolation bwrap"
    )


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import heapq", "ModuleNotFoundError: No module named 'heapq', line 1"),
        ("import numpy as np", "ModuleNotFoundError: No module named 'numpy', line 1"),
        (
            "def f():\n    yield 1",
            "NotImplementedError: The monty syntax parser does not yet support yield expressions, "
            "line 2",
        ),
    ],
)
def test_what_monty_does_not_run_is_said_with_the_way_out(
    tmp_path: Path, source: str, why: str
) -> None:
    with pytest.raises(PipelineError) as caught, expert(tmp_path, source, "monty"):
        pass
    hint = "Monty runs a part of Python only: do without, or choose --expert.isolation bwrap"
    assert str(caught.value) == (
        f"{tmp_path / 'expert.py'}: the expert program does not load ({why}; {hint}); fix it"
    )


@pytest.mark.skipif(os.getuid() != 0, reason="the tests run as an ordinary user already")
def test_an_ordinary_user_is_isolated_too(tmp_path: Path) -> None:
    python = Path("/usr/bin") / f"python{sys.version_info.major}.{sys.version_info.minor}"
    if not python.exists():
        pytest.skip(f"there is no {python}, and the one of these tests is closed to other users")
    packages = Path(np.__file__).parents[1]
    source = "import os\ndef act(state):\n    print(os.getuid())\n    os.fork()\n"
    with tempfile.TemporaryDirectory() as readable:
        # The clone may lie where only root may look; so may the packages, which are loaded before.
        Path(readable).chmod(0o755)
        shutil.copytree(ROOT / "pipeline", f"{readable}/pipeline")
        program = Path(readable, "ordinary.py")
        program.write_text(source)
        script = f"""
import sys; sys.path[:0] = [{readable!r}, {str(packages)!r}]
import numpy, os, pyseccomp
from pathlib import Path
from pipeline.experts.program import ProgramExpert
from pipeline.experts.protocol import Questions
os.setgroups([]); os.setgid(65534); os.setuid(65534)
with ProgramExpert(Path({str(program)!r}), ("A",)) as program:
    answers = program.answer(Questions({{"x": numpy.zeros(1)}}))
print(os.getuid(), answers.logs, answers.reasons)
"""
        done = subprocess.run(
            [python, "-B", "-c", script],
            cwd="/", env={"PATH": os.environ["PATH"]}, capture_output=True, text=True,
        )  # fmt: skip
    reason = "PermissionError: [Errno 1] Operation not permitted, line 4"
    assert done.stdout == f"65534 {{0: '65534'}} {{0: '{reason}'}}\n", done.stderr


@pytest.mark.parametrize("isolation", SANDBOXES)
def test_what_a_program_prints_and_logs_comes_back_bounded(tmp_path: Path, isolation: str) -> None:
    source = (
        "def act(state):\n    print('x is', state['x'])\n    log('x' * state['x'])\n    return 'A'"
    )
    with expert(tmp_path, source, isolation) as program:
        logs = ask(program, 3, 9999).logs
    assert logs == {0: "x is 3\nxxx", 1: "x is 9999\n" + "x" * 500}


def test_what_a_program_prints_without_end_is_cut(tmp_path: Path) -> None:
    source = "def act(state):\n    for i in range(400): print('\\x1b[31m', i)\n    return 'A'"
    with expert(tmp_path, source) as program:
        logs = ask(program, *[0] * 700).logs
    assert logs[0].startswith("\\x1b[31m 0\n\\x1b[31m 1\n")
    assert len(logs[0]) == 2000
    assert len(logs) == 525  # a megabyte of them


@pytest.mark.parametrize("isolation", SANDBOXES)
def test_the_order_of_a_set_is_the_same_in_every_process(tmp_path: Path, isolation: str) -> None:
    source = "def act(state):\n    print(list({'A', 'B', 'UP', 'DOWN', 'LEFT'}))\n    return 'A'"
    seen = set()
    for _ in range(3):
        with expert(tmp_path, source, isolation) as program:
            seen.add(ask(program, 0).logs[0])
    assert len(seen) == 1


def test_a_process_that_was_asked_for_long_is_followed_by_a_fresh_one() -> None:
    source = "seen = []\ndef act(state):\n    seen.append(1)\n    print(len(seen))\n    return 'A'"
    limits = Limits(life=0.0)
    sandbox = WorkerSandbox(
        Program("expert.py", source), limits, "bwrap", partial(bwrap.launch_bwrap, limits)
    )
    replies: list[Reply] = []
    while len(replies) < 3:
        left = 3 - len(replies)
        replies += sandbox.ask({"x": np.zeros(left)}, left)
    sandbox.close()
    assert [reply.notes for reply in replies] == ["1", "1", "1"]


def test_a_process_in_bwrap_has_hard_limits_for_all_its_life(tmp_path: Path) -> None:
    with expert(tmp_path, PRESS_A, timeout=30, loading=10, memory_mb=300) as program:
        assert ask(program, 0).buttons.tolist() == [0]
        inside = inhabitants(program)
        text = Path(f"/proc/{inside[-1]}/limits").read_text()
        status = Path(f"/proc/{inside[-1]}/status").read_text()
    rows = [line.rsplit(maxsplit=3) for line in text.splitlines()]
    limits = {row[0].strip(): row[1:3] for row in rows}
    assert limits["Max cpu time"] == ["645", "645"]
    assert limits["Max address space"] == [str(300 << 20)] * 2
    assert limits["Max file size"] == ["0", "0"]
    assert limits["Max core file size"] == ["0", "0"]
    assert limits["Max open files"] == ["64", "64"]
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert {int(facts[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd")} == {0}
    assert (facts["NoNewPrivs"], facts["Seccomp"], facts["Threads"]) == ("1", "2", "1")


def test_a_program_that_does_not_load_again_fails_what_is_left_and_not_what_was() -> None:
    source = at_one("import os\nos._exit(1)") + "import os, sys\nif LOADED: raise ValueError('no')"
    sandbox = WorkerSandbox(Program("expert.py", source), Limits(), "trusted", launch_trusted)
    program = ProgramExpert(QUEST, BUTTONS)
    program._sandbox = sandbox
    sandbox._program = Program("expert.py", source.replace("LOADED", "False"))
    program.__enter__()
    sandbox._program = Program("expert.py", source.replace("LOADED", "True"))
    answers = ask(program, 0, 1, 0, 0)
    assert names(answers) == ["LABELLED", "FAILED", "FAILED", "FAILED"]
    assert answers.reasons[3] == "the program does not load again (ValueError: no, line 9)"
    sandbox._program = Program("expert.py", source.replace("LOADED", "False"))
    assert survives(program)
    program.close()


def test_more_states_than_a_batch_holds_are_answered_in_order(tmp_path: Path) -> None:
    source = "def act(state): return ('A', 'B', 'UP', 'DOWN')[state['x'] % 4]"
    with expert(tmp_path, source) as program:
        assert ask(program, *range(2500)).buttons.tolist() == [i % 4 for i in range(2500)]


@pytest.mark.parametrize("isolation", SANDBOXES)
def test_nothing_is_left_of_a_program_when_its_pipeline_is_killed(
    tmp_path: Path, isolation: str
) -> None:
    (tmp_path / "expert.py").write_text(PRESS_A)
    script = f"""
from pathlib import Path
from tests.experts.test_sandbox import ProgramExpert, inhabitants
path = Path({str(tmp_path / "expert.py")!r})
with ProgramExpert(path, ("A",), isolation={isolation!r}) as program:
    print(*inhabitants(program), flush=True)
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as pipeline:
        assert pipeline.stdout is not None
        inside = [int(pid) for pid in pipeline.stdout.readline().split()]
        pipeline.kill()
    assert len(inside) >= 2
    while any(alive(pid) for pid in inside):
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_trouble_says_little_and_plainly() -> None:
    assert Trouble(3, "a\nb\x1b" + "c" * 300).reason == "a\\nb\\x1b" + "c" * 189 + "..."  # type: ignore[arg-type]
