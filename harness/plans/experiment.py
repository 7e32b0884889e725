"""What an experiment is: a question, the variants that answer it, and the design that is recorded with every run.

`Experiment` is what a file in `experiments/` declares; `Design` is the part of it that is stored with the runs and read
by reports. Both are frozen and validated when they are made.
"""

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from harness.evidence import metrics
from harness.plans.cells import Cells, all_cells, refuse_uncrossed
from harness.plans.spec import Circumstances, Recipe
from harness.plans.tuning import FIRST_TRIAL_SEED, Tuning
from harness.values import Dotted, Name, PositiveFloat, Scalar, SpecError, Values

Expected = Literal["better", "worse", "equivalent"]


def _rising(looks: tuple[int, ...]) -> tuple[int, ...]:
    if any(later <= earlier for earlier, later in pairwise(looks)):
        raise ValueError("must be numbers of seeds, each above the one before")
    return looks


Looks = Annotated[tuple[Annotated[int, Field(ge=2, le=1000)], ...], AfterValidator(_rising)]


class Published(Values):
    """A published result that the report shows beside a variant's own."""

    variant: Name
    test_accuracy_percent: float
    train_accuracy_percent: float | None = None
    source: str


class Experiment(Values):
    """A question and the runs that answer it: variants of one recipe, each trained with the same seeds."""

    name: Name
    question: str
    base: Recipe
    factors: dict[Dotted, tuple[Scalar, ...]] = Field(default={})
    """A factorial design of two or more factors, in place of `variants` and `factor`: dotted field → its levels."""
    cells: Cells = Field(default_factory=lambda given: all_cells(given["factors"]))
    """With `factors`: variant name → its level of each factor, to choose names or leave combinations out. By default
    all combinations, named after their levels: `batch_0`, `group_01`."""
    variants: dict[Name, dict[str, Any]] = Field(default_factory=lambda given: dict(given["cells"]))
    """Variant name → {dotted field: value} for the fields in which it differs from `base`."""
    factor: tuple[Dotted, ...] = Field(default_factory=lambda given: tuple(given["factors"]))
    """The dotted fields (or their parents) in which variants may differ; any other difference is refused."""
    baseline: Name
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field(min_length=1)
    compare: Literal["baseline", "all"] = "baseline"
    """Compare every variant with the baseline only, or all variants with each other."""
    expected: dict[Name, Expected] = Field(default={})
    """Variant → its predicted outcome relative to the baseline, recorded before the first run."""
    looks: Looks = ()
    """Increasing numbers of seeds at which UNTIL=decided looks at the results; by default 7, 10, 14 and 20."""
    max_seeds: Annotated[int, Field(ge=2, le=1000)] | None = None
    """With UNTIL=decided, the largest number of seeds per variant, at which the last look takes place; MAX_SEEDS=
    overrides it."""
    tune: Tuning | None = None
    """Hyperparameters to tune for each variant, on held-out training images, before the declared seeds are run."""
    primary_metric: str = "test_accuracy"
    """The metric by which variants are compared: one of `metrics.primary_names()`, such as test_macro_f1."""
    smallest_difference_points: PositiveFloat = 0.5
    """The smallest difference that matters, in percentage points. For a primary metric that is not a fraction, such as
    test_loss, it is in the metric's own unit and must be given."""
    published: tuple[Published, ...] = ()
    circumstances: Circumstances = Circumstances()

    @field_validator("primary_metric")
    @classmethod
    def _measured(cls, name: str) -> str:
        try:
            metrics.check_primary(name)
        except SpecError as error:
            raise ValueError(str(error).removeprefix("`primary_metric` ")) from error
        return name

    @model_validator(mode="after")
    def _in_its_unit(self) -> Self:
        given = "smallest_difference_points" in self.model_fields_set
        if not given and not metrics.of_primary(self.primary_metric).fraction:
            raise ValueError(
                f"smallest_difference_points must be given, in the unit of {self.primary_metric} itself, as that is no "
                "percentage"
            )
        return self

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        refuse_uncrossed(self.factors, self.cells, self.variants, self.factor)
        if not self.variants:
            raise ValueError("variants, with factor, must be given, or factors")
        if self.baseline not in self.variants:
            raise ValueError(f"baseline must be one of {', '.join(self.variants)}; got {self.baseline!r}")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds must differ from each other; got {self.seeds}")
        for published in self.published:
            if published.variant not in self.variants:
                raise ValueError(
                    f"published must name variants ({', '.join(self.variants)}); got {published.variant!r}"
                )
        for name in self.expected:
            if name not in self.variants or name == self.baseline:
                others = ", ".join(other for other in self.variants if other != self.baseline)
                raise ValueError(f"expected must name variants other than the baseline ({others}); got {name!r}")
        return self

    @model_validator(mode="after")
    def _seeds_suffice(self) -> Self:
        if self.max_seeds is not None and self.looks and self.looks[-1] > self.max_seeds:
            raise ValueError(f"looks must not go beyond max_seeds; got {self.looks} and {self.max_seeds}")
        if self.tune and max(self.seeds) >= FIRST_TRIAL_SEED:
            raise ValueError(f"seeds must be below {FIRST_TRIAL_SEED} where tune is given: trials have those above")
        return self


def _names_alone(variants: Any) -> Any:
    """Accept designs recorded before November 2026, which stored a digest beside each variant's name."""
    return tuple(each["name"] if isinstance(each, dict) else each for each in variants)


class Design(Values):
    """The part of an experiment that is recorded with its runs. Reports read this, not the experiment's file."""

    experiment: Name
    question: str
    factor: tuple[str, ...]
    baseline: Name
    seeds: tuple[int, ...]
    variants: Annotated[tuple[Name, ...], BeforeValidator(_names_alone)]
    primary_metric: str
    smallest_difference_points: float
    published: tuple[Published, ...] = ()
    changed: dict[str, tuple[Any, Any]] = Field(default_factory=dict)
    """Dotted field → (value in the experiment's file, value in these runs), for fields changed on the command line."""
    compare: Literal["baseline", "all"] = "baseline"
    expected: dict[Name, Expected] = Field(default_factory=dict)
    """Variant → its predicted outcome relative to the baseline."""
    looks: tuple[int, ...] = ()
    """Numbers of seeds at which the results are looked at; empty if the number of seeds is fixed."""
    max_seeds: int | None = None
    cells: Cells = Field(default_factory=dict)
    """For a factorial design: variant → {factor: level}; otherwise empty."""
    tuned: tuple[str, ...] = ()
    """Dotted fields that were tuned for each variant, in which variants may therefore differ as well."""
    trials_of: Name | None = None
    """For the trials of a tuning: the experiment that they belong to, whose report shows them."""

    @property
    def may_differ(self) -> tuple[str, ...]:
        """The fields in which variants may differ: the factor and the tuned fields."""
        return (*self.factor, *self.tuned)
