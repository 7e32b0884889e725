"""The table's rows, measured one after the other: matrix products, loops, augmentation, tracking, memory, start-up."""

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.utils.benchmark import Timer

from experiments.norm_comparison import EXPERIMENT as NORM_COMPARISON
from experiments.resnet_onecycle import EXPERIMENT as RESNET_ONECYCLE
from harness.plans import overrides
from harness.plans.plan import resolve, settle
from harness.plans.spec import Circumstances
from harness.training.device import detect
from models.summary import summarize
from tests.bench import augmentation, public_command, start_up, whole_run
from tests.bench.notebook import notebook
from tests.bench.ours import bare, ours, stacked
from tests.bench.table import Row
from tests.bench.trainer import trainer
from tests.bench.work import LR, Work, each, interleave

ROOT = Path(__file__).resolve().parents[2]
Speeds = dict[str, dict[str, list[float]]]
"""What is timed → loop → images a second, round by round."""


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int
    batch: int
    resnet_steps: int
    norm_cnn_steps: int
    augmented_steps: int
    repetitions: int
    whole_runs: int
    run_images: int
    run_epochs: int
    matrix: int
    product_seconds: float


FULL = Size(
    rounds=5,
    batch=512,
    resnet_steps=4,
    norm_cnn_steps=12,
    augmented_steps=20,
    repetitions=5,
    whole_runs=3,
    run_images=50_000,
    run_epochs=2,
    matrix=2048,
    product_seconds=1.0,
)
QUICK = Size(
    rounds=2,
    batch=16,
    resnet_steps=2,
    norm_cnn_steps=2,
    augmented_steps=2,
    repetitions=1,
    whole_runs=1,
    run_images=512,
    run_epochs=2,
    matrix=256,
    product_seconds=0.01,
)
GOALS = {
    "resnet": {"notebook's loop": (2.4, 3.0), "Lightning's Trainer": (2.0, 3.0)},
    "norm_cnn": {"notebook's loop": (2.2, 4.0), "Lightning's Trainer": (2.0, 3.0)},
}
"""On a CPU in bf16: must and aim against each loop. In fp32 it must not be slower."""
GPU_TIMES = 25
"""As many more steps on a GPU: else what comes once an epoch would outweigh steps of a millisecond."""
TRACKED_EPOCHS = NORM_COMPARISON.base.epochs


def rows(size: Size, device: str, data: str, scratch: Path, speeds: Speeds) -> Iterator[Row]:
    """Everything that is measured on this device.

    Args:
        data: what the public command trains on; "" leaves the experiment's own.
        scratch: an empty folder.
        speeds: filled with the images a second that the rows' ratios come from.

    Raises:
        HarnessError: the public command failed.
    """
    if device == "cuda":
        yield from _public_command(data or RESNET_ONECYCLE.base.data.name, scratch)
    gpu = device == "cuda"
    limits = {name: _products(device, dtype, size) for name, dtype in _precisions(device).items()}
    for name, rates in limits.items():
        yield Row(
            f"matrix products of {size.matrix:,} x {size.matrix:,}, {name}: the machine's limit", rates, "GFLOP/s"
        )
    for experiment, steps, step in (
        (RESNET_ONECYCLE, size.resnet_steps * (GPU_TIMES if gpu else 1), "compiled" if gpu else "eager"),
        (NORM_COMPARISON, size.norm_cnn_steps * (GPU_TIMES if gpu else 1), "compiled"),
    ):
        changes = {"optimizer.lr": LR, "epochs": 1, "batch_size": size.batch}
        recipe = resolve(overrides.apply(experiment.base, changes), detect(device))
        here = settle(Circumstances.model_validate({"device": device, "step": step}), detect(device))
        yield from _loops(Work.of_noise(recipe, here, steps, scratch), size.rounds, speeds, limits)
    yield from _stacked(Work.of_noise(recipe, here, steps, scratch), size.rounds, speeds)
    yield from _augmentation(Work.of_noise(recipe, here, size.augmented_steps, scratch), size.rounds, speeds)
    yield from _whole_runs(size, device)
    yield from _start_up(size, scratch)


def _precisions(device: str) -> dict[str, torch.dtype]:
    return {"fp32": torch.float32} | ({"bf16": torch.bfloat16} if detect(device).bf16 else {})


