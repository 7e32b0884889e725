"""What a reader must not miss: how the runs came about, and what is wrong with the images."""

from dataclasses import replace
from pathlib import Path

import pytest

from reports import guard
from reports.banners import about_images, banners
from reports.select import Selection
from tests.reports import records


def said(selection: Selection) -> list[str]:
    found = guard.differences(selection.records, selection.design.factor)
    return [banner.text for banner in banners(selection, found, ())]


def test_plain_runs_have_no_banner(tmp_path: Path) -> None:
    assert said(records.selection(tmp_path)) == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"smallest_difference_points": 0.2}, "smallest difference points 0.5 → 0.2 (6 runs)"),
        ({"baseline": "group"}, "baseline batch → group (6 runs)"),
        ({"factor": ("model.norm", "model.dropout")}, "factor model.norm → model.norm, model.dropout (6 runs)"),
        ({"primary_metric": "test_macro_f1"}, "primary metric test_accuracy → test_macro_f1 (6 runs)"),
        ({"variants": ("batch",)}, "variants batch, group → batch (6 runs)"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_design_that_changed_after_runs_were_recorded_is_said(
    tmp_path: Path, change: dict[str, object], text: str
) -> None:
    """Every run has the design that it was made for in its record; a margin chosen afterwards is not a declared one."""
    selection = records.selection(tmp_path)
    now = selection.summary.design.model_copy(update=change)
    changed = replace(selection, summary=selection.summary.model_copy(update={"design": now}))
    assert said(changed) == [f"The design changed after runs were recorded: {text}."]


def test_more_seeds_and_more_variants_change_no_design(tmp_path: Path) -> None:
    """Verdicts are corrected for the family that is declared now, which the report says."""
    selection = records.selection(tmp_path)
    update = {"seeds": (0, 1, 2, 3), "variants": ("batch", "group", "layer")}
    now = selection.summary.design.model_copy(update=update)
    assert said(replace(selection, summary=selection.summary.model_copy(update={"design": now}))) == []


def test_runs_that_are_recorded_and_not_in_the_report_are_counted(tmp_path: Path) -> None:
    selection = records.selection(tmp_path)
    text = "further {} of this experiment {} recorded and not in this report."
    assert said(replace(selection, further=1)) == [f"1 {text.format('run', 'is')}"]
    assert said(replace(selection, further=4)) == [f"4 {text.format('runs', 'are')}"]


def test_what_is_wrong_with_the_images_is_said(tmp_path: Path) -> None:
    """Repeated images by where they repeat, files that were not read by class and reason, what decoding changed."""
    data = records.started("batch", 0).data
    assert about_images(data) == []
    update = {
        "duplicates": {"test_in_train": 1, "two_labels": 3, "within_train": 1200},
        "left_out": (("train/cat", 12, "in a folder inside it"), ("val", 1, "in neither train/ nor test/")),
        "remarks": ("2 images were turned as their EXIF orientation says",),
    }
    assert about_images(data.model_copy(update=update)) == [
        "Among the training images, pixel by pixel: 1 test image.",
        "Under two labels: 3 images.",
        "Repeated within the training images: 1,200 images.",
        "Left out of train/cat: 12 files (in a folder inside it).",
        "Left out of val: 1 file (in neither train/ nor test/).",
        "2 images were turned as their EXIF orientation says.",
    ]
