"""What a run is, and what an experiment is: frozen values, validated once, when they are made.

What is asked (`Recipe`, and a seed) is a run's identity. Under which `Circumstances` it is computed is recorded with it
and never part of its key. All values travel to JSON and back without loss.
"""

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from harness.evidence import metrics
from harness.plans.cells import Cells, all_cells, refuse_uncrossed
from harness.plans.hyperparameters import Constant, Cosine, LRFinder, Optimizer, Schedule
from harness.plans.tuning import FIRST_TRIAL_SEED, Tuning
from harness.values import (
    Argument,
    Dotted,
    Fraction,
    Name,
    NonNegativeFloat,
    PositiveFloat,
    Scalar,
    SpecError,
    Values,
    digest,
    flatten,
    nearest,
)

DATASETS = ("digits", "cifar10", "cifar100", "mnist", "fashion_mnist")
PLACES = ("folder:", "csv:", "npz:", "torchvision/")
"""What stands before a path, or before torchvision's name for a data set."""
Expected = Literal["better", "worse", "equivalent"]


def _rising(looks: tuple[int, ...]) -> tuple[int, ...]:
    if any(later <= earlier for earlier, later in pairwise(looks)):
        raise ValueError("must be numbers of seeds, each above the one before")
    return looks


Looks = Annotated[tuple[Annotated[int, Field(ge=2, le=1000)], ...], AfterValidator(_rising)]


class Data(Values):
    """Which images. `name` is one of DATASETS, `folder:PATH` (`PATH/train/<class>/*`, `PATH/test/<class>/*`),
    `csv:PATH` (columns path, label[, split]), `npz:PATH` (x_train, y_train, x_test, y_test) or `torchvision/<name>`."""

    name: str
    title: str | None = Field(default=None, max_length=80)
    """How reports call the data set; by default its name, or the folder's. No part of a run's identity."""
    image_size: Annotated[int, Field(ge=8, le=1024)] | None = None
    """Height and width in pixels to which images are resized when they are decoded; None keeps their own."""
    mean: tuple[NonNegativeFloat, ...] | None = None
    """Per channel, 0..1, subtracted after augmentation; None takes all training images' own (held out or not)."""
    std: tuple[PositiveFloat, ...] | None = None
    allow_missing_test_classes: bool = False
    """Whether the test images of a folder, table or file of arrays may lack classes that are trained on."""
    validation_fraction: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Share of the training images held out, stratified by class; 0 holds out none."""
    validation_seed: Annotated[int, Field(ge=0)] = 0
    scored_on: Literal["test", "held_out"] = "test"
    """"held_out" puts the held-out images in the place of the test images, which such a run never sees: it is a trial
    of a tuning. An experiment's own recipe cannot ask for it."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if any(name.startswith(place) and len(name) > len(place) for place in PLACES):
            return name
        if name not in DATASETS:
            meant = f"; did you mean 'folder:{name}'?" if "/" in name else nearest(name, DATASETS)
            forms = "folder:PATH, csv:PATH, npz:PATH or torchvision/<name>"
            raise ValueError(f"must be one of {', '.join(DATASETS)}, {forms}{meant}")
        return name

    @model_validator(mode="after")
    def _statistics_together(self) -> Self:
        if (self.mean is None) != (self.std is None) or (self.mean and self.std and len(self.mean) != len(self.std)):
            raise ValueError("mean and std must be given together, one number a channel")
        return self

    @model_validator(mode="after")
    def _held_out_images_are_there(self) -> Self:
        if self.scored_on == "held_out" and not self.validation_fraction:
            raise ValueError("scored_on 'held_out' needs a validation_fraction above 0")
        return self

    @property
    def label(self) -> str:
        """The name that tables and figures use."""
        place = self.name.partition(":")[2] or self.name
        return self.title or place.rstrip("/").rsplit("/", 1)[-1]


