"""The command line: a thin layer over functions. `make help` lists the commands."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from harness.commands.parser import Parser
from harness.environment import project
from harness.values import HarnessError, not_unicode, refused_by_system, require_unicode

ROOT = project()
OWN_FILES: tuple[str, ...] = ("data", "new", "ui", "server", "migrate", "predict", "export", "plan", "prune", "explain")
"""Commands whose file in `harness.commands` defines `HELP`, `options(parser)` and `act(chosen, root)`."""


def parser() -> argparse.ArgumentParser:
    """The parser of all commands and their options."""
    parser = Parser(prog="harness", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="make every run of an experiment")
    find = commands.add_parser("lr-find", help="show an experiment's LR range tests")
    for command in (run, find):
        command.add_argument("experiment", metavar="EXP")
        command.add_argument("--data", default="", help="use another data set")
        command.add_argument("--seeds", default="", help="how many seeds, or which")
        command.add_argument("--until", default="", help="decided: stop when the interim looks have decided")
        command.add_argument("--max-seeds", default="", help="with --until, the largest number of seeds")
        command.add_argument("--variants", default="", help="only these variants, separated by commas")
        command.add_argument("--set", default="", help="field=value ..., for every variant")
        command.add_argument("--workers", default="", help="processes for augmentation")
        command.add_argument("--allow", default="", help="fields in which runs may differ nevertheless")
    run.add_argument("--jobs", default="", help="runs at once in processes of this machine: a number, or auto")
    run.add_argument("--ray", default="", help="make runs on Ray: local, auto or ray://host:port")
    run.add_argument("--ray-gpu", default="", help="share of a GPU for each run on Ray")
    run.add_argument("--slurm", default="", help="make runs through Slurm: partition=... time=..., or local")
    listing = commands.add_parser("list", help="every model and every experiment")
    listing.add_argument("--model", default="", help="one model's layers")
    again = commands.add_parser("reproduce", help="replay a recorded run and compare")
    again.add_argument("run", metavar="RUN", help="its key in runs/ or its id in MLflow")
    again.add_argument("--workers", default="", help="processes for augmentation")
    commands.add_parser("forget", help="delete runs, in runs/ and in MLflow").add_argument(
        "runs", metavar="RUN", help="their keys"
    )
    commands.add_parser("sync", help="deliver to MLflow what runs/ has and it lacks")
    for name in OWN_FILES:
        file = importlib.import_module(f"harness.commands.{name}")
        file.options(commands.add_parser(name, help=file.HELP))
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit status: 0 done, 1 some runs failed or were not delivered, 2 bad input, 130 or 143 stopped by a signal.
    """
    # importing torch's optimizers imports its compiler, which would create a folder in the temporary directory
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(ROOT / "data" / "cache" / "compiled"))
    actions = {
        "run": _run,
        "lr-find": _lr_find,
        "list": _list,
        "reproduce": _reproduce,
        "sync": _sync,
        "forget": _forget,
    }
    try:
        require_unicode("the project's folder", str(ROOT))
        chosen = parser().parse_args(arguments)
        if chosen.command in OWN_FILES:
            return importlib.import_module(f"harness.commands.{chosen.command}").act(chosen, ROOT)
        return actions[chosen.command](chosen)
    except HarnessError as error:
        return _refuse(error)
    except UnicodeEncodeError as error:
        return _refuse(HarnessError(not_unicode(error)))
    except ValueError as error:
        registry = sys.modules.get("models.registry")  # not imported here, because it imports torch
        if registry and isinstance(error, registry.ModelError):  # a file in models/ that was refused on import
            return _refuse(HarnessError(str(error)))
        raise
    except OSError as error:
        return _refuse(HarnessError(refused_by_system(error)))
    except KeyboardInterrupt:
        return 130


def _refuse(problem: HarnessError) -> int:
    print("error:", problem, file=sys.stderr)
    return 2


def _run(chosen: argparse.Namespace) -> int:
    from harness.commands.run import run

    return run(chosen, ROOT)


def _lr_find(chosen: argparse.Namespace) -> int:
    from harness.commands.run import lr_find

    return lr_find(chosen, ROOT)


def _list(chosen: argparse.Namespace) -> int:
    from harness.commands.listing import show

    return show(chosen, ROOT)


def _sync(chosen: argparse.Namespace) -> int:
    from harness.tracking.sync import Courier
    from harness.tracking.tracker import Tracker

    return 1 if Courier(Tracker(ROOT), ROOT, print).sync() else 0


def _forget(chosen: argparse.Namespace) -> int:
    from harness.commands.forget import forget

    return forget(chosen, ROOT)


def _reproduce(chosen: argparse.Namespace) -> int:
    from harness.commands.arguments import workers
    from harness.commands.reproduce import reproduce

    return reproduce(chosen.run, ROOT, workers(chosen))


if __name__ == "__main__":
    sys.exit(main())
