"""The server in a process of its own, where its time must not count.

``python -m tests.model_server.apart`` prints its address and serves until its input ends.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.model_server.replies import says
from tests.model_server.server import KEY, ModelServer

ANSWER = {"reason": "The path leads up to the door.", "button": "UP"}


@contextmanager
def server_apart() -> Iterator[dict[str, str]]:
    """What a process needs in its environment to ask it; it always answers UP."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.model_server.apart"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        url = process.stdout.readline().strip()
        try:
            yield {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": url}
        finally:
            process.stdin.close()


def main() -> None:
    with ModelServer(says(ANSWER)) as server:
        print(server.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
