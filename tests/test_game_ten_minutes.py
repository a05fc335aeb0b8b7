"""The README's "Teach it another game in ten minutes", followed to the letter on quest."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from pipeline.games.loading import load_game
from pipeline.shards.reader import Shard

ROOT = Path(__file__).parent.parent
TITLE = "## Teach it another game in ten minutes"
# What stands in the README's blocks of commands under that title.
COMMANDS = """
python -m pipeline game new mine --rom pipeline/games/quest/quest.gba
python -m pipeline game find mine/begin.npz --game mine --play 'START WAIT*20 A*6 WAIT*4' \\
    --png mine/now.png --keep-state mine/bedroom.png
python -m pipeline game find mine/x.npz --game mine --state mine/bedroom.png \\
    --play RIGHT --by 1 --play RIGHT --by 1 --play LEFT --by -1 --play UP --unchanged
python -m pipeline game find mine/x.npz --game mine \\
    --play 'RIGHT*5 UP*2 WAIT*6 A*8 WAIT*2' --play LEFT --by -1 --add
python -m pipeline game find mine/y.npz --game mine --state mine/bedroom.png \\
    --play UP --by -1 --play UP --by -1 --play DOWN --by 1 --play RIGHT --unchanged \\
    --play 'RIGHT*4 UP*3 WAIT*6 A*8 WAIT*2' --play DOWN --by 1 --play LEFT --unchanged --add
sed -i 's/^  power_on: .*/  bedroom: {file: bedroom.png}/' mine/game.yaml
sed -i 's/^success: .*/success: "x == 7 and y == 2"/' mine/game.yaml
python -m pipeline game check --game mine
cat > mine/expert.py <<'END'
def act(state):
    return "RIGHT" if state["x"] < 7 else "UP"
END
python -m pipeline collect --game mine --episodes 2
"""


def test_another_game_is_taught_in_ten_minutes(tmp_path: Path) -> None:
    rom = tmp_path / "pipeline/games/quest/quest.gba"
    rom.parent.mkdir(parents=True)
    shutil.copy(ROOT / "pipeline/games/quest/quest.gba", rom)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-c", COMMANDS],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    variables = load_game(tmp_path / "mine").variables
    assert {name: v.location.address for name, v in variables.items()} == {
        "x": 0x02002010,
        "y": 0x02002012,
    }
    (shard,) = (tmp_path / "datasets/mine").glob("*.h5")
    with Shard(shard) as recorded:
        assert recorded.n_episodes == 2
        assert recorded.success.all()
        assert recorded.lengths.tolist() == [7, 7]


def test_the_readme_says_the_same() -> None:
    readme = (ROOT / "pipeline/games/README.md").read_text()
    section = readme.partition(TITLE)[2].partition("\n## ")[0]
    assert [line for line in COMMANDS.strip().splitlines() if line not in section] == []
