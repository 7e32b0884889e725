"""Check that runs are comparable: find what differs between them besides the declared factor.

Recorded runs are checked before anything is compared. A difference that could change results is refused unless the
user allows it by name; harmless differences, and those only between seeds (blocks), are listed.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.plans.differences import within
from harness.records.blocks import is_block
from harness.records.events import Started
from harness.records.record import Record
from harness.values import HarnessError, flatten
from reports.select import Selection

HARMLESS = (
    *("environment.commit", "environment.dirty", "data.name", "data.title", "data.label"),
    *("data.left_out", "data.remarks", "data.duplicates", "circumstances.device", "circumstances.jobs"),
)
"""Fields that cannot change results because others identify their content (the code's digest, the images' checksum, the
device's model), or that only change speed (the number of concurrent runs)."""
_FOLLOWS = {
    "model": ("environment.model_code",),
    "model.name": ("model", "environment.model_code"),
    "augmentation": ("circumstances.augment_backend",),
    "optimizer": ("lr_found",),
    "optimizer.lr": ("lr_found",),
    "lr_finder": ("lr_found",),
    "data.image_size": ("data.shape", "data.checksum", "data.mean", "data.std"),
    "data.validation_fraction": ("data.train_images", "data.validation_images"),
}
"""Field of a recipe → other recorded fields that follow from it."""


class NotComparable(HarnessError):
    """Runs differ in a field that could change results and was not allowed."""


@dataclass(frozen=True)
class Difference:
    """A field in which runs, or parts of a run, differ: each value with the number of runs that have it."""

    field: str
    values: tuple[tuple[str, int], ...]
    harmless: bool
    block: bool = False
    """True if it differs only between seeds and is the same for all variants of a seed."""

    @property
    def matters(self) -> bool:
        """True if it could explain a difference between variants."""
        return not (self.harmless or self.block)

    def __str__(self) -> str:
        shown = "; ".join(f"{value} ({count} run{'s' if count > 1 else ''})" for value, count in self.values)
        return f"{self.field}: {shown}"


def provenance(record: Record, part: Started | None = None) -> dict[str, Any]:
    """Dotted field → value of everything that could have influenced a run: recipe, images, found rate, circumstances,
    code and machine.

    Args:
        part: the part of a run that resumed elsewhere; by default the first.
    """
    started = part or record.started
    data = {f"data.{name}": value for name, value in started.data.model_dump(mode="json").items()}
    environment = {f"environment.{k}": v for k, v in started.environment.items() if k != "versions"}
    versions = {f"environment.versions.{k}": v for k, v in started.environment.get("versions", {}).items()}
    around = {f"circumstances.{k}": v for k, v in started.circumstances.model_dump().items()}
    around["circumstances.augment_backend"] = started.augmentation.split(":")[0]
    own = record.lr_found if started.spec.recipe.optimizer.lr == "find" else None  # otherwise one test served all runs
    found = {"lr_found": own.suggestion} if own else {}
    return flatten(started.spec.recipe) | data | found | around | environment | versions


def differences(records: Sequence[Record], factor: Sequence[str]) -> tuple[Difference, ...]:
    """Every field in which runs differ, except the factor and what follows from it."""
    flat = [(record, [provenance(record, part) for part in record.segments]) for record in records]
    fields = dict.fromkeys(name for _, parts in flat for values in parts for name in values)
    found = []
    for name in fields:
        told = dict.fromkeys(  # values of each run's parts; unrecorded fields are ignored
            (number, record.seed, record.variant, repr(values.get(name)))
            for number, (record, parts) in enumerate(flat)
            for values in parts
            if name in values or not name.startswith(("environment.", "model."))
        )
        counts = Counter(shown for *_, shown in told)
        if len(counts) > 1 and not within(name, _with_consequences(factor)):
            found.append(
                Difference(
                    name, tuple(counts.items()), within(name, HARMLESS), is_block(name, [each[1:] for each in told])
                )
            )
    return tuple(found)


def design_changes(selection: Selection) -> list[str]:
    """Changes between the design recorded with runs and the current one: "smallest difference points 0.5 → 0.2"."""
    fields = ("primary_metric", "smallest_difference_points", "baseline", "factor", "variants")
    now, said = selection.design, dict[str, int]()
    for record in selection.records:
        for field in fields:
            was, is_ = getattr(record.started.design, field), getattr(now, field)
            grown = field == "variants" and set(was) <= set(is_)  # verdicts are corrected for all variants
            stood_in = field == "baseline" and is_ not in record.started.design.variants  # not in the run's design
            if was != is_ and not grown and not stood_in:
                text = f"{field.replace('_', ' ')} {_plainly(was)} → {_plainly(is_)}"
                said[text] = said.get(text, 0) + 1
    return [f"{text} ({runs} run{'s' if runs > 1 else ''})" for text, runs in said.items()]


def _plainly(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def factor_values(records: Sequence[Record]) -> Mapping[str, Mapping[str, str]]:
    """Recipe field → {variant: value}, only for fields in which variants differ."""
    table: dict[str, dict[str, str]] = {}
    for record in records:
        for name, value in flatten(record.started.spec.recipe).items():
            table.setdefault(name, {})[record.variant] = _shown(value)
    variants = {record.variant for record in records}
    return {
        name: {variant: values.get(variant, "–") for variant in variants}
        for name, values in table.items()
        if len({values.get(variant, "–") for variant in variants}) > 1
    }


def refuse(found: Sequence[Difference], allowed: Sequence[str]) -> tuple[Difference, ...]:
    """The differences that could matter but were allowed; the report shows them in a banner.

    Raises:
        NotComparable: a difference was not allowed.
    """
    mattering = [difference for difference in found if difference.matters]
    refused = [difference for difference in mattering if not within(difference.field, allowed)]
    if refused:
        names = " ".join(difference.field for difference in refused)
        raise NotComparable(
            f"the runs differ in more than the factor: {' | '.join(map(str, refused))}. Make them alike, or compare "
            f'them all the same with ALLOW="{names}"'
        )
    return tuple(mattering)


def _with_consequences(factor: Sequence[str]) -> tuple[str, ...]:
    """The factor and the fields that follow from it."""
    return (*factor, *(name for field in factor for name in _FOLLOWS.get(field, ())))


def _shown(value: Any) -> str:
    """A recipe's value as text; transforms by name and arguments."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return " → ".join(_transform(item) for item in value)
    if value is None or value == []:
        return "none"
    return str(value)


def _transform(values: Mapping[str, Any]) -> str:
    arguments = ", ".join(f"{name}={value}" for name, value in values.items() if name != "name")
    return f"{values['name']}({arguments})"
