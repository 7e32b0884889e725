"""The command line: a thin layer over functions. `make help` shows the commands that people use."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from harness.plans import catalog, overrides
from harness.plans.plan import Plan, plan
from harness.values import HarnessError, SpecError

ROOT = Path(__file__).resolve().parent.parent


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SpecError(f"{message} (see: make help)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 done, 1 some failed or undelivered, 2 bad input, 130, 143 stopped."""
    # torch's optimizers already import its compiler, which would make a folder in the temporary directory
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(ROOT / "data" / "cache" / "compiled"))
    parser = _Parser(prog="harness", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="make every run of an experiment")
    find = commands.add_parser("lr-find", help="show an experiment's LR range tests")
    for command in (run, find):
        command.add_argument("experiment")
        command.add_argument("--data", default="", help="another data set")
        command.add_argument("--seeds", default="", help="how many seeds")
        command.add_argument("--variants", default="", help="only these, separated by commas")
        command.add_argument("--set", default="", help="field=value ..., for every variant")
        command.add_argument("--workers", default="", help="processes for augmentation")
    listing = commands.add_parser("list", help="every model and every experiment")
    listing.add_argument("--model", default="", help="one model's layers")
    again = commands.add_parser("reproduce", help="replay a recorded run and compare")
    again.add_argument("run", help="its key in runs/ or its id in MLflow")
    again.add_argument("--workers", default="", help="processes for augmentation")
    commands.add_parser("sync", help="deliver to MLflow what runs/ has and it lacks")
    commands.add_parser("ui", help="the MLflow UI").add_argument("--port", default="5000")
    actions = {"run": _run, "lr-find": _lr_find, "list": _list, "reproduce": _reproduce, "sync": _sync, "ui": _ui}
    try:
        chosen = parser.parse_args(arguments)
        return actions[chosen.command](chosen)
    except HarnessError as error:
        return _refuse(error)
    except OSError as error:
        problem = f"{error.strerror or error}: {error.filename or ''} (free or mend it, then run again)"
        return _refuse(HarnessError(problem))
    except KeyboardInterrupt:
        return 130


def _refuse(problem: HarnessError) -> int:
    print("error:", problem, file=sys.stderr)
    return 2


def whole_number(text: str, name: str) -> int | None:
    """An integer from the command line, None when it was not given.

    Raises:
        SpecError: it is not one.
    """
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise SpecError(f"{name} must be a whole number below a billion; got {text!r}")
    return int(text)


def _plan(chosen: argparse.Namespace) -> Plan:
    experiment = catalog.load(chosen.experiment, ROOT)
    changes = overrides.parse(chosen.set)
    from harness.training.device import detect  # and with it torch, seconds after a mistyped name was refused

    return plan(
        experiment,
        detect(str(changes.get("device", experiment.base.device))),
        data=chosen.data or None,
        seeds=whole_number(chosen.seeds, "SEEDS"),
        variants=[name for name in chosen.variants.split(",") if name],
        changes=changes,
    )


def _workers(chosen: argparse.Namespace) -> int:
    import joblib  # only where something trains

    given = whole_number(chosen.workers, "WORKERS")
    return min(4, joblib.cpu_count()) if given is None else given


def _run(chosen: argparse.Namespace) -> int:
    planned, workers = _plan(chosen), _workers(chosen)
    from harness.execution.execute import check, execute
    from harness.tracking.tracker import Tracker
    from harness.training.autotune import settle
    from harness.training.device import code_at_start

    code_at_start(ROOT)
    datasets = check(planned, ROOT)
    tracker = Tracker(ROOT)
    planned = settle(planned, datasets, ROOT)
    outcome = execute(planned, datasets, tracker, ROOT, workers)
    if outcome.signal is not None:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 128 + outcome.signal
    if outcome.asked_otherwise:
        print(
            f"another command has asked otherwise of {planned.design.experiment} meanwhile, and the report is of that; "
            f"one of all: make run EXP={planned.design.experiment}",
            file=sys.stderr,
        )
    problems = []
    if outcome.failed:
        problems.append(f"{len(outcome.failed)} of {len(planned.runs)} runs have no result: see above")
    if outcome.undelivered:
        problems.append(
            f"MLflow lacks what {outcome.undelivered} folders of runs/ hold; deliver it, once the store works, with: "
            "make sync"
        )
    if problems:
        print(f"error: {'; '.join(problems)}", file=sys.stderr)
    return 1 if problems else 0


def _sync(chosen: argparse.Namespace) -> int:
    from harness.tracking.sync import Courier
    from harness.tracking.tracker import Tracker

    return 1 if Courier(Tracker(ROOT), ROOT, print).sync() else 0


def _lr_find(chosen: argparse.Namespace) -> int:
    planned, workers = _plan(chosen), _workers(chosen)
    from harness.execution.execute import check, find_lrs

    for line in find_lrs(planned, check(planned, ROOT), workers):
        print(line, flush=True)
    return 0


def _reproduce(chosen: argparse.Namespace) -> int:
    from harness.commands.reproduce import reproduce

    return reproduce(chosen.run, ROOT, _workers(chosen))


def _list(chosen: argparse.Namespace) -> int:
    if chosen.model:
        print(catalog.layers(chosen.model))
        return 0
    print("\n".join(catalog.model_lines(ROOT)), end="\n\n")
    for name in catalog.names(ROOT):
        print(f"{name:<22} {catalog.load(name, ROOT).question}")
    return 0


def _ui(chosen: argparse.Namespace) -> int:
    from harness.tracking.store import serve_ui

    port = whole_number(chosen.port, "PORT")
    port = 5000 if port is None else port
    if not 1 <= port <= 65535:
        raise SpecError(f"PORT must be 1..65535; got {port}")
    return serve_ui(ROOT, port)


if __name__ == "__main__":
    sys.exit(main())
