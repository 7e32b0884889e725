"""Measure the fastest circumstances for training steps: threads, memory format, compiled or stacked steps.

Measuring must take only a small share of the training time, so short trainings are not measured, and a form that is
slower for one variant is not tried for the next. Compiling takes tens of seconds per network. Stacked seeds are faster
on a GPU that one run leaves idle, but never on a CPU, where they are not tried.
"""

import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping

import torch
from tqdm import tqdm

from harness.data.load import Dataset
from harness.plans.hyperparameters import Constant
from harness.plans.plan import Plan, steps_per_epoch
from harness.plans.spec import Circumstances, Data, Recipe
from harness.training.build import build_learner, build_model, build_normaliser, new_state
from harness.values import Values, first_line

WORTH_SECONDS = 60.0
"""If all training takes less than this, only one step is timed and nothing else is measured."""
WORTH_STEPS = 400
"""With fewer steps in total nothing is measured either, since measuring threads and memory format takes about 20."""
COMPILING_WORTH_SECONDS = 1200.0
"""Compiling is not tried for a variant whose runs train for less than this in total."""
GAIN = 1.05
"""Another form than the plain one must be faster by this factor, including its own cost."""
ROUNDS = 3
INF = math.inf

Step = Callable[[], None]


class Measured(Values):
    """The fastest circumstances, and the measurements."""

    threads: int
    memory_format: str
    step: str
    reason: str = ""
    """The measurements in words; empty if the training is too short to measure."""
    runs: int = 1
    """Number of runs per variant when it was measured."""

    def applied(self, circumstances: Circumstances, left_open: Circumstances) -> Circumstances:
        """`circumstances` with the measured values for the fields that are "auto" in `left_open`."""
        found = self.model_dump(include={"threads", "memory_format", "step"})
        open_ = {name: value for name, value in found.items() if getattr(left_open, name) == "auto"}
        return circumstances.model_copy(update=open_)


def plain(circumstances: Circumstances) -> Measured:
    """The given circumstances, with an eager step if its form is "auto"."""
    step = "eager" if circumstances.step == "auto" else circumstances.step
    return Measured(threads=int(circumstances.threads), memory_format=circumstances.memory_format, step=step)


def runs_each(plan: Plan) -> int:
    """The largest number of runs of a variant."""
    return max(Counter(spec.variant for spec in plan.runs).values())


def total_steps(plan: Plan, datasets: Mapping[Data, Dataset]) -> int:
    """Number of optimiser steps of all runs."""
    return sum(_steps(plan, datasets).values())


def serial_seconds(plan: Plan, datasets: Mapping[Data, Dataset]) -> float:
    """Estimated time of the steps of all runs, one after the other under the plan's circumstances, by one step."""
    recipe = plan.runs[0].recipe
    take = training_step(recipe, plan.circumstances.model_copy(update={"step": "eager"}), datasets[recipe.data])
    take()
    return _seconds(take) * total_steps(plan, datasets)


def _steps(plan: Plan, datasets: Mapping[Data, Dataset]) -> dict[str, int]:
    """Variant → number of optimiser steps of all its runs."""
    runs = runs_each(plan)
    return {
        name: runs * recipe.epochs * steps_per_epoch(len(datasets[recipe.data].train.labels), recipe.batch_size)
        for name, recipe in plan.recipes.items()
    }


def measure(plan: Plan, datasets: Mapping[Data, Dataset], asked: Circumstances) -> Measured:
    """Time a few steps of the plan's variants under different circumstances.

    Args:
        asked: the circumstances as the user gave them; only those that are "auto" are varied.
    """
    recipes, runs = plan.recipes, runs_each(plan)
    steps = _steps(plan, datasets)
    first, recipe = next(iter(recipes.items()))
    here = plan.circumstances.model_copy(update={"step": "eager"})
    take, total = training_step(recipe, here, datasets[recipe.data]), sum(steps.values())
    once = _seconds(take)  # the first step is the slowest, so this is an upper bound
    worth = total >= WORTH_STEPS and once * total > WORTH_SECONDS
    if worth:
        once = _median(take)
    said: list[str] = []
    if worth and once * total > WORTH_SECONDS:
        here, said = _machine(recipe, here, datasets[recipe.data], asked)
    step = "eager"
    if worth and asked.step == "auto" and once * steps[first] > WORTH_SECONDS:
        step, more = _form(plan, here, datasets, steps, runs)
        said += more
    return Measured(
        threads=int(here.threads), memory_format=here.memory_format, step=step, reason="; ".join(said), runs=runs
    )


def _machine(
    recipe: Recipe, here: Circumstances, dataset: Dataset, asked: Circumstances
) -> tuple[Circumstances, list[str]]:
    """The fastest threads and memory format, measured one after the other against the best so far."""
    others: list[tuple[str, int | str]] = []
    if asked.threads == "auto" and here.device == "cpu" and int(here.threads) > 1:
        others.append(("threads", 1))
    if asked.memory_format == "auto" and here.device != "mps":
        others.append(("memory_format", "contiguous"))
    said = []
    for name, value in others:
        other = here.model_copy(update={name: value})
        plain, changed = _in_turns(
            training_step(recipe, here, dataset), training_step(recipe, other, dataset), here, other
        )
        said.append(f"measured: {name} {value} makes steps {plain / changed:.2f} times as fast")
        if changed * GAIN < plain:
            here = other
    return here, said


