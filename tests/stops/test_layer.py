"""The layer that stops processes."""

from __future__ import annotations

import os
from pathlib import Path

from tests.stops.layer import Layer


def test_the_layer_stops_before_and_after_a_call_and_sees_what_is_not_durable(
    tmp_path: Path,
) -> None:
    for stop, expected in ((0, ["a"]), (1, ["b"]), (None, ["b"])):
        for old in tmp_path.iterdir():
            old.unlink()
        (tmp_path / "a").write_bytes(b"1")
        pid = os.fork()
        if pid == 0:
            layer = Layer(stop=stop)
            layer.install()
            os.replace(tmp_path / "a", tmp_path / "b")
            layer.finish()
            os._exit(len(layer.breaches))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code == (2 if stop is None else 137)  # neither its content nor its folder is durable
        assert [path.name for path in tmp_path.iterdir()] == expected
