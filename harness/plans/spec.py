"""What a run is: its recipe, its seed and the circumstances it is computed under, as frozen values.

A run's identity is its recipe, its images and its seed (`RunSpec`). `Circumstances`, such as the device, are recorded
with the run but are not part of its key. Every value is validated when it is made, and survives JSON without loss.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from harness.plans.hyperparameters import Constant, Cosine, LRFinder, Optimizer, Schedule
from harness.values import (
    Argument,
    Fraction,
    Name,
    NonNegativeFloat,
    PositiveFloat,
    Scalar,
    Values,
    digest,
    flatten,
    nearest,
)

DATASETS = ("digits", "cifar10", "cifar100", "mnist", "fashion_mnist")
PLACES = ("folder:", "csv:", "npz:", "torchvision/")
"""What stands before a path, or before torchvision's name for a data set."""


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
