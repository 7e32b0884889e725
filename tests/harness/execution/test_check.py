"""What is found wrong before the first run begins, each in one line, and what a plan is completed with."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import harness.execution.check
from harness.data.load import Dataset, Split
from harness.evidence.metrics import registry
from harness.execution.check import check
from harness.plans.experiment import Design
from harness.plans.hyperparameters import OneCycle
from harness.plans.plan import Plan
from harness.plans.spec import Circumstances, Data, Model, RunSpec, Transform
from harness.values import HarnessError

CROP_8 = Transform(name="RandomCrop", height=8, width=8)


@pytest.fixture
def plan(spec: RunSpec, circumstances: Circumstances, design: Design) -> Plan:
    """One run, as planned: its images are not known yet."""
    return Plan(design, (spec.model_copy(update={"images": ""}),), circumstances)


@pytest.fixture(autouse=True)
def loaded(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness.execution.check, "load", lambda data, root: dataset)


def test_runs_are_completed(plan: Plan, dataset: Dataset, tmp_path: Path) -> None:
    """By the checksum of their images, and by every option of their model that does not follow from the images."""
    completed, datasets = check(plan, tmp_path)
    (spec,) = completed.runs
    assert datasets == dict.fromkeys([spec.recipe.data], dataset)
    assert spec.images == "0123"
    assert spec.recipe.model == Model(name="norm_cnn", norm="batch", dropout=0.1, head="gap")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"batch_size": 73}, "`batch_size` must be 1..72, the training images of 'tiny'; got 73"),
        ({"model": Model(name="norm_cn")}, r"got 'norm_cn'; did you mean 'norm_cnn' or"),
        (
            {"model": Model(name="norm_cnn", drop=0.1)},
            r"^`model.drop` is not an option of norm_cnn .*; did you mean 'dropout'\?$",
        ),
        ({"model": Model(name="norm_cnn", head="avgpool4")}, r"^`data.image_size` must be 20 to 35 .*; got 12$"),
        (
            {"model": Model(name="norm_cnn", head="gap", classes=7)},
            r"^`model.classes` must be left out, for it follows from the images \(3 for 'tiny'\); got 7$",
        ),
        (
            {"batch_size": 71},
            "^`batch_size` must not leave a last batch of one image; 71 does, of 72 .*: take 70 or 72",
        ),
        ({"augmentation": (CROP_8,)}, "must keep images at 12x12x3; got 8x8x3"),
        ({"device": "cuda:99"}, r"^`device` 'cuda:99' is not on this machine"),
        ({"schedule": OneCycle(pct_start=0.1)}, r"^`schedule.pct_start` must leave more .*; got 0.1 of 10 steps;"),
    ],
    ids=["batch size", "model", "option", "size", "classes", "last batch", "augmentation", "device", "schedule"],
)
def test_what_cannot_run_is_found_before_the_first_run(
    plan: Plan, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    """The last of many variants is checked too, against the images that it will see; nothing is written."""
    around = {name: value for name, value in change.items() if name in Circumstances.model_fields}
    recipe = plan.runs[0].recipe.model_copy(update={n: v for n, v in change.items() if n not in around})
    bad = plan.runs[0].model_copy(update={"variant": "last", "recipe": recipe})
    here = plan.circumstances.model_copy(update=around)
    with pytest.raises(HarnessError, match=said):
        check(replace(plan, runs=(*plan.runs, bad), circumstances=here), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_primary_metric_that_gives_no_number_is_found_before_the_first_run(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = registry.Metric("accuracy", lambda logits, targets: float("nan"), True, True, 2)
    monkeypatch.setitem(registry._METRICS, "accuracy", broken)
    with pytest.raises(HarnessError, match=r"^`primary_metric` 'test_accuracy': metric 'accuracy' .* it gives nan"):
        check(plan, tmp_path)


def test_variants_are_compared_on_the_same_test_images(
    plan: Plan, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other pixels or other labels of test images are refused; the same images at another size are not."""
    size = dataset.test.images.repeat(2, axis=1).repeat(2, axis=2)
    others = {
        "pixels": replace(dataset, test=Split(255 - dataset.test.images, dataset.test.labels)),
        "labels": replace(dataset, test=Split(dataset.test.images, (dataset.test.labels + 1) % 3)),
        "size": replace(dataset, test=Split(np.ascontiguousarray(size), dataset.test.labels)),
    }
    monkeypatch.setattr(harness.execution.check, "load", lambda data, root: others.get(data.name, dataset))
    for name in others:
        recipe = plan.runs[0].recipe.model_copy(update={"data": Data.model_construct(name=name)})
        other = plan.runs[0].model_copy(update={"variant": "other", "recipe": recipe})
        both = replace(plan, runs=(*plan.runs, other))
        if name == "size":
            check(both, tmp_path)
        else:
            with pytest.raises(HarnessError, match=r"^`data.name` must give all variants the same test images; those"):
                check(both, tmp_path)
