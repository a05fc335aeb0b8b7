"""The data commands: ``python -m pipeline data ACTION``. Each composes what a room offers.

An action prints its tables and returns what ``--json`` prints.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.reports.summary import rows_table, summary_table
from pipeline.settings.reading import Settings
from pipeline.system.errors import PipelineError, printable


@dataclass(frozen=True)
class Action:
    """One word after ``data``, or after another command that has actions."""

    help: str
    arguments: Callable[[argparse.ArgumentParser], object]
    run: Callable[[argparse.Namespace, Settings], dict[str, Any]]


def _ls(known: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    from pipeline.shards import table
    from pipeline.shards.repair.edit import numbers

    runs, rounds = _members(known.run), _members(known.round)
    there = table.runs_in(settings.paths.datasets)
    unknown = [run for run in runs if run not in there]
    if unknown:
        raise PipelineError(
            f"--run {unknown[0]}: no such run has shards; there are: {', '.join(there) or 'none'}"
        )
    rows, count = table.list_shards(
        settings.paths.datasets,
        kind=known.kind,
        rounds=numbers(",".join(rounds), "--round") if rounds else (),
        newest=known.newest,
        runs=runs,
    )
    hidden = ("game", "return_mean")  # the folder says the one, `data show` the other
    print(rows_table([{k: v for k, v in row.items() if k not in hidden} for row in rows]))
    states = Counter(row["state"] for row in rows)
    odd = "".join(f", {n} {state}" for state, n in sorted(states.items()) if state != "ok")
    print(f"{len(rows)} of {count} files{odd}")
    return {"shards": rows}


def _members(words: Sequence[str] | None) -> list[str]:
    """The members of ``a b``, ``a,b`` or ``[a, b]``."""
    parts = [part for word in words or () for part in word.strip("[]").split(",")]
    return [part for part in parts if part]


def _ls_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kind", choices=("raw", "processed"), help="shards of this kind only")
    parser.add_argument("--round", metavar="N", nargs="+", help="shards of these rounds only")
    parser.add_argument("--run", metavar="NAME", nargs="+", help="shards of these runs only")
    parser.add_argument("--newest", action="store_true", help="the newest version of each only")


def _show(known: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    from pipeline.shards import table

    result = dict(table.describe(Path(known.file)))
    print(summary_table(result))
    return result


def _lineage(known: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    from pipeline.shards import lineage
    from pipeline.shards.catalog.facts import Parent
    from pipeline.shards.run_shards import game_of

    path, title = Path(known.file), ""
    if path.suffix in (".pt", ".json"):
        # Imported late: torch is for checkpoints alone.
        from pipeline.agents.policy import checkpoints_of

        checkpoints = checkpoints_of(path)
        several = f", {len(checkpoints)} networks" if len(checkpoints) > 1 else ""
        steps = sum(one.step for one in checkpoints)
        title = f"{path}: {checkpoints[0].game}{several}, {steps:,} steps of training"
        ids = dict.fromkeys(shard_id for one in checkpoints for shard_id in one.shard_ids)
        roots = [Parent("", shard_id) for shard_id in ids]
        rows = lineage.lineage(settings.game_folder(checkpoints[0].game), roots)
    else:
        rows = lineage.lineage_of(path, game_of(path, settings.paths.datasets))
    print(lineage.draw(rows, title))
    counts = Counter(row["state"] for row in rows)
    shards = len(rows) - counts["above"]
    print(f"{shards} shards, {counts['stale']} stale, {counts['missing']} missing")
    return {
        "file": str(path),
        "stale": counts["stale"],
        "missing": counts["missing"],
        "shards": rows,
    }


def _diff(known: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    from pipeline.shards.repair import diff

    result = diff.diff(Path(known.a), Path(known.b))
    print(summary_table(result))
    if "same_game" in result:
        print(
            f"{result['same_game']} episodes of {result['a']} are of games that {result['b']} has "
            "other recordings of; their labels are not compared"
        )
    return dict(result)


def _diff_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", help="a labelled shard")
    parser.add_argument("b", help="another labelling of the same recordings")


def _import(known: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    from pipeline.exchange import npz

    result = npz.import_episodes(known.files, settings, name=known.name, expert=known.expert)
    print(summary_table({key: value for key, value in result.items() if key != "remarks"}))
    for line in result["remarks"]:
        print(printable(line), file=sys.stderr)
    return result


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+")
    parser.add_argument("--name", default="import", help="stem of the shard's file name")
    parser.add_argument("--expert", action="store_true", help="the buttons are an expert's")


def _verify(known: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    from pipeline.shards.repair.verify import damage_rows, verify
    from pipeline.shards.run_shards import all_shards

    files = [Path(file) for file in known.files]
    gone = [file for file in files if not file.is_file()]
    if gone:
        raise PipelineError(f"{gone[0]}: no such shard; see which there are with: data ls")
    rows = list(verify(files or all_shards(settings.paths.datasets), deep=known.deep))
    columns = ("state", "schema_version", "by", "frames", "episodes", "seconds")
    shown = [{"shard": printable(r["shard"]), **{c: r.get(c) for c in columns}} for r in rows]
    print(rows_table(shown))
    wrong = [row["shard"] for row in rows if row["state"] != "ok"]
    if wrong:
        print(rows_table(damage_rows(rows)))
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        error = (
            f"{len(wrong)} of {len(rows)} shards are damaged: {', '.join(wrong[:3])}{more}; "
            "save what is intact with: data salvage FILE"
        )
        return {"shards": rows, "error": error}
    return {"shards": rows}


def _verify_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="*", help="shards; none checks all in paths.datasets")
    parser.add_argument("--deep", action="store_true", help="decode everything too")


def _salvage(known: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    from pipeline.shards.repair.salvage import salvage

    result = salvage(Path(known.file), known.into)
    print(summary_table(result))
    return dict(result)


def _salvage_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file")
    parser.add_argument("--into", metavar="NAME", help="stem of the new shard's file name")


def _replay(known: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    from pipeline.commands import replay

    result = replay.run(settings, known.file, episodes=known.episodes, workers=known.workers)
    print(summary_table(result))
    if result["different"]:
        first = next(row for row in result["by_episode"] if row["result"] != "identical")
        raise PipelineError(
            f"{known.file}: {result['different']} of {len(result['by_episode'])} episodes are not "
            f"played again as they were recorded, first episode {first['episode']} at "
            f"{first['result']}"
        )
    return result


def _replay_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path)
    parser.add_argument("--episodes", help="numbers such as 0,3-5; else all")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0 takes one a core")


def _migrate(known: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    from pipeline.shards.format.schema import SCHEMA_VERSION
    from pipeline.shards.repair.migrate import migrate_all
    from pipeline.shards.run_shards import all_shards

    files = [Path(file) for file in known.files]
    if bool(files) == known.all:
        raise PipelineError("data migrate: name the files, or give --all, not both")
    rows = [
        {
            "file": str(done.file),
            "from": done.version,
            "to": SCHEMA_VERSION,
            "shard": str(done.shard),
            "up_to_date": done.up_to_date,
        }
        for done in migrate_all(files or all_shards(settings.paths.datasets))
    ]
    print(rows_table(rows))
    return {"up_to_date": all(row["up_to_date"] for row in rows), "shards": rows}


def _migrate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="*")
    parser.add_argument("--all", action="store_true", help="every shard in paths.datasets")


def _merge(known: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    from pipeline.shards.repair import edit

    result = edit.merge([Path(file) for file in known.files], known.into, keep=known.keep)
    print(summary_table(result))
    return dict(result)


def _merge_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+")
    parser.add_argument(
        "--into", metavar="NAME", required=True, help="stem of the new shard's file name"
    )
    parser.add_argument(
        "--keep", choices=("first", "last"), help="which of two episodes of one recording stays"
    )


def _split(known: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    from pipeline.shards.repair import edit

    rows = edit.split(Path(known.file), episodes=known.by_episodes, fraction=known.by_fraction)
    print(rows_table(rows))
    return {"up_to_date": all(row["up_to_date"] for row in rows), "shards": rows}


def _split_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file")
    parser.add_argument("--by-episodes", type=int, metavar="N", help="episodes of each part")
    parser.add_argument(
        "--by-fraction", type=float, metavar="F", help="share of the first of two parts"
    )


def _filter(known: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    from pipeline.shards.repair import edit

    files = [Path(file) for file in known.files]
    if known.into and len(files) > 1:
        raise PipelineError(f"data filter: --into {known.into} names one shard, not {len(files)}")
    criteria = edit.Criteria(
        episodes=known.episodes and edit.numbers(known.episodes, "--episodes"),
        seeds=known.seeds and edit.numbers(known.seeds, "--seeds"),
        success=known.success,
        milestone=known.milestone,
        status=known.status,
        complete_labels=known.complete_labels or None,
        round=known.round,
    )
    rows = [{"file": str(f)} | edit.filter_shard(f, criteria, known.into) for f in files]
    print(rows_table(rows))
    if not any(row["shard"] for row in rows):
        names = ", ".join(known.files[:3]) + ("" if len(files) < 4 else " ...")
        error = f"{names}: no episode meets all that is asked; nothing is published"
        return {"error": error, "up_to_date": False, "shards": rows}
    return {"up_to_date": all(row["up_to_date"] for row in rows if row["shard"]), "shards": rows}


def _filter_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+")
    parser.add_argument("--into", metavar="NAME", help="stem of the new shard's file name")
    parser.add_argument("--episodes", metavar="LIST", help="by number: 0,3,5-9")
    parser.add_argument("--seeds", metavar="LIST", help="by seed: 0,3,5-9")
    won = parser.add_mutually_exclusive_group()
    won.add_argument("--success", action="store_true", default=None, help="won ones only")
    won.add_argument("--failure", dest="success", action="store_false", help="lost ones only")
    parser.add_argument("--milestone", metavar="NAME", help="those that reached it")
    parser.add_argument(
        "--status",
        choices=("unlabelled", "labelled", "refused", "failed", "timed_out", "invalid"),
        help="those with at least one such step",
    )
    parser.add_argument("--complete-labels", action="store_true", help="every step is labelled")
    parser.add_argument("--round", type=int, help="of the files, those of this round")


def _adopt(known: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    from pipeline.commands.adopt import adopt

    rows = adopt(settings.paths.datasets, settings.shards_run)
    print(rows_table(rows))
    stay = [row for row in rows if row["state"] != "moved"]
    print(f"{len(rows) - len(stay)} of {len(rows)} moved")
    more = f" (and {len(stay) - 1} more)" if len(stay) > 1 else ""
    error = f"{stay[0]['file']}: {stay[0]['state']}{more}" if stay else None
    return {"error": error, "up_to_date": not rows, "shards": rows}


ACTIONS = {
    "ls": Action("table of all shards", _ls_arguments, _ls),
    "show": Action("what one shard holds", lambda parser: parser.add_argument("file"), _show),
    "lineage": Action(
        "what a shard or checkpoint was made from, and what of it is stale",
        lambda parser: parser.add_argument(
            "file", help="a shard, a checkpoint (*.pt) or a switching policy of several (*.json)"
        ),
        _lineage,
    ),
    "diff": Action("where two labellings agree", _diff_arguments, _diff),
    "verify": Action("is every byte as it was written?", _verify_arguments, _verify),
    "salvage": Action("intact episodes of a damaged shard", _salvage_arguments, _salvage),
    "replay": Action("play a raw shard again, compare every step", _replay_arguments, _replay),
    "migrate": Action("old schema versions to today's", _migrate_arguments, _migrate),
    "merge": Action("several shards into one", _merge_arguments, _merge),
    "split": Action("one shard into several", _split_arguments, _split),
    "filter": Action("some of a shard's episodes", _filter_arguments, _filter),
    "adopt": Action(
        "shards that lie in DATASETS/GAME/ itself into the folders of their runs",
        lambda _parser: None,
        _adopt,
    ),
    "import": Action("episode_*.npz to a raw shard", _import_arguments, _import),
}


def add_actions(
    command: argparse.ArgumentParser,
    shared: argparse.ArgumentParser,
    actions_of: Mapping[str, Action] = ACTIONS,
    epilog: str = "",
) -> dict[str, argparse.ArgumentParser]:
    """Give the parser of a command its actions; return the parser of each.

    Args:
        shared: the options that all have.
        epilog: ends the help of each.
    """
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    made: dict[str, argparse.ArgumentParser] = {}
    for name, action in actions_of.items():
        made[name] = actions.add_parser(
            name, help=action.help, parents=[shared], allow_abbrev=False, epilog=epilog
        )
        action.arguments(made[name])
    return made
