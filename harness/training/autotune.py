"""Which form of the training step pays: measured once for an experiment, kept, and recorded with every run.

Compiling costs tens of seconds a network; seeds that train as one pay on a GPU that one alone leaves idle, and never on
a CPU, where they are not tried. Either changes the last bits of every sum. So all runs of a plan get the same form, it
is part of their recipes, and what was measured is kept in runs/steps.json: the same command finds the same runs again.
"""

import hashlib
import json
import math
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from filelock import FileLock
from tqdm import tqdm

from harness.data.load import Dataset
from harness.files import write_whole
from harness.plans.hyperparameters import Constant
from harness.plans.plan import Plan, steps_per_epoch, with_step, within
from harness.plans.spec import Data, Recipe
from harness.training.build import build_model, new_state
from harness.training.device import code_at_start
from harness.training.evaluate import Normaliser
from harness.training.loop import take_step
from harness.training.stacked import Stack
from harness.values import Values, first_line, flatten

WORTH_SECONDS = 120.0
"""A variant whose runs train for less in all is not worth compiling anything for."""
FUSED_WORTH_SECONDS = 5.0
"""Nor, below this, worth trying whether its seeds as one are faster, for which nothing is compiled."""
GAIN = 1.05
"""Compiling has to win by this much, its own time counted."""
ROUNDS = 3
INF = math.inf

Step = Callable[[], None]


class Measured(Values):
    """Seconds that all steps of all runs would take, and why that is so."""

    eager_seconds: float
    compiled_seconds: float | None
    """Compiling itself included; None where it was not tried, or failed."""
    fused_seconds: float | None = None
    """None where it was not tried, or failed."""
    reason: str = ""
    """Empty: the training is too short to try."""
    runs: int = 1
    """Of a variant, when it was measured."""

    @property
    def step(self) -> str:
        took = {"compiled": self.compiled_seconds, "fused": self.fused_seconds}
        known = {step: seconds for step, seconds in took.items() if seconds is not None}
        best = min(known, key=lambda step: known[step], default="eager")
        return best if best in known and known[best] * GAIN < self.eager_seconds else "eager"


def settle(plan: Plan, datasets: dict[Data, Dataset], root: Path) -> Plan:
    """The plan with its recipes' `step` settled, where it says "auto"; may take a minute, the first time."""
    recipes = {spec.variant: spec.recipe for spec in plan.runs}
    if all(recipe.step != "auto" for recipe in recipes.values()):
        return plan
    path = root / "runs" / "steps.json"
    path.parent.mkdir(exist_ok=True)
    any_recipe = plan.runs[0].recipe
    name = _name(plan, any_recipe, datasets[any_recipe.data].train.images.shape, root)
    with FileLock(path.with_suffix(".lock")):
        kept = _read(path)
        if name not in kept or (not kept[name].reason and kept[name].runs < _runs(plan)):
            try:
                kept[name] = _measure(plan, recipes, datasets)
            except Exception:  # such as too little memory: the runs will meet it too, and record it
                return with_step(plan, "eager")
            write_whole(path, json.dumps({n: m.model_dump() for n, m in kept.items()}, indent=2).encode())
    measured = kept[name]
    if measured.reason:
        tqdm.write(f"training step: {measured.step} ({measured.reason})")
    return with_step(plan, measured.step)


def _read(path: Path) -> dict[str, Measured]:
    try:
        return {name: Measured.model_validate(values) for name, values in json.loads(path.read_bytes()).items()}
    except (FileNotFoundError, ValueError, AttributeError):  # none yet, or not ours: then it is measured anew
        return {}


def _runs(plan: Plan) -> int:
    """Of the variant that has most of them."""
    return max(Counter(spec.variant for spec in plan.runs).values())


def _name(plan: Plan, recipe: Recipe, shape: tuple[int, ...], root: Path) -> str:
    """What the choice belongs to: neither seeds nor variants count, so that runs stay made when some are added."""
    common = {field: value for field, value in flatten(recipe).items() if not within(field, plan.design.factor)}
    parts = json.dumps([common, shape, code_at_start(root)["code"], torch.__version__], sort_keys=True)
    return f"{plan.design.experiment}-{hashlib.sha256(parts.encode()).hexdigest()[:12]}"


