"""Programs that mean harm, run for real: each loses its own label, and the next batch is answered.

In every program the attack is at x = 1 of the states 0, 1, 0, and would press B if it succeeded.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from textwrap import dedent

import pytest

from pipeline.system.errors import PipelineError
from tests.experts.asked import ask, at_one, expert, names, survives

SECRET = "sk-planted-0123456789"
PROJECT = Path(__file__).parents[2]

READING = {
    "the key in os.environ": "import os\nos.environ['ANTHROPIC_API_KEY']",
    "the key by the C library": """
        import ctypes
        get = ctypes.CDLL(None).getenv
        get.restype = ctypes.c_char_p
        get(b'ANTHROPIC_API_KEY').decode()
    """,
    "the environment in /proc": "open('/proc/self/environ').read()",
    "the parent's environment": f"open('/proc/{os.getpid()}/environ').read()",
    "the list of processes": "import os\nos.listdir('/proc')",
    "the users of the machine": "open('/etc/passwd').read()",
    "the home folder": f"import os\nos.listdir({str(Path.home() / '.ssh')!r})",
    "the project": f"open({str(PROJECT / 'setup.cfg')!r}).read()",
    "the data sets": f"import os\nos.listdir({str(PROJECT / 'datasets')!r})",
    "the packages beside it": "import numpy",
    "the folder of the program": "import os\nos.listdir(os.path.dirname(os.path.abspath(FOLDER)))",
}


@pytest.mark.parametrize("attack", READING.values(), ids=READING)
@pytest.mark.parametrize("isolation", ["bwrap", "monty"])
def test_a_program_reads_nothing_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isolation: str, attack: str
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", SECRET)
    source = at_one(attack.replace("FOLDER", repr(str(tmp_path / "expert.py"))))
    with expert(tmp_path, source, isolation) as program:
        answers = ask(program, 0, 1, 0)
        assert names(answers) == ["LABELLED", "FAILED", "LABELLED"]
        assert "line" in answers.reasons[1]
        assert survives(program)


def test_a_trusted_program_does_not_get_the_key_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.experts.sandbox.opening.SHIPPED", tmp_path.resolve())
    monkeypatch.setenv("ANTHROPIC_API_KEY", SECRET)
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", SECRET)
    source = "import os\ndef act(s):\n    print(dict(os.environ))\n    return 'A'\n"
    with expert(tmp_path, source, "trusted") as program:
        assert ask(program, 0).logs == {0: "{}"}


def test_the_sandbox_holds_nothing_but_python(tmp_path: Path) -> None:
    source = """
        import os
        def act(state):
            for folder, _, files in os.walk("/"):
                for file in files:
                    path = os.path.join(folder, file)
                    library = path.startswith(("/lib", "/usr/lib", os.__file__[:-5]))
                    if "-packages" in path or not library:
                        print(path)
            return "A"
    """
    with expert(tmp_path, source) as program:
        seen = ask(program, 0).logs[0].splitlines()
    assert "/worker.py" in seen
    assert [path for path in seen if "-packages" in path] == []
    known = (sys.base_prefix + "/lib/", os.path.realpath(sys._base_executable), "/worker.py")
    assert [path for path in seen if not path.startswith(known)] == []


WRITING = {
    "a file at the top": "open('/mine', 'w').write('x')",
    "a file in /tmp": "open('/tmp/mine', 'w').write('x')",
    "a folder": "import os\nos.mkdir('/mine')",
    "a temporary file": "import tempfile\ntempfile.TemporaryFile().write(b'x')",
    "the worker": "open('/worker.py', 'a').write('x')",
    "Python's library": "import os\nopen(os.__file__, 'a').write('x')",
    "a bound file made writable": "import os\nos.chmod('/worker.py', 0o777)",
    "a hidden folder": """
        import sysconfig
        open(sysconfig.get_path('purelib') + '/mine.py', 'w').write('x')
    """,
}


@pytest.mark.parametrize("attack", WRITING.values(), ids=WRITING)
def test_a_program_writes_nothing(tmp_path: Path, attack: str) -> None:
    with expert(tmp_path, at_one(attack)) as program:
        assert names(ask(program, 0, 1, 0)) == ["LABELLED", "FAILED", "LABELLED"]
        assert survives(program)


OUTSIDE = {
    "a socket": "import socket\nsocket.socket()",
    "a socket of this machine": "import socket\nsocket.socket(socket.AF_UNIX)",
    "a pair of sockets": "import socket\nsocket.socketpair()",
    "a connection": "import socket\nsocket.create_connection(('127.0.0.1', 80), 1)",
    "a fork": "import os\nos.fork()",
    "a fork bomb": "import os\nwhile True: os.fork()",
    "a program": "import subprocess\nsubprocess.run(['/bin/true'], check=True)",
    "another Python": """
        import os, sys
        os.posix_spawn(sys.executable, [sys.executable, '-c', '1'], {})
    """,
    "a thread": "import threading\nthreading.Thread(target=print).start()",
    "many threads": """
        import threading
        while True: threading.Thread(target=print).start()
    """,
    "a process of multiprocessing": """
        import multiprocessing
        multiprocessing.Process(target=print).start()
    """,
    "memory without a name": "import os\nos.memfd_create('x')",
    "memory to share": """
        import ctypes
        if ctypes.CDLL(None).shmget(0, 1 << 20, 0o1600) < 0: raise OSError
    """,
    "a namespace": """
        import ctypes
        if ctypes.CDLL(None).unshare(0x10000000): raise OSError
    """,
    "more memory": "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "another's memory": """
        import ctypes
        if ctypes.CDLL(None).ptrace(16, 1, 0, 0) < 0: raise OSError
    """,
}


@pytest.mark.parametrize("attack", OUTSIDE.values(), ids=OUTSIDE)
def test_a_program_stays_alone(tmp_path: Path, attack: str) -> None:
    with expert(tmp_path, at_one(attack), timeout=5) as program:
        assert names(ask(program, 0, 1, 0)) == ["LABELLED", "FAILED", "LABELLED"]
        assert survives(program)


FALLING = {
    "a loop": ("while True: pass", "TIMED_OUT", "no answer in 1 s"),
    "a long text": ("return 'B' * 10**9", "FAILED", None),
    "a long list": ("x = []\nwhile True: x.append([0] * 10**6)", "FAILED", None),
    "recursion": ("act(state)", "FAILED", None),
    "an odd answer": ("return ['B'] * 10**6", "INVALID", None),
    "a long word": ("return 'B' * 10**6", "INVALID", None),
    "no word": ("return None", "REFUSED", "the program gave no button"),
    "an endless reason": ("raise ValueError('B' * 10**7)", "FAILED", None),
    "a long note": ("print('x' * 5 * 10**7)\nraise ValueError", "FAILED", "ValueError, line 5"),
    "an interrupt": ("raise KeyboardInterrupt", "FAILED", "KeyboardInterrupt, line 4"),
}
FALLING_IN_PYTHON = {
    "an exit": ("import sys\nsys.exit(3)", "FAILED", "SystemExit: 3, line 5"),
    "an end": ("import os\nos._exit(3)", "FAILED", "the program ended (exit code 3)"),
    "a wild pointer": (
        "import ctypes\nctypes.string_at(1)", "FAILED", "the program ended (SIGSEGV)",
    ),
    "an abort": ("import os\nos.abort()", "FAILED", "the program ended (SIGABRT)"),
    "a kill": ("import os\nos.kill(os.getpid(), 9)", "FAILED", "the program ended (SIGKILL)"),
    "a sleep": ("import time\ntime.sleep(10**6)", "TIMED_OUT", "no answer in 1 s"),
    "memory of the kernel": ("import mmap\nmmap.mmap(-1, 1 << 34)", "FAILED", None),
    "recursion without a limit": (
        "import sys\nsys.setrecursionlimit(10**9)\nlist(map(act, [state]))", "FAILED", None,
    ),
    "another program in its place": (
        "import os, sys\nos.execv(sys.executable, [sys.executable, '-c', 'print(1)'])",
        "FAILED", None,
    ),
    "an answer that cannot be shown": (
        "class X:\n    def __repr__(self): raise ValueError('no')\nreturn X()", "FAILED", None,
    ),
    "an answer that hangs": (
        "class X:\n    def __repr__(self):\n        while True: pass\nreturn X()",
        "TIMED_OUT", None,
    ),
    "a text of its own kind": (
        "class X(str):\n    pass\nreturn X('B')", "INVALID", "'B' is not a button of this game",
    ),
    "a flood by print": ("while True: print('x' * 1000)", "TIMED_OUT", None),
    "a flood to stdout": (
        "import os\nwhile True: os.write(1, b'x' * 1000)", "FAILED",
        "the program wrote more than 1 MiB beside its notes",
    ),
    "a flood to stderr": (
        "import os\nwhile True: os.write(2, b'x' * 1000)", "FAILED",
        "the program wrote more than 1 MiB beside its notes",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("isolation", "attack", "status", "reason"),
    [("bwrap", *row) for row in (FALLING | FALLING_IN_PYTHON).values()]
    + [("monty", *row) for row in FALLING.values()],
    ids=[f"{name}, bwrap" for name in FALLING | FALLING_IN_PYTHON]
    + [f"{name}, monty" for name in FALLING],
)
def test_a_program_that_falls_costs_one_label(
    tmp_path: Path, isolation: str, attack: str, status: str, reason: str | None
) -> None:
    timeout = 1 if status == "TIMED_OUT" else 30
    with expert(tmp_path, at_one(attack), isolation, timeout=timeout) as program:
        answers = ask(program, 0, 1, 0)
        assert names(answers) == ["LABELLED", status, "LABELLED"]
        assert 0 < len(answers.reasons[1]) <= 200
        assert "\n" not in answers.reasons[1]
        if reason is not None:
            assert answers.reasons[1] == reason
        assert survives(program)


CHANNEL = """
    import os, sys
    def channel():
        fds = []
        for fd in range(3, 64):
            try:
                os.write(fd, b"")
                fds.append(fd)
            except OSError:
                pass
        return fds
    def token():
        frame = sys._getframe()
        while "token" not in frame.f_locals:
            frame = frame.f_back
        return frame.f_locals["token"]
