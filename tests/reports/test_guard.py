"""The comparability guard: one planted difference at a time."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.plans.hyperparameters import SGD, LRFinder
from harness.plans.spec import Data, RunSpec, Transform
from harness.records.events import LRFound, Resumed
from harness.records.record import Record
from harness.values import flatten
from reports.guard import HARMLESS, NotComparable, differences, factor_values, provenance, refuse
from tests.reports import records

FACTOR = ("model.norm",)


def pair(folder: Path, other: Record) -> list[Record]:
    return [records.record(folder, "batch", 0), other]


def with_recipe(folder: Path, **changes: Any) -> Record:
    recipe = records.recipe("group").model_copy(update=changes)
    spec = RunSpec(experiment="norms", variant="group", seed=0, recipe=recipe)
    return records.record(folder, "group", 0, records.started("group", 0, spec=spec))


def with_circumstances(folder: Path, **changes: Any) -> Record:
    around = records.CIRCUMSTANCES.model_copy(update=changes)
    return records.record(folder, "group", 0, records.started("group", 0, circumstances=around))


def with_environment(folder: Path, **changes: Any) -> Record:
    environment = records.ENVIRONMENT | changes
    return records.record(folder, "group", 0, records.started("group", 0, environment=environment))


def with_started(folder: Path, **changes: Any) -> Record:
    return records.record(folder, "group", 0, records.started("group", 0).model_copy(update=changes))


def with_data(folder: Path, **changes: Any) -> Record:
    events = records.started("group", 0).data.model_copy(update=changes)
    return with_started(folder, data=events)


PLANTED: dict[str, Callable[[Path], Record]] = {
    "data.checksum": lambda folder: with_data(folder, checksum="beef"),
    "data.test_images": lambda folder: with_data(folder, test_images=41),
    "epochs": lambda folder: with_recipe(folder, epochs=3),
    "batch_size": lambda folder: with_recipe(folder, batch_size=11),
    "augmentation": lambda folder: with_recipe(folder, augmentation=(Transform(name="HorizontalFlip", p=0.5),)),
    "circumstances.augment_backend": lambda folder: with_started(folder, augmentation="albumentations: as requested"),
    "data.validation_fraction": lambda folder: with_recipe(folder, data=Data(name="digits", validation_fraction=0.1)),
    "data.validation_seed": lambda folder: with_recipe(folder, data=Data(name="digits", validation_seed=1)),
    "precision": lambda folder: with_recipe(folder, precision="bf16"),
    "circumstances.threads": lambda folder: with_circumstances(folder, threads=2),
    "circumstances.step": lambda folder: with_circumstances(folder, step="compiled"),
    "environment.device": lambda folder: with_environment(folder, device="NVIDIA H200"),
    "environment.processor": lambda folder: with_environment(folder, processor="another"),
    "environment.python": lambda folder: with_environment(folder, python="3.12.1"),
    "environment.system": lambda folder: with_environment(folder, system="Darwin"),
    "environment.cuda": lambda folder: with_environment(folder, cuda="13.0"),
    "circumstances.memory_format": lambda folder: with_circumstances(folder, memory_format="channels_last"),
    "environment.code": lambda folder: with_environment(folder, code="def456"),
    "environment.versions.torch": lambda folder: with_environment(
        folder, versions={"torch": "2.11.0", "numpy": "2.4.6"}
    ),
}


def test_every_field_of_a_run_is_looked_at(tmp_path: Path) -> None:
    """No field of the recipe, the images, the circumstances or the machine escapes the guard; what names others or is
    said of them apart."""
    record = records.record(tmp_path, "batch", 0)
    started = record.started
    fields = set(flatten(started.spec.recipe)) | {f"data.{name}" for name in type(started.data).model_fields}
    fields |= {f"environment.{name}" for name in started.environment if name != "versions"}
    fields |= {f"environment.versions.{name}" for name in started.environment["versions"]}
    fields |= {f"circumstances.{name}" for name in type(started.circumstances).model_fields}
    assert fields <= set(provenance(record))
    named = {"environment.commit", "environment.dirty", "data.name", "data.title", "data.label"}
    about = {"data.left_out", "data.remarks", "data.duplicates"}
    assert set(HARMLESS) == named | about | {"circumstances.device", "circumstances.jobs"}


@pytest.mark.parametrize("field", PLANTED)
def test_what_could_change_a_result_refuses_unless_allowed(field: str, tmp_path: Path) -> None:
    """A planted difference is found, named with both values, refused in one line, and passes once ALLOW names it."""
    found = differences(pair(tmp_path, PLANTED[field](tmp_path)), FACTOR)
    assert [difference.field for difference in found] == [field]
    with pytest.raises(NotComparable) as refused:
        refuse(found, ())
    text = str(refused.value)
    assert f'ALLOW="{field}"' in text
    assert "\n" not in text
    for value, _ in found[0].values:
        assert value in text
    assert refuse(found, (field,)) == found
    assert refuse(found, (field.split(".")[0],)) == found


def test_a_run_that_went_on_elsewhere_is_one_of_two_machines(tmp_path: Path) -> None:
    """Even two runs that both did so differ in it: each of their parts is counted."""
    first = records.started("group", 0)
    resumed = Resumed(
        time=1001.0,
        step=3,
        circumstances=first.circumstances,
        environment=records.ENVIRONMENT | {"processor": "another"},
    )
    runs = [records.record(tmp_path, variant, 0) for variant in ("batch", "group")]
    moved = [replace(run, events=(run.events[0], resumed, *run.events[1:])) for run in runs]
    for pair_of, counts in (([runs[0], moved[1]], [2, 1]), (moved, [2, 2]), ([moved[0]], [1, 1])):
        (found,) = differences(pair_of, FACTOR)
        assert (found.field, [count for _, count in found.values]) == ("environment.processor", counts)


@pytest.mark.parametrize("field", ["environment.commit", "environment.dirty"])
def test_what_cannot_change_a_result_is_listed_only(field: str, tmp_path: Path) -> None:
    """Another commit with the same training code is shown but refuses nothing."""
    name = field.removeprefix("environment.")
    found = differences(pair(tmp_path, with_environment(tmp_path, **{name: "other"})), FACTOR)
    assert [(difference.field, difference.harmless) for difference in found] == [(field, True)]
    assert refuse(found, ()) == ()


FOLLOWING: dict[str, Callable[[Path], Record]] = {
    "augmentation": lambda folder: with_started(folder, augmentation="albumentations: as requested"),
    "data.validation_fraction": lambda folder: with_data(folder, train_images=9, validation_images=1),
    "data.image_size": lambda folder: with_data(folder, shape=(1, 9, 9), checksum="beef", mean=(0.3,), std=(0.1,)),
    "model.name": lambda folder: with_environment(folder, model_code="beef"),
}


@pytest.mark.parametrize("factor", FOLLOWING)
def test_what_follows_from_the_factor_is_no_difference(factor: str, tmp_path: Path) -> None:
    """What a plan lets variants differ in is not refused once all is trained; elsewhere the same difference is one."""
    runs = pair(tmp_path, FOLLOWING[factor](tmp_path))
    assert differences(runs, FACTOR) != ()
    assert differences(runs, (*FACTOR, factor)) == ()


def test_the_factor_itself_is_no_difference(tmp_path: Path) -> None:
    """Variants may differ in the factor, which the report shows as the only parameter that differs."""
    runs = pair(tmp_path, records.record(tmp_path, "group", 0))
    assert differences(runs, FACTOR) == ()
    assert factor_values(runs) == {"model.norm": {"batch": "batch", "group": "group"}}


def test_without_the_factor_the_same_runs_are_refused(tmp_path: Path) -> None:
    """The guard does not know which field is meant: the design says so."""
    found = differences(pair(tmp_path, records.record(tmp_path, "group", 0)), ())
    assert [difference.field for difference in found] == ["model.norm"]


def test_a_difference_between_seeds_of_one_variant_is_found_too(tmp_path: Path) -> None:
    """The guard looks at every run, not at one run a variant."""
    environment = records.ENVIRONMENT | {"code": "other"}
    second = records.record(tmp_path, "batch", 1, records.started("batch", 1, environment=environment))
    found = differences([*pair(tmp_path, records.record(tmp_path, "group", 0)), second], FACTOR)
    assert found[0].values == (("'abc123'", 2), ("'other'", 1))


def test_another_gpu_of_the_same_kind_is_no_difference(tmp_path: Path) -> None:
    """`cuda:1` is listed, and refuses nothing; another kind of card has another name."""
    found = differences(pair(tmp_path, with_circumstances(tmp_path, device="cuda:1")), FACTOR)
    assert [(difference.field, difference.harmless) for difference in found] == [("circumstances.device", True)]
    assert refuse(found, ()) == ()


def test_what_a_run_found_is_part_of_what_it_was(tmp_path: Path) -> None:
    """Rates that runs found for themselves differ: refused, unless the factor is the rate or the finder. A range test
    that one run made for all is no difference."""
    both = pair(tmp_path, records.record(tmp_path, "group", 0))
    one = Record(both[0].id, both[0].key, (both[0].events[0], found(0.055), *both[0].events[1:]), both[0].predictions)
    assert differences([one, both[1]], FACTOR) == ()
    finding = {"optimizer": SGD(lr="find"), "lr_finder": LRFinder(each_run=True)}
    runs = []
    for record, rate in zip(both, (0.055, 0.127), strict=True):
        recipe = record.started.spec.recipe.model_copy(update=finding)
        first = record.started.model_copy(update={"spec": record.started.spec.model_copy(update={"recipe": recipe})})
        runs.append(Record(record.id, record.key, (first, found(rate), *record.events[1:]), record.predictions))
    (difference,) = differences(runs, FACTOR)
    assert (difference.field, difference.harmless) == ("lr_found", False)
    assert differences(runs, (*FACTOR, "optimizer.lr")) == differences(runs, (*FACTOR, "lr_finder")) == ()


def found(rate: float) -> LRFound:
    return LRFound(time=0.0, lrs=(0.01, rate), losses=(1.0, 0.5), suggestion=rate, seconds=1.0)


def with_code(folder: Path, variant: str, seed: int, code: str) -> Record:
    environment = records.ENVIRONMENT | {"code": code}
    return records.record(folder, variant, seed, records.started(variant, seed, environment=environment))


def test_later_seeds_by_later_code_are_a_block_and_no_reason_to_refuse(tmp_path: Path) -> None:
    """Alike for both runs of each seed: listed, and pairs stay pairs. One run by other code refuses."""
    runs = [with_code(tmp_path, v, seed, "old" if seed < 2 else "new") for v in ("batch", "group") for seed in range(3)]
    (found,) = differences(runs, FACTOR)
    assert (found.field, found.block, found.matters) == ("environment.code", True, False)
    assert refuse([found], ()) == ()
    mixed = [*runs[:-1], with_code(tmp_path, "group", 2, "old")]
    (found,) = differences(mixed, FACTOR)
    assert (found.block, found.matters) == (False, True)
    with pytest.raises(NotComparable, match=r"environment\.code"):
        refuse([found], ())
