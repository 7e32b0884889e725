"""Errors by image: prediction flips between variants, images that all runs get wrong, and calibration."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reports.checkpoints import (
    Flips,
    bootstrap_accuracy_difference,
    flips,
    mcnemar,
)
from reports.document import Cell, Table
from reports.select import Selection
from reports.tables import p_value

Indices = NDArray[np.int64]


def correct(selection: Selection) -> dict[str, NDArray[np.bool_]]:
    """Variant → True for correctly classified images, shape (seeds, test images)."""
    return {variant: found.correct for variant, found in selection.answers.items()}


def all_flips(selection: Selection) -> dict[str, Flips]:
    """Variant → its prediction flips relative to the baseline, for every other variant."""
    right = {v: {record.seed: record.correct for record in runs} for v, runs in selection.variants.items()}
    base = right.pop(selection.baseline)
    return {variant: flips(runs, base) for variant, runs in right.items()}


def flips_table(selection: Selection, found: Mapping[str, Flips]) -> Table:
    """Prediction flips between runs of the baseline and of each variant, compared with those between seeds.

    With one run per variant there are no flips between seeds to compare with.
    """
    base, images = selection.baseline, len(selection.records[0].labels)
    caption = f"Of {images:,} test images. Fixed: wrong in {base} and right in the variant; broken: the reverse."
    if all(len(runs) == 1 for runs in selection.variants.values()):
        alone: list[tuple[Cell, ...]] = [(variant, len(f.fixed), len(f.broken)) for variant, f in found.items()]
        return Table(("variant", "fixed", "broken"), alone, caption)
    unstable = {
        variant: len(images) if len(selection.variants[variant]) > 1 else None
        for variant, images in unstable_within(selection).items()
    }
    rows: list[tuple[Cell, ...]] = [
        (
            variant,
            f"{f.fixed_per_pair:.0f}",
            f"{f.broken_per_pair:.0f}",
            None if f.by_chance_per_pair is None else f"{f.by_chance_per_pair:.0f}",
            len(f.fixed),
            len(f.broken),
            len(f.surely_fixed),
            len(f.surely_broken),
            unstable[variant],
        )
        for variant, f in found.items()
    ]
    rows.append((selection.baseline, *(None,) * 7, unstable[selection.baseline]))
    columns = (
        "variant",
        "fixed per pair",
        "broken per pair",
        "by chance per pair",
        "fixed by most",
        "broken by most",
        "fixed by all",
        "broken by all",
        "unstable",
    )
    return Table(
        columns,
        rows,
        f"{caption} Per pair: the mean over all pairs of a run of {base} and a run of the variant with another seed. "
        "By chance per pair: as many are fixed, and as many broken, between two runs of one variant with different "
        "seeds. By most, by all: of the runs on either side. Unstable: right in some runs of this variant, wrong in "
        "others.",
    )


def flips_frame(selection: Selection) -> pd.DataFrame:
    """One row per test image that some run gets wrong, with the number of runs of each variant that get it right."""
    right = correct(selection)
    labels, classes = selection.records[0].labels, selection.records[0].started.data.classes
    frame = pd.DataFrame({"image": np.arange(len(labels)), "true": [classes[label] for label in labels]})
    for variant, runs in right.items():
        frame[f"right_{variant}"] = runs.sum(axis=0)
        frame[f"runs_{variant}"] = len(runs)
    right_in_all = np.asarray(np.concatenate(list(right.values())).all(axis=0))
    return frame.loc[~right_in_all]


def checkpoints_table(selection: Selection) -> Table:
    """McNemar's test and a bootstrap over test images for each seed's two checkpoints (not for the recipes)."""
    base = {record.seed: record for record in selection.variants[selection.baseline]}
    rows = []
    for variant, records in selection.variants.items():
        for record in records:
            if variant == selection.baseline or record.seed not in base:
                continue
            test = mcnemar(record.correct, base[record.seed].correct)
            low, high = bootstrap_accuracy_difference(test)
            interval = f"{100 * low:+.2f} to {100 * high:+.2f}"
            rows.append((variant, record.seed, test.only_a, test.only_b, p_value(test.p_value), interval))
    columns = ("variant", "seed", "right here alone", f"right in {selection.baseline} alone")
    return Table(
        (*columns, "p (McNemar)", "95% interval, points"),
        rows,
        "This table answers another question than the verdicts: are these two trained networks different on images "
        "like these, whatever another seed would give? A small p here says nothing about the recipes. p: exact McNemar "
        "test; interval of the difference in accuracy: bootstrap over the test images.",
        folded="McNemar's test and a bootstrap over test images, seed by seed",
    )


def calibration_table(selection: Selection) -> Table:
    """Expected calibration error, averaged over runs."""
    rows = []
    for variant, found in selection.answers.items():
        shares = (found.calibration_errors, found.mean_confidence, found.correct.mean(axis=1))
        rows.append((variant, *(f"{100 * np.mean(share):.2f}" for share in shares)))
    return Table(
        ("variant", "calibration error, points", "mean confidence %", "accuracy %"),
        rows,
        "Calibration error: how far confidence and accuracy lie apart, the mean over images in fifteen bins of "
        "confidence (Guo et al. 2017), then over runs. Confidence above accuracy: the networks are overconfident.",
    )


def unstable_within(selection: Selection) -> dict[str, Indices]:
    """Variant → images that some of its runs get right and others get wrong."""
    shares = {variant: runs.mean(axis=0) for variant, runs in correct(selection).items()}
    return {variant: np.flatnonzero((share > 0) & (share < 1)) for variant, share in shares.items()}