def _form(
    plan: Plan, here: Circumstances, datasets: Mapping[Data, Dataset], steps: Mapping[str, int], runs: int
) -> tuple[str, list[str]]:
    """The form of the step that is fastest for all variants together: "eager", "compiled" or "stacked"."""
    eager = compiled = stacked = 0.0
    said: list[str] = []
    for variant, recipe in plan.recipes.items():
        dataset = datasets[recipe.data]
        plain = training_step(recipe, here, dataset)
        plain()
        once = _seconds(plain)
        if stacked < INF:
            stacked += steps[variant] / runs * _stacked_seconds(recipe, here, dataset, runs)
        if once * steps[variant] < COMPILING_WORTH_SECONDS:
            compiled = INF
        if compiled < INF:
            tqdm.write(f"measuring whether compiling {variant!r} pays (once)")
            try:
                once, more, made = _compiled_seconds(plain, recipe, here, dataset, runs)
                compiled += steps[variant] * more + made
            except Exception as error:  # no C++ compiler, or dynamo cannot trace the network: use eager
                compiled = INF
                said.append(f"compiling failed: {first_line(error)[:200]}; remove runs/steps.json to try again")
            torch.compiler.reset()  # frees the memory of its CUDA graphs
        eager += steps[variant] * once
        if eager < compiled < INF:
            said.append(f"measured: compiling {variant!r} makes its steps {eager / compiled:.2f} times as fast")
            compiled = INF
        if eager < stacked < INF:
            said.append(f"measured: {variant!r}, its seeds as one, takes steps {eager / stacked:.2f} times as fast")
            stacked = INF
        if compiled == stacked == INF:
            break
    if compiled < INF:
        said.append(f"measured: compiling makes all steps {eager / compiled:.2f} times as fast, its own time counted")
    if stacked < INF:
        said.append(f"measured: training all seeds as one makes them {eager / stacked:.2f} times as fast")
    took = {"compiled": compiled, "stacked": stacked}
    best = min(took, key=lambda form: took[form])
    return (best if took[best] * GAIN < eager else "eager"), said


def _compiled_seconds(
    plain: Step, recipe: Recipe, here: Circumstances, dataset: Dataset, runs: int
) -> tuple[float, float, float]:
    """Seconds of an eager step and of a compiled one, measured alternately; and of compiling for all runs, whose result
    is cached after the first."""
    other = here.model_copy(update={"step": "compiled"})
    first, pairs = _pairs(plain, training_step(recipe, other, dataset))
    again = _seconds(training_step(recipe, other, dataset)) if runs > 1 else 0.0
    eager, compiled = (statistics.median(column) for column in zip(*pairs, strict=True))
    return eager, compiled, first + (runs - 1) * again


def _stacked_seconds(recipe: Recipe, here: Circumstances, dataset: Dataset, runs: int) -> float:
    """Seconds of one step of `runs` stacked runs; infinite if they cannot be stacked or stacking never pays."""
    if runs == 1 or (recipe.lr_finder and recipe.lr_finder.each_run) or not here.device.startswith("cuda"):
        return INF
    try:
        return _median(training_step(recipe, here.model_copy(update={"step": "stacked"}), dataset, runs))
    except Exception as error:  # usually out of memory
        tqdm.write(f"training all seeds as one failed: {first_line(error)[:200]}")
        torch.cuda.empty_cache()
        return INF


def _pairs(eager: Step, compiled: Step) -> tuple[float, list[tuple[float, float]]]:
    """Seconds of the first compiled step, and (eager, compiled) seconds of the next ones, measured alternately."""
    took = _seconds(compiled)
    compiled()  # the second step records CUDA graphs
    return took, [(_seconds(eager), _seconds(compiled)) for _ in range(ROUNDS)]


def _in_turns(one: Step, other: Step, here: Circumstances, there: Circumstances) -> tuple[float, float]:
    """Median seconds of two kinds of steps, measured alternately, each with its own number of threads."""
    took: list[tuple[float, float]] = []
    for _ in range(1 + ROUNDS):
        torch.set_num_threads(int(here.threads))
        first = _seconds(one)
        torch.set_num_threads(int(there.threads))
        took.append((first, _seconds(other)))
    first, second = (statistics.median(column) for column in zip(*took[1:], strict=True))
    return first, second


def training_step(recipe: Recipe, circumstances: Circumstances, dataset: Dataset, runs: int = 1) -> Step:
    """A function that takes one whole training step on random images, without augmentation; `runs` stacked runs."""
    settled = recipe.model_copy(update={"schedule": Constant()})
    count = len(dataset.train.labels)
    states = [
        new_state(build_model(settled, circumstances, dataset, seed)[1].train(), settled, circumstances, 1e-3, count)
        for seed in range(runs)
    ]
    normaliser = build_normaliser(recipe, circumstances, dataset)
    learner = build_learner(states, settled, circumstances, normaliser.autocast)
    device = circumstances.device
    shape = (recipe.batch_size, dataset.height, dataset.width, dataset.channels)
    images = normaliser(torch.randint(256, shape, dtype=torch.uint8, device=device))
    labels = torch.randint(len(dataset.classes), (recipe.batch_size,), device=device)

    def take() -> None:
        learner.step(images.expand(runs, *images.shape), labels.expand(runs, -1))
        states[0].sums.tolist()  # waits for the device

    return take


def _median(step: Step) -> float:
    step()
    return statistics.median(_seconds(step) for _ in range(ROUNDS))


def _seconds(step: Step) -> float:
    clock = time.perf_counter()
    step()
    return time.perf_counter() - clock