"""
FORGING = {
    "an answer ahead": 'os.write(fd, (\'["%s", 1, "button", "B", ""]\\n\' % t).encode())',
    "an answer for the next": 'os.write(fd, (\'["%s", 2, "button", "B", ""]\\n\' % t).encode())',
    "the end": 'os.write(fd, (\'["%s", 3, "end"]\\n\' % t).encode())',
    "an outcome of its own": 'os.write(fd, (\'["%s", 1, "right", "B", ""]\\n\' % t).encode())',
    "a number": "os.write(fd, b'7\\n')",
    "no JSON": "os.write(fd, b'\\xff\\x00\\n')",
    "deep JSON": "os.write(fd, b'[' * 60000 + b'\\n')",
    "half a line": "os.write(fd, b'[')",
    "a line without an end": "while True: os.write(fd, b'x' * 1000)",
    "lines without an end": "while True: os.write(fd, b'x\\n' * 1000)",
}


@pytest.mark.parametrize("attack", FORGING.values(), ids=FORGING)
def test_a_program_that_forges_answers_loses_the_batch_and_no_other(
    tmp_path: Path, attack: str
) -> None:
    source = at_one(f"t = token()\nfor fd in channel():\n    {attack}", CHANNEL)
    with expert(tmp_path, source, timeout=5) as program:
        answers = ask(program, 0, 1, 0)
        assert names(answers) == ["FAILED"] * 3
        assert set(answers.buttons.tolist()) == {255}
        assert set(answers.reasons.values()) == {
            "the program wrote into the channel of the answers"
        }
        assert survives(program)


def test_what_a_program_writes_between_batches_is_no_answer_to_the_next(tmp_path: Path) -> None:
    source = (
        CHANNEL
        + """
    import signal, time
    def late(*_):
        for fd in channel():
            os.write(fd, b'["x", 0, "button", "B", ""]\\n')
    def act(state):
        signal.signal(signal.SIGALRM, late)
        signal.setitimer(signal.ITIMER_REAL, 0.01 if state["x"] == 1 else 0)
        return "A"
    """
    )
    with expert(tmp_path, source) as program:
        assert names(ask(program, 1)) == ["LABELLED"]
        process = program._sandbox._process  # type: ignore[attr-defined]
        while not process._lines:
            process._wait(0.01)
        assert survives(program)


SPOILING = {
    "hangs": "while True: pass",
    "hangs with a forged line at hand": """
        for fd in channel(): os.write(fd, b"[")
        while True: pass
    """,
    "ends": "os._exit(0)",
    "closes its channels": "os.closerange(3, 64)",
    "puts its answers aside": """
        end, other = os.pipe()
        for fd in channel(): os.dup2(other, fd)
    """,
}


@pytest.mark.parametrize("deed", SPOILING.values(), ids=SPOILING)
def test_a_process_that_spoils_itself_after_its_answer_costs_the_next_batch_nothing(
    tmp_path: Path, deed: str
) -> None:
    lines = "\n".join(f"        {line.strip()}" for line in deed.strip().splitlines())
    source = f"""{dedent(CHANNEL)}