class Model(BaseModel):
    """A registered model and its options, all others at their defaults: `Model(name="norm_cnn", norm="group")`."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, allow_inf_nan=False)
    # pydantic's documented way to type what extra="allow" lets in
    __pydantic_extra__: dict[str, Scalar | None] = Field(init=False)  # pyright: ignore[reportIncompatibleVariableOverride]

    name: str

    if TYPE_CHECKING:

        def __init__(self, *, name: str, **options: Scalar | None) -> None: ...

    @property
    def options(self) -> dict[str, Scalar | None]:
        return dict(self.__pydantic_extra__)


class Transform(BaseModel):
    """One albumentations transform: `Transform(name="RandomCrop", height="image_height", width="image_width")`.

    Three values are filled in from the data set when the run starts: "image_height" and "image_width" (pixels) and
    "dataset_mean" (0..255, one number a channel).
    """

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, allow_inf_nan=False)
    # as in Model
    __pydantic_extra__: dict[str, Argument] = Field(init=False)  # pyright: ignore[reportIncompatibleVariableOverride]

    name: str

    if TYPE_CHECKING:

        def __init__(self, *, name: str, **arguments: Argument) -> None: ...

    @property
    def arguments(self) -> dict[str, Argument]:
        return dict(self.__pydantic_extra__)


class Recipe(Values):
    """What would be written into a paper's table: everything that is asked of a run, but its seed."""

    data: Data
    model: Model
    optimizer: Optimizer
    schedule: Schedule = Constant()
    augmentation: tuple[Transform, ...] = ()
    """Applied to training images, uint8, in this order; normalisation follows by itself."""
    lr_finder: LRFinder | None = None
    epochs: Annotated[int, Field(ge=1, le=100_000)]
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = 512
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    clip_norm: PositiveFloat | None = None
    """Largest L2 norm of the whole gradient; None does not clip."""
    ema_decay: Fraction | None = None
    """What is evaluated and kept is an exponential moving average of the weights (Polyak & Juditsky 1992), which keeps
    this share of itself every step; None evaluates the weights themselves."""
    test_time_flip: bool = False
    """Evaluation takes the mean of an image's logits and those of its mirror image."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """"auto" is settled by `plan.resolve`: bf16 where the device computes it in hardware."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.optimizer.lr == "find" and self.lr_finder is None:
            raise ValueError("optimizer.lr is 'find', so lr_finder must be given (start_lr, end_lr, iterations)")
        if isinstance(self.schedule, Cosine) and self.schedule.warmup_epochs >= self.epochs:
            raise ValueError(
                f"schedule.warmup_epochs must be below epochs; got {self.schedule.warmup_epochs} and {self.epochs}"
            )
        return self


class Circumstances(Values):
    """How and where a run is computed: recorded with it and compared between runs, but no part of its identity.

    They change rounding and speed, not what is asked. "auto" is settled for the machine at hand by `plan.settle`, or by
    a measurement.
    """

    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto"
    threads: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = "auto"
    """CPU threads: the order of sums, and so the last bits of weights, depends on their number."""
    memory_format: Literal["auto", "channels_last", "contiguous"] = "auto"
    step: Literal["auto", "eager", "compiled", "stacked"] = "auto"
    """"compiled" runs forward and backward passes through torch.compile, on CUDA in a CUDA graph; "stacked" trains all
    seeds of a variant as one; "auto" measures once what pays."""
    augment_backend: Literal["auto", "batched", "albumentations"] = "auto"
    """"batched" runs the pipeline as tensor code for a whole batch, "albumentations" image by image in workers."""
    jobs: Annotated[int, Field(ge=1, le=1024)] | Literal["auto", "ray", "slurm"] = 1
    """Runs (or stacks of them) that share the machine at once: seconds depend on it, results do not. "auto" measures
    what is fastest; on a cluster its scheduler decides."""


class Published(Values):
    """A result from the literature or the seed documents that a variant is shown beside."""

    variant: Name
    test_accuracy_percent: float
    train_accuracy_percent: float | None = None
    source: str


