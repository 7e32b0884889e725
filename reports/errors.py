"""Which images changed hands: what every run gets wrong, what each variant fixes and breaks, how sure the runs are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from harness.evaluate import probabilities
from harness.figures import grid
from harness.record import Record
from reports.checkpoints import (
    Flips,
    bootstrap_accuracy_difference,
    expected_calibration_error,
    flips,
    mcnemar,
)
from reports.document import Table
from reports.select import Selection

SHOWN = 16


@dataclass
class Images:
    """Test images at hand: index → (H, W, C) uint8. Remembers which were shown, so that they can be published."""

    pixels: Mapping[int, NDArray[np.uint8]] | NDArray[np.uint8]
    shown: set[int] = field(default_factory=set)

    def take(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """(len(indices), H, W, C)."""
        self.shown.update(indices)
        return np.stack([self.pixels[index] for index in indices])


def correct(selection: Selection) -> dict[str, NDArray[np.bool_]]:
    """Variant → (seeds, test images): whether each run got each image right."""
    return {variant: np.stack([r.correct for r in runs]) for variant, runs in selection.variants.items()}


def all_flips(selection: Selection) -> dict[str, Flips]:
    """Variant → what it changes against the baseline, for every other variant."""
    right = correct(selection)
    return {v: flips(right, v, selection.baseline) for v in right if v != selection.baseline}


def flips_table(selection: Selection, found: dict[str, Flips]) -> Table:
    """Images that change hands between a run of the baseline and a run of the variant, beside chance."""
    rows = [
        (
            variant,
            f"{f.fixed_per_pair:.0f}",
            f"{f.broken_per_pair:.0f}",
            None if f.by_chance_per_pair is None else f"{f.by_chance_per_pair:.0f}",
            len(f.fixed),
            len(f.broken),
            len(f.surely_fixed),
            len(f.surely_broken),
            len(f.unstable_variant),
            len(f.always_wrong),
        )
        for variant, f in found.items()
    ]
    columns = (
        "variant",
        "fixed a pair",
        "broken a pair",
        "by chance",
        "fixed by most",
        "broken by most",
        "fixed by all",
        "broken by all",
        "unstable",
        "wrong in every run",
    )
    images = len(selection.records[0].labels)
    return Table(
        columns,
        rows,
        f"Of {images:,} test images. A pair is one run of {selection.baseline} and one of the variant; by chance: what "
        "two runs of one recipe with different seeds fix (and break) of each other. By most, by all: over the runs of "
        "either side. Unstable: right in some of the variant's runs, wrong in others.",
    )


def flips_frame(selection: Selection) -> pd.DataFrame:
    """One row for each test image that some run gets wrong: in how many runs of each variant it is right."""
    right = correct(selection)
    labels, classes = selection.records[0].labels, selection.records[0].started.data.classes
    frame = pd.DataFrame({"image": np.arange(len(labels)), "true": [classes[label] for label in labels]})
    for variant, runs in right.items():
        frame[f"right_{variant}"] = runs.sum(axis=0)
        frame[f"runs_{variant}"] = len(runs)
    right_in_all = np.asarray(np.concatenate(list(right.values())).all(axis=0))
    return frame.loc[~right_in_all]


def checkpoints_table(selection: Selection) -> Table:
    """McNemar and a bootstrap over test images, seed by seed: these two checkpoints, not these two recipes."""
    base = {record.seed: record for record in selection.variants[selection.baseline]}
    rows = []
    for variant, records in selection.variants.items():
        for record in records:
            if variant == selection.baseline or record.seed not in base:
                continue
            test = mcnemar(record.correct, base[record.seed].correct)
            low, high = bootstrap_accuracy_difference(record.correct, base[record.seed].correct)
            rows.append(
                (
                    variant,
                    record.seed,
                    test.only_a,
                    test.only_b,
                    f"{test.p_value:.3f}",
                    f"{100 * low:+.2f} to {100 * high:+.2f}",
                )
            )
    return Table(
        ("variant", "seed", "right here alone", f"right in {selection.baseline} alone", "p (McNemar)", "95% interval"),
        rows,
        "Answers another question than the comparison above: are these two trained networks different on images like "
        "these, whatever another seed would give? Exact McNemar test; bootstrap over test images, in points.",
    )


def calibration_table(selection: Selection) -> Table:
    """Expected calibration error, mean over runs."""
    rows = []
    for variant, records in selection.variants.items():
        errors = [expected_calibration_error(confidence(r), r.correct) for r in records]
        mean = np.mean([confidence(r).mean() for r in records])
        rows.append((variant, f"{100 * np.mean(errors):.2f}", f"{100 * mean:.2f}"))
    return Table(("variant", "calibration error, points", "mean confidence %"), rows, "Fifteen bins (Guo et al. 2017).")


def confidence(record: Record) -> NDArray[np.float64]:
    """The largest softmax probability of each test image, (test images,)."""
    return probabilities(record.logits).max(1)


def wrong_everywhere(selection: Selection) -> NDArray[np.int64]:
    """Images that every run gets wrong, those on which the runs are surest first."""
    never = np.flatnonzero(~np.concatenate(list(correct(selection).values())).any(axis=0))
    sure = np.mean([confidence(record)[never] for record in selection.records], axis=0)
    return never[np.argsort(-sure, kind="stable")]


def image_grid(
    images: Images, chosen: Sequence[int] | NDArray[np.int64], selection: Selection, variants: Sequence[str], title: str
) -> Figure:
    """Test images with their true class and, for each variant, its runs' commonest prediction and mean confidence."""
    shown = [int(index) for index in chosen[:SHOWN]]
    classes, titles = selection.records[0].started.data.classes, []
    for index in shown:
        lines = [classes[selection.records[0].labels[index]]]
        for variant in variants:
            runs = selection.variants[variant]
            votes = np.bincount([run.logits[index].argmax() for run in runs], minlength=len(classes))
            sure = np.mean([confidence_of(run, index) for run in runs])
            lines.append(f"{variant}: {classes[votes.argmax()]} {sure:.0%}")
        titles.append("\n".join(lines))
    pixels = images.take(shown).astype(np.float32) / np.float32(255)
    return grid(pixels, titles, title)


def confidence_of(record: Record, index: int) -> float:
    """The largest softmax probability of one test image."""
    return float(probabilities(record.logits[index : index + 1]).max())