import signal
def act(state):
    def late(*_):
{lines}
    if state["x"] == 1:
        signal.signal(signal.SIGALRM, late)
        signal.setitimer(signal.ITIMER_REAL, 0.01)
    return "A"
"""
    with expert(tmp_path, source, timeout=1) as program:
        for _ in range(2):
            assert names(ask(program, 1)) == ["LABELLED"]
            time.sleep(0.1)  # the deed is done by now; if not, it spoils nothing yet
            assert survives(program)


def test_a_program_that_closes_its_channels_costs_one_label(tmp_path: Path) -> None:
    source = at_one("import os\nos.closerange(3, 64)")
    with expert(tmp_path, source, timeout=5) as program:
        assert names(ask(program, 0, 1, 0)) == ["LABELLED", "FAILED", "LABELLED"]
        assert survives(program)


def test_a_program_that_eats_its_questions_finds_none(tmp_path: Path) -> None:
    source = at_one("import sys\nif not sys.stdin.read(): raise EOFError('nothing to read')")
    with expert(tmp_path, source, timeout=5) as program:
        assert ask(program, 0, 1, 0).reasons == {1: "EOFError: nothing to read, line 5"}


LOADING = {
    "a loop": ("while True: pass", "not loaded in 1 s"),
    "a memory bomb": ("x = [0] * 10**10", "MemoryError, line 1"),
    "an exit": ("raise SystemExit(3)", "SystemExit: 3, line 1"),
    "an end": ("import os\nos._exit(3)", "the program ended (exit code 3)"),
    "a mistake of the language": ("x = 1\ndef act(", "SyntaxError: '(' was never closed, line 2"),
    "no act": ("def move(state): return 'A'", "TypeError: it defines no function act(state)"),
    "a flood": ("import os\nwhile True: os.write(2, b'x' * 1000)",
                "the program wrote more than 1 MiB beside its notes"),
}  # fmt: skip


@pytest.mark.parametrize(("source", "why"), LOADING.values(), ids=LOADING)
def test_a_program_that_does_harm_while_it_is_loaded_is_refused(
    tmp_path: Path, source: str, why: str
) -> None:
    with pytest.raises(PipelineError) as caught, expert(tmp_path, source, loading=1):
        pass
    assert str(caught.value) == (
        f"{tmp_path / 'expert.py'}: the expert program does not load ({why}); fix it"
    )
