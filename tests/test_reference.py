"""The settings as they are shown: in the help of a stage, and in configs/README.md."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.__main__ import STAGES, main
from pipeline.settings.reference import MARK, help_text, markdown, rows, sections

ROOT = Path(__file__).parent.parent


def test_every_setting_is_explained() -> None:
    bare = [
        f"{name}.{row.key}" for name, one in sections().items() for row in rows(one) if not row.text
    ]
    assert bare == []


def test_the_reference_is_what_the_fields_say() -> None:
    text = (ROOT / "configs/README.md").read_text()
    assert text.partition(MARK)[2] == markdown(), "run: python -m pipeline.settings.reference"


def test_every_file_of_configs_has_a_row() -> None:
    text = (ROOT / "configs/README.md").read_text()
    assert [
        path.name for path in ROOT.glob("configs/*.yaml") if f"| `{path.name}` |" not in text
    ] == []


def test_every_file_of_configs_opens_with_what_it_gives() -> None:
    for path in ROOT.glob("configs/*.yaml"):
        words = re.findall(r"^# [A-Z][^:]*(?=: )", path.read_text(), re.MULTILINE)
        assert words[:4] == ["# What", "# Command", "# Time, hardware", "# Expected"], path.name


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_the_help_of_a_stage_lists_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    said = capsys.readouterr().out
    assert "  --learning_rate  number (above 0); default 0.0001\n" in said
    assert "  --optimizer  adam, adamw, muon; default adam\n" in said
    assert "      Largest norm of the gradient; 0 leaves it alone.\n" in said
    assert " ".join(said.split()).endswith("configs/README.md has all")


@pytest.mark.parametrize("stage", STAGES)
def test_no_line_of_the_help_is_wider_than_a_terminal(stage: str) -> None:
    assert max(map(len, help_text(stage).splitlines())) <= 100


def test_help_loads_nothing_that_it_does_not_need() -> None:
    script = (
        "import sys\nfrom pipeline.__main__ import main\n"
        "try: main(['train', '--help'])\nexcept SystemExit: pass\n"
        "print([name for name in ('torch', 'mgba', 'h5py', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "[]"