class Experiment(Values):
    """A question, and the runs that answer it: every variant of one recipe, each with the same seeds."""

    name: Name
    question: str
    base: Recipe
    factors: dict[Dotted, tuple[Scalar, ...]] = Field(default={})
    """Two factors and more, crossed, in place of variants and factor: dotted field → its levels."""
    cells: Cells = Field(default_factory=lambda given: all_cells(given["factors"]))
    """With `factors`: variant name → its level of each, where names are chosen or some combinations left out; by
    default all combinations, named after their levels: `batch_0`, `group_01`."""
    variants: dict[Name, dict[str, Any]] = Field(default_factory=lambda given: dict(given["cells"]))
    """Variant name → the dotted fields in which it differs from `base`."""
    factor: tuple[Dotted, ...] = Field(default_factory=lambda given: tuple(given["factors"]))
    """The dotted fields (or their parents) in which variants may differ; the plan refuses any other."""
    baseline: Name
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field(min_length=1)
    compare: Literal["baseline", "all"] = "baseline"
    """Whether every variant is compared with the baseline alone, or all with each other."""
    expected: dict[Name, Expected] = Field(default={})
    """Variant → what is predicted of it beside the baseline, recorded before the first run."""
    looks: Looks = ()
    """Numbers of seeds at which UNTIL=decided looks at the results, in this order; by default 7, 10, 14 and 20."""
    max_seeds: Annotated[int, Field(ge=2, le=1000)] | None = None
    """With UNTIL=decided, the most seeds that a variant gets: the last look. MAX_SEEDS sets it too."""
    tune: Tuning | None = None
    """Tuned for every variant alike, on held-out training images, before the declared seeds are run."""
    primary_metric: str = "test_accuracy"
    """test_accuracy, test_macro_f1 or another of `metrics.primary_names()`."""
    smallest_difference_points: PositiveFloat = 0.5
    """The smallest difference that matters, in percentage points of the primary metric; of one that is no fraction, as
    test_loss is none, in its own unit, and then it must be given."""
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
        if self.factors and not metrics.of_primary(self.primary_metric).fraction:
            raise ValueError(
                f"primary_metric must be a percentage where factors are crossed, as effects are in points; got "
                f"{self.primary_metric!r}"
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


class RunSpec(Values):
    """One run: a recipe with nothing left open, the images it is applied to, and a seed."""

    experiment: Name
    variant: Name
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    recipe: Recipe
    images: str = ""
    """Checksum of the data set's content, as `data.load` gives it; empty in a plan before the images are read."""

    @property
    def identity(self) -> dict[str, Any]:
        """Dotted field → value of all that is asked of the run: its recipe, its images by content, its seed.

        How the images' place was typed and what reports call them are no part of it; nor is that they are scored on
        the test images, as all runs were before there was a choice.
        """
        aside = ("data.name", "data.title", *(["data.scored_on"] if self.recipe.data.scored_on == "test" else []))
        asked = {name: value for name, value in flatten(self.recipe).items() if name not in aside}
        return asked | {"images": self.images, "seed": self.seed}

    @property
    def key(self) -> str:
        """The run's name in folders, in MLflow and in reports, from the values of all fields of its identity."""
        return f"{self.experiment}-{self.variant}-s{self.seed}-{digest(self.identity)}"


def _names_alone(variants: Any) -> Any:
    """Designs recorded before November 2026 kept a digest beside each variant's name."""
    return tuple(each["name"] if isinstance(each, dict) else each for each in variants)


class Design(Values):
    """An experiment as it travels with its records: reports read this, never an experiment file."""

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
    """Dotted field → its value in the experiment's file and in these runs, where the command line changed it."""
    compare: Literal["baseline", "all"] = "baseline"
    expected: dict[Name, Expected] = Field(default_factory=dict)
    """Variant → what was predicted of it beside the baseline."""
    looks: tuple[int, ...] = ()
    """Numbers of seeds at which results are looked at; empty where the number of seeds was fixed."""
    max_seeds: int | None = None
    cells: Cells = Field(default_factory=dict)
    """With several factors: variant → its level of each."""
    tuned: tuple[str, ...] = ()
    """Dotted fields that were tuned for each variant: in these, too, variants may differ."""
    trials_of: Name | None = None
    """Of the trials of a tuning: the experiment that they are made for, in whose report they stand."""

    @property
    def may_differ(self) -> tuple[str, ...]:
        """The fields in which variants may differ: the factor, and what was tuned."""
        return (*self.factor, *self.tuned)
