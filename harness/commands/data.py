"""`make data`: describe a data set before anything is trained on it."""

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from harness.data.load import Dataset, load, origin
from harness.data.origin import Origin
from harness.plans import overrides
from harness.plans.spec import Data
from harness.values import SpecError, slug

_SHOWN = 64
_MOST_SIZES = 5
_MOST_CLASSES = 100


HELP = "describe a data set"


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", default="", help="its name")
    parser.add_argument("--set", default="", help="data.image_size=32 ...")


def act(chosen: argparse.Namespace, root: Path) -> int:
    """Print counts, statistics, repeated and skipped images, and draw a sample; returns the exit status.

    Raises:
        HarnessError: the data set does not exist or cannot be used.
    """
    data = _data(chosen)
    found = origin(data, root)
    for line in _files(found):
        print(line, flush=True)
    dataset = load(data, root)
    print("\n".join(_lines(dataset)))
    print(f"sample: {_draw(dataset, root).relative_to(root)}")
    return 0


def _data(chosen: argparse.Namespace) -> Data:
    if not chosen.data:
        raise SpecError("DATA must name a data set, as in: make data DATA=folder:PATH")
    changes = overrides.parse(chosen.set)
    for field in changes:
        if field.removeprefix("data.") not in Data.model_fields or not field.startswith("data."):
            raise SpecError(
                f"SET must be of data's fields ({', '.join(Data.model_fields)}), as in data.image_size=32; got "
                f"`{field}`"
            )
    fields = {field.removeprefix("data."): value for field, value in changes.items()}
    try:
        return Data.model_validate_json(json.dumps({"name": overrides.plain("data.name", chosen.data)} | fields))
    except ValidationError as error:
        raise SpecError(re.sub(r"^`(?!data\.)", "`data.", overrides.explain(error))) from error


def _files(found: Origin) -> Iterator[str]:
    """Lines about the files, printed before decoding so that they are shown even if decoding is refused."""
    sizes = found.sizes() if found.sizes else {}
    if sizes:
        common = sorted(sizes.items(), key=lambda item: -item[1])
        said = ", ".join(f"{width}x{height} ({count:,})" for (width, height), count in common[:_MOST_SIZES])
        more = f" and {len(common) - _MOST_SIZES:,} further sizes" if len(common) > _MOST_SIZES else ""
        yield f"files by width x height: {said}{more}"
    for some in found.left_out:
        yield f"skipped: {some.files:,} of {some.folder} ({some.reason})"


def _lines(dataset: Dataset) -> Iterator[str]:
    splits = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    used = {name: split for name, split in splits.items() if split is not None}
    counts = {name: np.bincount(split.labels, minlength=len(dataset.classes)) for name, split in used.items()}
    totals = ", ".join(f"{count.sum():,} {name}" for name, count in counts.items())
    channels = "1 channel" if dataset.channels == 1 else f"{dataset.channels} channels"
    yield f"{dataset.label}: {totals} images of {dataset.width}x{dataset.height}, {channels}, as they are trained on"
    shown = dataset.classes[:_MOST_CLASSES]
    width = max(len("class"), *map(len, shown))
    yield f"{'class':<{width}}" + "".join(f"{name:>12}" for name in counts)
    for at, name in enumerate(shown):
        yield f"{name:<{width}}" + "".join(f"{count[at]:>12,}" for count in counts.values())
    if len(dataset.classes) > len(shown):
        yield f"and {len(dataset.classes) - len(shown):,} further classes"
    most, least = counts["train"].max(), counts["train"].min()
    yield f"largest class over smallest, in train: {most:,} / {least:,} = {most / least:.1f}"
    yield f"mean by channel, 0..1: {_numbers(dataset.mean)}; standard deviation: {_numbers(dataset.std)}"
    if again := dataset.duplicates:
        yield (
            f"repeated pixel by pixel: {again.within_train:,} within train, {again.test_in_train:,} test images that "
            f"are in train too, {again.two_labels:,} images under two labels"
        )
    yield from dataset.remarks
    yield f"checksum of images, labels and class names: {dataset.checksum}"


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)


def _draw(dataset: Dataset, root: Path) -> Path:
    from harness.artifacts.figures import grid, save

    chosen = sample(dataset.train.labels, _SHOWN)
    names = [dataset.classes[label] for label in dataset.train.labels[chosen]]
    pixels = np.asarray(dataset.train.images[chosen] / 255, np.float32)
    figure = grid(pixels, names, f"{dataset.label}: training images, by class")
    path = root / "reports" / "out" / "data" / f"{slug(dataset.label)}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    save(figure, path)
    return path


def sample(labels: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Indices of at most `most` images, ordered by class, about equally many per class, evenly spaced within it.

    Args:
        labels: class indices, shape (images,).
    """
    classes = np.unique(labels)[:most]
    room = max(1, most // len(classes))
    members = (np.flatnonzero(labels == label) for label in classes)
    picks = (each[np.linspace(0, len(each) - 1, min(room, len(each))).round().astype(int)] for each in members)
    return np.concatenate(list(picks))