def _products(device: str, dtype: torch.dtype, size: Size) -> tuple[float, ...]:
    """GFLOP/s of products of square matrices, round by round, with the threads that the loops have.

    As 1x1 convolutions: torch multiplies fp32 matrices by MKL, which on an AMD processor reached half of what oneDNN's
    convolutions do.
    """
    side = size.matrix
    images = torch.randn(1, side, 1, side, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    weight = torch.randn(side, side, 1, 1, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    timed = {"convolve": torch.nn.functional.conv2d, "images": images, "weight": weight}
    timer = Timer("convolve(images, weight)", globals=timed, num_threads=torch.get_num_threads())
    timer.timeit(3)  # warms up
    times = [timer.blocked_autorange(min_run_time=size.product_seconds).median for _ in range(size.rounds)]
    return tuple(2 * side**3 / seconds / 1e9 for seconds in times)


def _loops(work: Work, rounds: int, speeds: Speeds, limits: Mapping[str, tuple[float, ...]]) -> Iterator[Row]:
    """Five loops over the same images, interleaved; fp32 alone where there is no bf16.

    Args:
        limits: precision → GFLOP/s of matrix products.
    """
    recipe, name, precision = work.recipe, work.recipe.model.name, work.recipe.precision
    loops = {
        f"ours, {precision}": ours(work),
        "ours, fp32": ours(_in_fp32(work)),
        "notebook's loop": notebook(work),
        "Lightning's Trainer": trainer(work),
        f"bare step, {precision}": bare(work),
    }
    title = f"{name}, batch {recipe.batch_size}"
    speeds[title] = measured = interleave(loops, len(work.labels), rounds, title)
    gigaflops = 6 * summarize(work.model(), (3, 32, 32)).multiply_adds / 1e9  # forward once, backward twice
    for form in dict.fromkeys((precision, "fp32")):
        goals = GOALS[name] if work.device == "cpu" and form == "bf16" else {}
        for other, said in (("notebook's loop", "the notebook's loop"), ("Lightning's Trainer", "Lightning")):
            must, aim = goals.get(other, (1.0, None))
            ratios = each(measured, f"ours, {form}", other)
            yield Row(f"{title}, {form}: images/s against {said}", ratios, "x", must, aim)
        share = tuple(100 * gigaflops * speed / statistics.median(limits[form]) for speed in measured[f"ours, {form}"])
        yield Row(f"{title}, {form}: share of the machine's limit", share, "%")
    over = each(measured, f"bare step, {precision}", f"ours, {precision}")
    yield Row(f"{title}, {precision}: time over the bare step's", over, "x", 1.03, 1.01, True)


def _stacked(work: Work, rounds: int, speeds: Speeds) -> Iterator[Row]:
    """All members at once against the product's best loop, one after the other. On a CPU, where it loses, only few."""
    gpu, name = work.device.startswith("cuda"), work.recipe.model.name
    members = 64 if gpu else 4
    title = f"{members} {name}, one after the other and stacked"
    loops = {"one": ours(work), f"{members} stacked": stacked(work, members)}
    measured = interleave(loops, len(work.labels), rounds, title)
    together = [members * speed for speed in measured[f"{members} stacked"]]  # an image of each member
    speeds[title] = {"one after the other": measured["one"], "stacked": together}
    must, aim = (8.0, 30.0) if gpu else (None, None)
    against = "stacked against one after the other, images/s"
    yield Row(f"{members} {name} {against}", each(speeds[title], "stacked", "one after the other"), "x", must, aim)


def _in_fp32(work: Work) -> Work:
    return replace(work, recipe=work.recipe.model_copy(update={"precision": "fp32"}))


def _augmentation(work: Work, rounds: int, speeds: Speeds) -> Iterator[Row]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    loops = {"ours": augmentation.batched(work), "albumentations": augmentation.albumentations(work)}
    title = f"augmentation with cutout, {'one thread' if work.device == 'cpu' else 'the GPU against one core'}"
    speeds[title] = interleave(loops, len(work.labels), rounds, title)
    torch.set_num_threads(threads)
    goals = (10.0, 15.0) if work.device == "cpu" else (None, None)
    yield Row(f"{title}: images/s against albumentations", each(speeds[title], "ours", "albumentations"), "x", *goals)


def _whole_runs(size: Size, device: str) -> Iterator[Row]:
    if not Path("/proc/self/status").exists():
        return  # what a process holds is read from Linux
    small, large = (
        [whole_run.measure(experiment, device, size.batch, images, epochs) for _ in range(size.whole_runs)]
        for experiment, images, epochs in (
            ("norm_comparison", size.run_images, size.run_epochs),
            ("resnet_onecycle", size.batch * size.resnet_steps, 1),
        )
    )
    shares = tuple(100 * run.tracking_share(TRACKED_EPOCHS) for run in small)
    what = f"tracking's share of a run of norm_cnn, {TRACKED_EPOCHS} epochs of {size.run_images:,} images"
    yield Row(what, shares, "%", 1.0, 0.3, True)
    for name, runs in (("resnet", large), ("norm_cnn", small)):
        what = f"{name}: peak memory of a run over its data + model + a batch's activations"
        yield Row(what, tuple(run.memory_ratio for run in runs), "x", 1.6, 1.1, True)


def _start_up(size: Size, scratch: Path) -> Iterator[Row]:
    project = start_up.copy_project(ROOT, scratch)
    first = start_up.first_step_seconds(project)
    times = range(size.repetitions)
    steps = tuple(start_up.first_step_seconds(project) for _ in times)
    yield Row("`make run EXP=quickstart` to its first training step", steps, "s", less_is_better=True)
    yield Row("the same, the first time: images decoded, store made", (first,), "s", less_is_better=True)
    start_up.answer_seconds(project, "list")  # torch looks at the models once
    for arguments in (("list",), ("--help",)):
        seconds = tuple(start_up.answer_seconds(project, *arguments) for _ in times)
        yield Row(f"`python -m harness {' '.join(arguments)}`", seconds, "s", less_is_better=True)


def _public_command(data: str, scratch: Path) -> Iterator[Row]:
    cold, warm = public_command.measure(ROOT, scratch, data)
    what = f"`make run EXP=resnet_onecycle`, one run of 24 epochs on {data}"
    yield Row(what, (warm.wall,), "s", 14.0, 7.0, True)
    yield Row("of which training", (warm.train,), "s", less_is_better=True)
    yield Row("of which evaluation", (warm.evaluate,), "s", less_is_better=True)
    yield Row("more when nothing is compiled yet", (cold.wall - warm.wall,), "s", less_is_better=True)
    yield Row("arithmetic while training", (warm.tflops,), "TFLOP/s")
