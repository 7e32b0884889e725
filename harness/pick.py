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
from collections.abc import Callable
from pathlib import Path

import torch
from filelock import FileLock
from tqdm import tqdm

from harness.data import Dataset
from harness.evaluate import Normaliser
from harness.fused import Stack
from harness.hyperparameters import Constant
from harness.machine import code_digest
from harness.parts import build_model, new_state
from harness.plan import Plan, steps_per_epoch, with_step, within
from harness.spec import Data, Recipe
from harness.train import take_step
from harness.values import Values, flatten

WORTH_SECONDS = 120.0
"""A variant whose runs train for less in all is not worth compiling anything for."""
GAIN = 1.05
"""Compiling has to win by this much, its own time counted."""
ROUNDS = 3

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
        kept = json.loads(path.read_text()) if path.exists() else {}
        if name not in kept:
            kept[name] = _measure(plan, recipes, datasets).model_dump()
            temporary = path.with_suffix(".tmp")
            temporary.write_text(json.dumps(kept, indent=2))
            temporary.replace(path)
    measured = Measured.model_validate(kept[name])
    if measured.reason:
        tqdm.write(f"training step: {measured.step} ({measured.reason})")
    return with_step(plan, measured.step)


def _name(plan: Plan, recipe: Recipe, shape: tuple[int, ...], root: Path) -> str:
    """What the choice belongs to: neither seeds nor variants count, so that runs stay made when some are added."""
    common = {field: value for field, value in flatten(recipe).items() if not within(field, plan.design.factor)}
    parts = json.dumps([common, shape, code_digest(root), torch.__version__], sort_keys=True)
    return f"{plan.design.experiment}-{hashlib.sha256(parts.encode()).hexdigest()[:12]}"


def _measure(plan: Plan, recipes: dict[str, Recipe], datasets: dict[Data, Dataset]) -> Measured:
    eager = compiled = fused = 0.0
    for variant, recipe in recipes.items():
        dataset = datasets[recipe.data]
        runs = sum(spec.variant == variant for spec in plan.runs)
        steps = runs * recipe.epochs * steps_per_epoch(len(dataset.train.labels), recipe.batch_size)
        plain = _step(recipe, "eager", dataset)
        plain()
        once = _seconds(plain)
        if once * steps < WORTH_SECONDS:
            return Measured(eager_seconds=once * steps, compiled_seconds=None)
        tqdm.write(f"measuring whether compiling {variant!r} pays (once; up to a minute)")
        try:
            took, pairs = _pairs(plain, _step(recipe, "compiled", dataset))
        except Exception as error:  # no C++ compiler, a network that dynamo cannot follow: whatever it is, eager works
            line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            return Measured(eager_seconds=once * steps, compiled_seconds=None, reason=f"compiling failed: {line[:200]}")
        eager += steps * statistics.median(a for a, _ in pairs)
        compiled += steps * statistics.median(b for _, b in pairs) + took
        fused += steps / runs * _fused_seconds(recipe, dataset, runs)
    reason = f"measured: compiling makes all runs' steps {eager / compiled:.2f} times as fast, its own time counted"
    if fused < math.inf:
        reason += f"; training all seeds as one {eager / fused:.2f} times"
    return Measured(
        eager_seconds=eager,
        compiled_seconds=compiled,
        fused_seconds=fused if fused < math.inf else None,
        reason=reason,
    )


def _fused_seconds(recipe: Recipe, dataset: Dataset, runs: int) -> float:
    """Of one step of so many runs at once; infinite where they cannot train as one, or where it never pays."""
    if runs == 1 or recipe.optimizer.lr == "find" or not recipe.device.startswith("cuda"):
        return math.inf
    try:
        fused = _step(recipe, "fused", dataset, runs)
        fused()
        return statistics.median(_seconds(fused) for _ in range(ROUNDS))
    except Exception:  # most often their memory does not fit
        torch.cuda.empty_cache()
        return math.inf


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
