"""Are these runs comparable? What differs between them beyond the declared factor, and whether it could matter.

Checked on what was recorded, before anything is compared. What could change a result refuses the comparison unless the
reader allows it by name; what cannot, and what differs between seeds alone (a block), is only listed.
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
"""Fields that name what others pin down: the training code by its digest, the images by their checksum, the device by
its kind (a second GPU of one kind computes as the first); and what changes seconds alone, the runs made at once."""
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
"""Field of a recipe → what is recorded of it under other names."""


class NotComparable(HarnessError):
    """Runs differ in something that could change the result and was not allowed."""


@dataclass(frozen=True)
class Difference:
    """A field on which runs, or the parts of one, disagree: each value with how many runs have it."""

    field: str
    values: tuple[tuple[str, int], ...]
    harmless: bool
    block: bool = False
    """It differs between seeds alone, and is the same for all variants of each."""

    @property
    def matters(self) -> bool:
        """Whether it could explain a difference between variants."""
        return not (self.harmless or self.block)

    def __str__(self) -> str:
        shown = "; ".join(f"{value} ({count} run{'s' if count > 1 else ''})" for value, count in self.values)
        return f"{self.field}: {shown}"


def provenance(record: Record, part: Started | None = None) -> dict[str, Any]:
    """Dotted field → value of everything that a run was: its recipe, its images, what it found, its circumstances, its
    code, its machine; those of one `part` of a run that went on elsewhere, by default of the first."""
    started = part or record.started
    data = {f"data.{name}": value for name, value in started.data.model_dump(mode="json").items()}
    environment = {f"environment.{k}": v for k, v in started.environment.items() if k != "versions"}
    versions = {f"environment.versions.{k}": v for k, v in started.environment.get("versions", {}).items()}
    around = {f"circumstances.{k}": v for k, v in started.circumstances.model_dump().items()}
    around["circumstances.augment_backend"] = started.augmentation.split(":")[0]
    own = record.lr_found if started.spec.recipe.optimizer.lr == "find" else None  # else one test was made for all
    found = {"lr_found": own.suggestion} if own else {}
    return flatten(started.spec.recipe) | data | found | around | environment | versions


def differences(records: Sequence[Record], factor: Sequence[str]) -> tuple[Difference, ...]:
    """Every field on which runs disagree, outside the factor and what follows from it."""
    flat = [(record, [provenance(record, part) for part in record.segments]) for record in records]
    fields = dict.fromkeys(name for _, parts in flat for values in parts for name in values)
    found = []
    for name in fields:
        told = dict.fromkeys(  # of each run, what its parts have; what is not recorded tells nothing
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
    """What runs were recorded to answer otherwise than is asked now, as in "smallest difference points 0.5 → 0.2"."""
    fields = ("primary_metric", "smallest_difference_points", "baseline", "factor", "variants")
    now, said = selection.design, dict[str, int]()
    for record in selection.records:
        for field in fields:
            was, is_ = getattr(record.started.design, field), getattr(now, field)
            grown = field == "variants" and set(was) <= set(is_)  # verdicts are corrected for the larger family
            stood_in = field == "baseline" and is_ not in record.started.design.variants  # runs of some variants alone
            if was != is_ and not grown and not stood_in:
                text = f"{field.replace('_', ' ')} {_plainly(was)} → {_plainly(is_)}"
                said[text] = said.get(text, 0) + 1
    return [f"{text} ({runs} run{'s' if runs > 1 else ''})" for text, runs in said.items()]


def _plainly(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def factor_values(records: Sequence[Record]) -> Mapping[str, Mapping[str, str]]:
    """Recipe field → {variant: value} for the fields in which variants differ: "only the parameters that differ"."""
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
    """The differences that could matter and were allowed; the report carries them in a banner.

    Raises:
        NotComparable: one was not allowed.
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
    """The factor, and what follows from it."""
    return (*factor, *(name for field in factor for name in _FOLLOWS.get(field, ())))


def _shown(value: Any) -> str:
    """A recipe's value as a reader sees it; transforms by name and arguments."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return " → ".join(_transform(item) for item in value)
    if value is None or value == []:
        return "none"
    return str(value)


def _transform(values: Mapping[str, Any]) -> str:
    arguments = ", ".join(f"{name}={value}" for name, value in values.items() if name != "name")
    return f"{values['name']}({arguments})"
