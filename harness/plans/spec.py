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
"""Prefixes of data set names, followed by a path or by torchvision's name of a data set."""


def _place_meant(name: str) -> str:
    """The form of `data.name` that was probably meant, as a question; "" where none is near."""
    kind = next((kind for kind in ("csv", "npz") if name.lower().endswith(f".{kind}")), "folder")
    if "/" in name or kind != "folder":
        return f"; did you mean '{kind}:{name}'?"
    return nearest(name.lower(), DATASETS)


class Data(Values):
    """A data set. `name` is one of DATASETS, `folder:PATH` (`PATH/train/<class>/*`, `PATH/test/<class>/*`), `csv:PATH`
    (columns path, label[, split]), `npz:PATH` (x_train, y_train, x_test, y_test) or `torchvision/<name>`."""

    name: str
    title: str | None = Field(default=None, max_length=80)
    """Name of the data set in reports; by default its name, or the folder's. Not part of a run's identity."""
    image_size: Annotated[int, Field(ge=8, le=1024)] | None = None
    """Height and width in pixels to which images are resized when decoded; None keeps their size."""
    mean: tuple[NonNegativeFloat, ...] | None = None
    """Mean per channel (0..1), subtracted after augmentation; None computes it, and std, over all training images,
    including held-out ones."""
    std: tuple[PositiveFloat, ...] | None = None
    allow_missing_test_classes: bool = False
    """True allows the test images of folder:, csv: and npz: data to lack classes that occur in the training images."""
    validation_fraction: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Share of the training images to hold out, stratified by class."""
    validation_seed: Annotated[int, Field(ge=0)] = 0
    scored_on: Literal["test", "held_out"] = "test"
    """"held_out" is for tuning trials only: the held-out images replace the test images, which the trial never sees."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if any(name.startswith(place) and len(name) > len(place) for place in PLACES):
            return name
        if name not in DATASETS:
            start, colon, path = name.partition(":")
            if path and f"{start.lower()}{colon}" in PLACES:
                meant = f"; did you mean '{start.lower()}:{path}'?"
            else:
                meant = _place_meant(name)
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
        """The name of the data set in tables and figures."""
        place = self.name.partition(":")[2] or self.name
        return self.title or place.rstrip("/").rsplit("/", 1)[-1]


class Model(BaseModel):
    """A model and its options: `Model(name="norm_cnn", norm="group")`; other options keep their defaults."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, allow_inf_nan=False)
    # pydantic's documented way to type the extra fields
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
    """Everything that decides a run's result except its seed: what a paper would list in its table of settings."""

    data: Data
    model: Model
    optimizer: Optimizer
    schedule: Schedule = Constant()
    augmentation: tuple[Transform, ...] = ()
    """Transforms of the training images (uint8), applied in this order; normalisation is added automatically."""
    lr_finder: LRFinder | None = None
    epochs: Annotated[int, Field(ge=1, le=100_000)]
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = 512
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    clip_norm: PositiveFloat | None = None
    """Maximum L2 norm of the gradient over all parameters; None does not clip."""
    ema_decay: Fraction | None = None
    """Decay per step of an exponential moving average of the weights (Polyak & Juditsky 1992), which is then evaluated
    and saved in place of the weights; None uses the weights themselves."""
    test_time_flip: bool = False
    """True evaluates the mean of the logits of an image and of its mirror image."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """"auto" is resolved by `plan.resolve`: bf16 if the device computes it in hardware, else fp32."""

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
    """How and where a run is computed: recorded with it and compared between runs, but not part of its identity.

    Circumstances change rounding and speed only. "auto" is resolved for this machine by `plan.settle` or by a
    measurement.
    """

    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto"
    threads: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = "auto"
    """CPU threads. Their number changes the order of summation, and so the last bits of the weights."""
    memory_format: Literal["auto", "channels_last", "contiguous"] = "auto"
    step: Literal["auto", "eager", "compiled", "stacked"] = "auto"
    """"compiled" runs forward and backward passes through torch.compile (on CUDA in a CUDA graph); "stacked" trains all
    seeds of a variant at once; "auto" measures once which is fastest."""
    augment_backend: Literal["auto", "batched", "albumentations"] = "auto"
    """"batched" transforms whole batches with tensor code, "albumentations" one image at a time in worker processes."""
    jobs: Annotated[int, Field(ge=1, le=1024)] | Literal["auto", "ray", "slurm"] = 1
    """Runs (or stacks of runs) at the same time on this machine, which changes their duration but not their results.
    "auto" measures which number is fastest; on a cluster the scheduler decides."""


class RunSpec(Values):
    """One run: a complete recipe, the checksum of its images, and a seed."""

    experiment: Name
    variant: Name
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    recipe: Recipe
    images: str = ""
    """Checksum of the data set's content, computed by `data.load`; empty until the images have been read."""

    @property
    def identity(self) -> dict[str, Any]:
        """Dotted field → value for everything that identifies the run: its recipe, its images' checksum and its seed.

        Left out are data.name and data.title, since the checksum identifies the images, and data.scored_on if it is
        "test", because older runs do not record that field.
        """
        aside = ("data.name", "data.title", *(["data.scored_on"] if self.recipe.data.scored_on == "test" else []))
        asked = {name: value for name, value in flatten(self.recipe).items() if name not in aside}
        return asked | {"images": self.images, "seed": self.seed}

    @property
    def key(self) -> str:
        """The run's name in folders, in MLflow and in reports; it ends with a digest of the run's identity."""
        return f"{self.experiment}-{self.variant}-s{self.seed}-{digest(self.identity)}"
