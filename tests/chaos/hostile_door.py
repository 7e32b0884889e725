"""Hostile names, parameters, configs and overrides at the door: each is one printable line, nothing is written."""

import contextlib
import io
import itertools
import shlex
from collections.abc import Callable
from pathlib import Path

import harness.__main__ as command_line
from harness.plans import catalog
from tests.chaos.hostile_texts import texts
from tests.chaos.hostile_world import World, contents
from tests.chaos.table import Row

Option = Callable[[str], tuple[str, ...]]
EXPERIMENT = """
from harness import SGD, Circumstances, Data, Experiment, Model, Published, Recipe, Transform

EXPERIMENT = Experiment(
    name={name!r},
    question="Is it refused?",
    base=Recipe(
        data=Data(name={data!r}),
        model=Model(name={model!r}, {head}),
        optimizer=SGD(lr=0.1),
        augmentation=(Transform(name={transform!r}, {p}),),
        epochs=1,
        batch_size=64,
    ),
    variants={{{variant!r}: {{}}}},
    factor=({factor!r},),
    baseline={baseline!r},
    seeds=(0,),
    circumstances=Circumstances(device={device!r}),
    published=(Published(variant={published!r}, test_accuracy_percent=1.0, source="somewhere"),),
)
"""
VALUES = {
    "name": "attempt",
    "data": "digits",
    "model": "norm_cnn",
    "head": 'head="gap"',
    "transform": "HorizontalFlip",
}
VALUES |= {"p": "p=0.5", "device": "cpu", "variant": "plain", "factor": "model.norm", "baseline": "plain"}
VALUES |= {"published": "plain"}
OPTIONS: tuple[Option, ...] = (
    lambda text: ("run", "--", text),
    lambda text: ("run", f"--variants={text}", "--", "attempt"),
    lambda text: ("run", f"--seeds={text}", "--", "attempt"),
    lambda text: ("run", f"--workers={text}", "--", "attempt"),
    lambda text: ("run", f"--set={text}", "--", "attempt"),
    lambda text: ("run", f"--data={text}", "--", "attempt"),
    lambda text: ("run", f"--data=folder:{text}", "--", "attempt"),
    lambda text: ("lr-find", f"--set={shlex.quote(text)}=1", "--", "attempt"),
    lambda text: ("list", f"--model={text}"),
    lambda text: ("ui", f"--port={text}"),
    lambda text: (text,),
    lambda text: ("run", "attempt", f"--{text}"),
    *(
        (lambda text, field=field: ("run", f"--set={field}={shlex.quote(text)}", "--", "attempt"))
        for field in (
            *("epochs", "optimizer", "optimizer.name", "optimizer.lr", "schedule.name", "model.name", "model.head"),
            *("device", "precision", "data.image_size", "data.mean", "augmentation", "lr_finder", f"model.{'x' * 9}"),
        )
    ),
)


def row(count: int, world: World) -> Row:
    """So many attempts, by options and by experiment files in turn."""
    experiment = world.project / "experiments" / "attempt.py"
    experiment.write_text(EXPERIMENT.format(**VALUES))
    catalog.load("attempt", world.project)  # it is good as it stands: what is refused is the text put into it
    ways: list[Option | str] = [*OPTIONS, *VALUES]
    wrong = []
    for text, way in zip(texts(count), itertools.cycle(ways), strict=False):
        if isinstance(way, str):
            value = f"{way}={text!r}" if way in ("head", "p") else text
            experiment.write_text(EXPERIMENT.format(**VALUES | {way: value}), encoding="utf-8")
            arguments: tuple[str, ...] = ("run", "--", "attempt")
        else:
            experiment.write_text(EXPERIMENT.format(**VALUES), encoding="utf-8")
            arguments = way(text)
        problem = refused(world, arguments)
        if problem:
            wrong.append(f"{way if isinstance(way, str) else arguments} {text!r}: {problem}")
    promise = "a hostile name, parameter, config or override is refused in one line"
    return Row(promise, count, count - len(wrong), "; ".join(wrong[:5]))


def through_make(count: int, world: World) -> Row:
    """The same for so many real commands: past make and the shell, too."""
    wrong = []
    for number, text in enumerate(texts(count, seed=3)):
        given = f"{('EXP', 'VARIANTS', 'SET', 'DATA', 'SEEDS', 'WORKERS')[number % 6]}={text}"
        before = state(world)
        done = world.run("make", "-s", "run", "EXP=attempt", given)
        said, *rest = done.stderr.splitlines() or [""]
        if done.returncode != 2 or done.stdout or not said.startswith("error: ") or not all(map(make_said, rest)):
            wrong.append(f"{given!r}: {done.returncode} {done.stdout!r} {done.stderr!r}")
        elif state(world) != before:
            wrong.append(f"{given!r}: wrote {sorted(state(world).keys() ^ before.keys())}")
    return Row(
        "and so it is from make, whatever a shell would do with it", count, count - len(wrong), "; ".join(wrong[:3])
    )


def make_said(line: str) -> bool:
    return line.startswith("make: *** ")


def refused(world: World, arguments: tuple[str, ...]) -> str | None:
    """What is wrong with how the command line took these arguments; None if they were refused as they must be."""
    out, err = io.StringIO(), io.StringIO()
    before, root = state(world), command_line.ROOT
    command_line.ROOT = world.project
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = command_line.main(arguments)
    except BaseException as error:
        return f"raised {error!r}"
    finally:
        command_line.ROOT = root
    said = err.getvalue().removesuffix("\n")
    if status != 2 or out.getvalue() or not said.startswith("error: ") or not said.isprintable():
        return f"status {status}, said {out.getvalue()!r} {said!r}"
    changed = state(world).items() ^ before.items()
    return f"wrote {sorted(path for path, _ in changed)}" if changed else None


def state(world: World) -> dict[str, str]:
    """All that is in the world, but the cache of decoded images."""
    cache = str(world.project / "data")
    found = contents(world.folder).items()
    return {path: what for path, what in found if not Path(path).is_relative_to(cache) and "/spy/" not in path}
