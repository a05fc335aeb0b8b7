"""The far side of an expert program: runs it in a process of its own, over JSON lines.

Started as ``python -I worker.py PROGRAM`` with the standard library only; it imports nothing of
the pipeline, so that the same file can stand inside any sandbox.

Protocol: one JSON line in is one batch, ``{"count": n, "state": {name: [value, ...]}}``; out come
n lines, one a state and in order: a button's name, or ``null`` and the reason after a space. An
answer is written as soon as it is known, so when the program hangs or dies the parent knows at
which state.
"""

import json
import os
import sys
from importlib.util import module_from_spec, spec_from_file_location


def serve(path: str) -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)  # a line at a time
    # What the program prints must not be taken for an answer.
    os.dup2(2, 1)
    spec = spec_from_file_location("expert_program", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is not a Python file")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    act = module.act
    answers.write('"ready"\n')
    for line in sys.stdin:
        batch = json.loads(line)
        names = list(batch["state"])
        columns = batch["state"].values()
        rows = zip(*columns, strict=True) if names else ([] for _ in range(batch["count"]))
        for row in rows:
            try:
                answer = json.dumps(act(dict(zip(names, row, strict=True))))
            except Exception as error:  # noqa: BLE001 - any failure of the program is its answer
                answer = "null " + f"{type(error).__name__}: {error}".replace("\n", " ")
            answers.write(answer + "\n")


if __name__ == "__main__":
    serve(sys.argv[1])
