"""Files that are whole or absent: what is called in which order, and a disk that refuses."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.reports.plots import plot_comparison
from pipeline.shards.catalog.publish import publish
from pipeline.system import files
from pipeline.system.errors import PipelineError
from pipeline.system.files import name_whole, write_new, write_whole
from pipeline.training.run_folder import copy_checkpoint
from tests.stops.layer import patch_os
from tests.trained import error_of

PIPELINE = Path(files.__file__).parents[1]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done to files: each call with the name that it is about, and the bytes there."""
    made: list[str] = []

    def watched(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(first: Any, *rest: Any, **options: Any) -> Any:
            path = Path(f"/proc/self/fd/{first}" if isinstance(first, int) else first)
            path = path.readlink() if isinstance(first, int) else path
            size = f" {path.stat().st_size}" if path.is_file() else ""
            shown = "FOLDER" if path.is_dir() else "TEMPORARY" if ".tmp-" in path.name else "FILE"
            made.append(f"{name} {shown}{size}")
            return real(first, *rest, **options)

        return call

    for name in ("fsync", "replace", "link", "unlink"):
        patch_os(name, watched(name, getattr(os, name)), monkeypatch.setattr)
    return made


def test_a_replaced_file_is_durable_before_it_has_its_name(
    tmp_path: Path, calls: list[str]
) -> None:
    write_whole(tmp_path / "a", b"12345")
    assert calls == ["fsync TEMPORARY 5", "replace TEMPORARY 5", "fsync FOLDER"]
    assert (tmp_path / "a").read_bytes() == b"12345"


@pytest.mark.parametrize("law", [name_whole, publish])
def test_a_published_file_is_durable_before_it_has_its_name(
    tmp_path: Path, calls: list[str], law: Callable[[Path, Path], None]
) -> None:
    temporary = tmp_path / ".a.tmp-1"
    temporary.write_bytes(b"12345")
    law(temporary, tmp_path / "a")
    expected = ["fsync TEMPORARY 5", "link TEMPORARY 5", "unlink TEMPORARY 5", "fsync FOLDER"]
    assert calls == expected
    assert (tmp_path / "a").read_bytes() == b"12345"


def test_a_file_that_must_be_new_never_replaces_one(tmp_path: Path) -> None:
    write_new(tmp_path / "a", b"1")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "a", b"2")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"1")]


def test_what_a_dead_process_was_writing_goes_when_the_file_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.json"
    pid = os.fork()
    if pid == 0:
        monkeypatch.setattr(os, "replace", lambda *_: os._exit(0))
        write_whole(path, b"1")
    os.waitpid(pid, 0)
    assert len(list(tmp_path.iterdir())) == 1
    write_whole(path, b"2")
    assert list(tmp_path.iterdir()) == [path]


def test_no_other_module_renames_links_or_syncs() -> None:
    words = ("os.fsync", "os.replace", "os.rename", "os.link", ".write_bytes(", "shutil.copyfile")
    found = {
        (path.relative_to(PIPELINE).as_posix(), word)
        for path in PIPELINE.rglob("*.py")
        for word in words
        if word in path.read_text()
    }
    elsewhere = {one for one in found if one[0] != "system/files.py"}
    # A second name, under a hidden one first, for a shard that is durable already; and a copy of a
    # damaged one that lives as long as it is read.
    assert elsewhere == {
        ("shards/catalog/names.py", "os.link"),
        ("shards/catalog/names.py", "shutil.copyfile"),
        ("shards/repair/salvage.py", "shutil.copyfile"),
    }


@contextmanager
def full_disk(bytes_left: int) -> Iterator[None]:
    """No file can be longer than so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_copied_checkpoint_is_whole_and_a_full_disk_leaves_the_old_one(tmp_path: Path) -> None:
    source, target = tmp_path / "source.pt", tmp_path / "run/final.pt"
    content = bytes(range(256)) * 1000
    source.write_bytes(b"old")
    copy_checkpoint(source, target)
    source.write_bytes(content)
    with full_disk(len(content) // 2):
        said = error_of(lambda: copy_checkpoint(source, target))
    assert said == (
        f"{target}: cannot write the checkpoint (File too large); fix that, then the same command "
        "carries on"
    )
    assert [(p.name, p.read_bytes()) for p in target.parent.iterdir()] == [("final.pt", b"old")]
    copy_checkpoint(source, target)
    assert target.read_bytes() == content
    source.unlink()
    assert error_of(lambda: copy_checkpoint(source, target)) == (
        f"{source}: cannot read the checkpoint (No such file or directory); fix that, then the "
        "same command carries on"
    )
    assert target.read_bytes() == content


def test_a_copied_checkpoint_is_durable_before_it_has_its_name(
    tmp_path: Path, calls: list[str]
) -> None:
    (tmp_path / "source.pt").write_bytes(b"12345")
    copy_checkpoint(tmp_path / "source.pt", tmp_path / "final.pt")
    assert calls == ["fsync TEMPORARY 5", "replace TEMPORARY 5", "fsync FOLDER"]


def test_a_plot_is_whole_or_the_old_one(tmp_path: Path) -> None:
    row = {
        "method": "dagger", "labels": 1, "success_rate": 0.5, "success_low": 0.4,
        "success_high": 0.6, "by_seed": [0.5], "milestones_mean": 1.0,
    }  # fmt: skip
    path = tmp_path / "compare.png"
    path.write_bytes(b"old")
    with full_disk(1000), pytest.raises(PipelineError) as caught:
        plot_comparison([row], path)
    assert str(caught.value).startswith(f"{path}: cannot write the plot (File too large); ")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("compare.png", b"old")]
