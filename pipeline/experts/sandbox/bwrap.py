"""Bubblewrap around a worker: no network, no files but Python's own, no writing, no processes.

What the kernel is asked for, from outside to inside: limits (prlimit) on address space, processor
time, open files and the size of files; new namespaces for everything, so that there is no network,
no other process and no user but one; a root that holds Python's library, the system's libraries
and the worker, read-only, and nothing else - no /proc, no /tmp, no /dev; no capabilities; an empty
environment; and a filter of system calls (seccomp) against new processes and threads, sockets,
shared memory and whatever has been a way out of such places.

Not claimed: a fault in the kernel itself, or what can be learnt from how long things take.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

from pipeline.experts.sandbox.interface import Limits
from pipeline.experts.sandbox.process import Process
from pipeline.experts.sandbox.worker_sandbox import ENVIRONMENT, WORKER, cpu_seconds
from pipeline.system.errors import PipelineError

INSTEAD = "or choose --expert.isolation monty"
OPEN_FILES = 64
# fmt: off
FORBIDDEN = (
    # processes and threads: a limit on their number does not bind root
    "fork", "vfork", "clone", "execveat", "setpgid", "setsid", "setpriority",
    "sched_setaffinity", "sched_setscheduler", "sched_setattr", "ioprio_set",
    # the network, and other channels
    "socket", "socketpair", "connect", "bind", "listen", "accept", "accept4", "sendto", "sendmsg",
    "sendmmsg", "recvmsg", "recvmmsg",
    # memory that no limit counts
    "memfd_create", "memfd_secret", "shmget", "shmat", "shmctl", "shmdt", "msgget", "msgsnd",
    "semget", "semop", "mq_open", "mlock", "mlock2", "mlockall", "remap_file_pages",
    # its own limits
    "setrlimit", "prlimit64",
    # other processes and the kernel
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_open",
    "pidfd_getfd", "pidfd_send_signal", "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo",
    "unshare", "setns", "mount", "umount", "umount2", "pivot_root", "chroot", "move_mount",
    "fsopen", "fsconfig", "fsmount", "fspick", "open_tree", "mount_setattr", "quotactl",
    "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter",
    "io_uring_register", "io_setup", "io_submit", "add_key", "request_key", "keyctl",
    "name_to_handle_at", "open_by_handle_at", "fanotify_init", "inotify_init", "inotify_init1",
    "seccomp", "personality", "modify_ldt", "iopl", "ioperm", "lookup_dcookie", "kexec_load",
    "kexec_file_load", "init_module", "finit_module", "delete_module", "reboot", "swapon",
    "swapoff", "acct", "syslog", "vhangup", "uselib", "settimeofday", "clock_settime", "adjtimex",
    "clock_adjtime", "sethostname", "setdomainname", "landlock_create_ruleset",
)
# fmt: on


def launch_bwrap(limits: Limits) -> Process:
    """Start a worker in the sandbox.

    Raises:
        PipelineError: bwrap, prlimit or libseccomp is not installed.
    """
    bwrap = _installed("bwrap", "bubblewrap")
    command = [
        _installed("prlimit", "util-linux"),
        f"--as={_at_most(limits.memory_mb << 20, resource.RLIMIT_AS)}",
        f"--cpu={_at_most(cpu_seconds(limits), resource.RLIMIT_CPU)}",
        f"--nofile={_at_most(OPEN_FILES, resource.RLIMIT_NOFILE)}",
        "--fsize=0",
        "--core=0",
        bwrap,
        *_walls(),
    ]
    # A file without a name, as bwrap reads to its end whatever stands at its current place.
    with tempfile.TemporaryFile() as rules:
        rules.write(_rules())
        rules.flush()
        rules.seek(0)
        command += ["--seccomp", str(rules.fileno()), *_python()]
        return Process(command, env={}, pass_fds=[rules.fileno()])


def refused(why: str) -> PipelineError:
    """What to tell where bwrap is there but does not get so far as to run the worker."""
    if not why.startswith("bwrap:"):
        return PipelineError(f"Python does not start in bwrap ({why}); fix that, {INSTEAD}")
    return PipelineError(
        f"bwrap is installed, but this machine refuses to isolate with it ({why}); allow user "
        f"namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
        f"kernel.apparmor_restrict_unprivileged_userns), {INSTEAD}"
    )


def _at_most(wanted: int, kind: int) -> int:
    """A limit that an ordinary user may set: not above that of this process."""
    _, hard = resource.getrlimit(kind)
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def _installed(program: str, package: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise PipelineError(
            f"{program} is not installed, and programs that do not ship with the project run in "
            f"it; install it with 'sudo apt-get install {package}', {INSTEAD}"
        )
    return path


def _walls() -> list[str]:
    """The sandbox itself."""
    walls = ["--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    walls += ["--clearenv"]
    for name, value in ENVIRONMENT.items():
        walls += ["--setenv", name, value]
    for path in (*_system_libraries(), *_python_library()):
        walls += ["--ro-bind", str(path), str(path)]
    for folder in ("/lib", "/lib64"):
        link = Path(folder)
        walls += ["--symlink", str(link.readlink()), folder] if link.is_symlink() else []
    for hidden in sorted(Path(os.__file__).resolve().parent.glob("*-packages")):
        walls += ["--tmpfs", str(hidden), "--remount-ro", str(hidden)]
    return [*walls, "--ro-bind", str(WORKER), "/worker.py", "--chdir", "/", "--remount-ro", "/"]


def _system_libraries() -> list[Path]:
    """Where shared libraries and their loader lie; not the rest of /usr/lib where that is mixed."""
    found = []
    for folder in (Path("/usr/lib"), Path("/lib")):
        if folder.is_symlink():
            continue
        mixed = sorted(folder.glob("*-linux-gnu*")) + sorted(folder.glob("ld-linux*"))
        found += mixed or [folder]
    wide = [folder for folder in (Path("/usr/lib64"), Path("/lib64")) if not folder.is_symlink()]
    return [path for path in found + wide if path.exists()]


def _python_library() -> list[Path]:
    """The base interpreter and its standard library."""
    library = Path(os.__file__).resolve().parent
    if library.parents[1] in (Path("/usr"), Path("/usr/local")):
        return [Path(_base_python()), library, *sorted(library.parent.glob("libpython3*"))]
    return [Path(_base_python()), library.parent]


def _python() -> list[str]:
    """The base interpreter without its packages: a virtual environment lies among our files."""
    return [_base_python(), "-s", "-S", "-B", "/worker.py"]


def _base_python() -> str:
    base = getattr(sys, "_base_executable", None) or sys.executable
    return os.path.realpath(base)


@cache
def _rules() -> bytes:
    """The filter of system calls, compiled for this machine."""
    try:
        import pyseccomp
    except (RuntimeError, OSError):
        raise PipelineError(
            "libseccomp is not installed, and without it programs are not isolated; install it "
            f"with 'sudo apt-get install libseccomp2', {INSTEAD}"
        ) from None
    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    # Programs that meet "no such call" try the older one, which is forbidden in its turn.
    answers = dict.fromkeys(FORBIDDEN, errno.EPERM) | {"clone3": errno.ENOSYS}
    for name, answer in answers.items():
        if pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name) != -1:
            rules.add_rule(pyseccomp.ERRNO(answer), name)
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()