def _measure(plan: Plan, recipes: dict[str, Recipe], datasets: dict[Data, Dataset]) -> Measured:
    eager = compiled = fused = 0.0
    problem = ""
    for variant, recipe in recipes.items():
        dataset = datasets[recipe.data]
        runs = sum(spec.variant == variant for spec in plan.runs)
        steps = runs * recipe.epochs * steps_per_epoch(len(dataset.train.labels), recipe.batch_size)
        plain = _step(recipe, "eager", dataset)
        plain()
        once = _seconds(plain)
        fused += steps / runs * _fused_seconds(recipe, dataset, runs) if once * steps > FUSED_WORTH_SECONDS else INF
        compiled = compiled if once * steps > WORTH_SECONDS else INF
        if compiled < INF:
            tqdm.write(f"measuring whether compiling {variant!r} pays (once; up to a minute)")
            try:
                once, more, made = _compiled_seconds(plain, recipe, dataset, runs)
                compiled += steps * more + made
            except Exception as error:  # no C++ compiler, a network that dynamo cannot follow: eager works all the same
                compiled, why = INF, first_line(error)[:200]
                problem = f"compiling failed: {why}; remove runs/steps.json to try again"
            torch.compiler.reset()  # with it goes the memory of its CUDA graphs
        eager += steps * once
        if compiled == fused == INF:
            break
    said = [problem] if problem else []
    if compiled < INF:
        said.append(f"measured: compiling makes all steps {eager / compiled:.2f} times as fast, its own time counted")
    if fused < INF:
        said.append(f"measured: training all seeds as one makes them {eager / fused:.2f} times as fast")
    return Measured(
        eager_seconds=eager,
        compiled_seconds=compiled if compiled < INF else None,
        fused_seconds=fused if fused < INF else None,
        reason="; ".join(said),
        runs=_runs(plan),
    )


def _compiled_seconds(plain: Step, recipe: Recipe, dataset: Dataset, runs: int) -> tuple[float, float, float]:
    """Of an eager step, of a compiled one, taken in turns, and of all runs' compiling: the second finds it kept."""
    first, pairs = _pairs(plain, _step(recipe, "compiled", dataset))
    again = _seconds(_step(recipe, "compiled", dataset)) if runs > 1 else 0.0
    eager, compiled = (statistics.median(column) for column in zip(*pairs, strict=True))
    return eager, compiled, first + (runs - 1) * again


def _fused_seconds(recipe: Recipe, dataset: Dataset, runs: int) -> float:
    """Of one step of so many runs at once; infinite where they cannot train as one, or where it never pays."""
    if runs == 1 or recipe.optimizer.lr == "find" or not recipe.device.startswith("cuda"):
        return INF
    try:
        fused = _step(recipe, "fused", dataset, runs)
        fused()
        return statistics.median(_seconds(fused) for _ in range(ROUNDS))
    except Exception as error:  # most often their memory does not fit
        tqdm.write(f"training all seeds as one failed: {first_line(error)[:200]}")
        torch.cuda.empty_cache()
        return INF


def _pairs(eager: Step, compiled: Step) -> tuple[float, list[tuple[float, float]]]:
    """Seconds of the first compiled step, and (eager, compiled) seconds of the next ones, in turns."""
    took = _seconds(compiled)
    compiled()  # CUDA graphs are recorded in the second step
    return took, [(_seconds(eager), _seconds(compiled)) for _ in range(ROUNDS)]


def _step(recipe: Recipe, step: str, dataset: Dataset, runs: int = 1) -> Step:
    """One whole training step on random images, the augmentation left out; `runs` of them at once if fused."""
    settled = recipe.model_copy(update={"step": step, "schedule": Constant()})
    count = len(dataset.train.labels)
    states = [new_state(build_model(settled, dataset, seed)[1], settled, 1e-3, count) for seed in range(runs)]
    state = states[0]
    normaliser = Normaliser.make(dataset.mean, dataset.std, recipe.device, recipe.memory_format, recipe.precision)
    shape = (recipe.batch_size, dataset.height, dataset.width, dataset.channels)
    images = normaliser(torch.randint(256, shape, dtype=torch.uint8, device=recipe.device))
    labels = torch.randint(len(dataset.classes), (recipe.batch_size,), device=recipe.device)
    state.model.train()
    stack = Stack(states, settled) if step == "fused" else None
    several = images.expand(runs, *images.shape), labels.expand(runs, -1)

    def take() -> None:
        if stack:
            stack.step(*several, normaliser.autocast)
        else:
            take_step(state, images, labels, recipe, normaliser.autocast)
        state.sums.tolist()  # waits for the device

    return take


def _seconds(step: Step) -> float:
    clock = time.perf_counter()
    step()
    return time.perf_counter() - clock
