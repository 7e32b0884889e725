"""Warnings shown at the top of a report, and wherever its verdicts are shown."""

from collections.abc import Sequence

from harness.records.events import DataFacts
from reports import frames, guard
from reports.document import Banner
from reports.prose import count
from reports.select import Selection


def banners(selection: Selection, found: Sequence[guard.Difference], allowed: Sequence[str]) -> list[Banner]:
    """Warnings about allowed differences, changed designs, missing runs and problems of the images.

    Raises:
        NotComparable: runs differ in fields that were not allowed to differ.
    """
    said = [f"Compared nevertheless, as allowed: {each}" for each in guard.refuse(found, allowed)]
    said += [f"The design changed after runs were recorded: {each}." for each in guard.design_changes(selection)]
    if selection.absent:
        asked = len(selection.records) + len(selection.absent)
        said.append(f"{len(selection.absent)} of {asked} runs have no result.")
    if selection.baseline != selection.design.baseline:
        said.append(f"The baseline, {selection.design.baseline}, has no result; {selection.baseline} stands in for it.")
    if alone := frames.unpaired(selection):
        said.append(f"No seed in common with {selection.baseline}, so not compared: {', '.join(alone)}.")
    if selection.further:
        are = "is" if selection.further == 1 else "are"
        said.append(
            f"{count(selection.further, 'further run')} of this experiment {are} recorded and not in this report."
        )
    return [Banner(text) for text in [*said, *about_images(selection.records[0].started.data)]]


def about_images(data: DataFacts) -> list[str]:
    """Sentences about repeated images, skipped files, and changes made by decoding."""
    said = []
    if repeated := data.duplicates.get("test_in_train"):
        said.append(f"Among the training images, pixel by pixel: {count(repeated, 'test image')}.")
    if twice := data.duplicates.get("two_labels"):
        said.append(f"Under two labels: {count(twice, 'image')}.")
    if again := data.duplicates.get("within_train"):
        said.append(f"Repeated within the training images: {count(again, 'image')}.")
    said += [f"Left out of {folder}: {count(files, 'file')} ({why})." for folder, files, why in data.left_out]
    return said + [f"{remark}." for remark in data.remarks]
