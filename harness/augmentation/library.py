"""Use albumentations 2.0.8 (Buslaev et al. 2020, doi:10.3390/info11020125): create its transforms from an experiment's
values with strict checks, and run its pipeline image by image in worker processes.

The library is imported on first use, not with this module.
"""

import inspect
import multiprocessing
import multiprocessing.connection
import os
import random
import shutil
import signal
import tempfile
import threading
import warnings
import weakref
from collections.abc import Iterator, Sequence
from functools import cached_property
from multiprocessing.context import BaseContext
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from harness.augmentation.batched import sample_keys
from harness.environment.files import remove_leftovers
from harness.plans.spec import Transform
from harness.values import Argument, HarnessError, nearest

_COPY = "harness-images-"
"""Start of the name of a temporary folder of images; the process id follows."""
_AFTER_THE_PIPELINE = {"Normalize", "ToFloat", "ToTensorV2", "ToTensor3D"}
_NEW_NAMES = {"value": "fill", "max_width": "hole_width_range", "min_width": "hole_width_range"}  # renamed arguments


class AugmentError(HarnessError):
    """A transform, an argument or a backend cannot be used."""


def import_library() -> ModuleType:
    """Import albumentations without its network request for newer versions."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    import albumentations

    return albumentations


def resolve(transforms: Sequence[Transform], height: int, width: int, mean: tuple[float, ...]) -> tuple[Transform, ...]:
    """Replace "image_height", "image_width" and "dataset_mean" in transforms by the data set's values."""
    means = tuple(round(255 * channel) for channel in mean)
    symbols: dict[Any, Argument] = {
        "image_height": height,
        "image_width": width,
        "dataset_mean": means if len(means) > 1 else sum(means),
    }

    def value_of(argument: Any) -> Any:
        if isinstance(argument, tuple):
            return tuple(symbols.get(part, part) for part in argument)
        return symbols.get(argument, argument)

    return tuple(
        Transform(name=transform.name, **{name: value_of(value) for name, value in transform.arguments.items()})
        for transform in transforms
    )


def build(transforms: Sequence[Transform]) -> list[Any]:
    """Create albumentations' objects from resolved transforms.

    Raises:
        AugmentError: an unknown transform or argument, or a value that the library refuses or would change.
    """
    library = import_library()
    known = {
        name: kind
        for name, kind in vars(library).items()
        if inspect.isclass(kind) and issubclass(kind, library.BasicTransform)
    }
    return [_create(transform, known) for transform in transforms]


def _create(transform: Transform, known: dict[str, Any]) -> Any:
    name, given = transform.name, transform.arguments
    if name in _AFTER_THE_PIPELINE:
        raise AugmentError(
            f"`augmentation` must not hold {name}: the harness normalises last, with data.mean and data.std; remove it"
        )
    if name not in known:
        raise AugmentError(f"`augmentation`: {name!r} is not a transform of albumentations 2.0.8{nearest(name, known)}")
    arguments = list(inspect.signature(known[name]).parameters)
    for argument in given:
        if argument not in arguments:
            renamed = _NEW_NAMES.get(argument)
            near = f"; did you mean {renamed!r}?" if renamed in arguments else nearest(argument, arguments)
            raise AugmentError(
                f"`{name}.{argument}` is not an argument in albumentations 2.0.8{near}; known: {', '.join(arguments)}"
            )
    try:
        with warnings.catch_warnings():  # the library warns if it ignores or changes a value
            warnings.simplefilter("error", UserWarning)
            return known[name](**given)
    except Exception as error:
        raise AugmentError(_refusal(name, error)) from error


def _refusal(name: str, error: Exception) -> str:
    """The reason why the library refused an argument, in one line."""
    if not isinstance(error.__cause__, ValidationError):
        return f"`{name}`: {one_line(error)}"
    details = error.__cause__.errors(include_url=False)
    place = details[0]["loc"][:1]
    if not place:
        return f"`{name}`: {details[0]['msg'].removeprefix('Value error, ')}"
    field = f"`{name}.{place[0]}`"
    if details[0]["type"] == "missing":
        return f"{field} must be given"
    rules = [detail["msg"].removeprefix("Value error, ") for detail in details if detail["loc"][:1] == place]
    rules = [rule.replace("Input should", "must") for rule in dict.fromkeys(rules)]
    return f"{field}: {' or '.join(rules)}; got {details[0]['input']!r}"


def one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


class LibrarySource:
    """Images augmented by the library in `workers` processes (0: in this process); one epoch at a time."""

    backend = "albumentations"

    def __init__(
        self,
        transforms: tuple[Transform, ...],
        reason: str,
        images: Tensor,
        seed: int,
        workers: int,
        device: torch.device,
    ):
        self.reason, self._device, self._seed = reason, device, seed
        self._requests = _Requests()
        array = images.cpu().numpy()
        self._loader = DataLoader(
            _Samples(transforms, self._on_disk(array) if workers else array),
            sampler=self._requests,
            batch_size=None,  # each request is a whole batch
            num_workers=workers,
            # Forking a process whose torch or OpenMP threads have run can deadlock. The fork server has no threads; it
            # imports the libraries once (3 s) and starts workers in 0.03 s, while spawning takes 3.5 s every time.
            multiprocessing_context=_fork_server() if workers else None,
            persistent_workers=workers > 0,
            worker_init_fn=_last_as_long_as_the_program,
            pin_memory=self._device.type == "cuda",
            generator=torch.Generator(),  # otherwise every epoch advances torch's global generator
        )

    def batches(self, epoch: int, index_batches: Sequence[Tensor]) -> Iterator[Tensor]:
        self._requests.batches = [
            (index.numpy(), sample_keys(self._seed, epoch, index).numpy().view(np.uint64)) for index in index_batches
        ]
        for images in self._loader:
            yield images.to(self._device, non_blocking=True)

    def _on_disk(self, images: NDArray[np.uint8]) -> Path:
        """A file that all workers map: one copy in memory, and none in /dev/shm, which is small in containers."""
        remove_leftovers(Path(tempfile.gettempdir()), _COPY)
        folder = Path(tempfile.mkdtemp(prefix=f"{_COPY}{os.getpid()}-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        np.save(folder / "images.npy", images)
        return folder / "images.npy"


def _last_as_long_as_the_program(worker: int) -> None:
    """Run in a worker: ignore Ctrl-C, which a terminal also sends to workers, so that the program can save a checkpoint
    first; exit when the program is gone, even if it was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    program = multiprocessing.parent_process()
    assert program is not None

    def watch() -> None:
        multiprocessing.connection.wait([program.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _fork_server() -> BaseContext:
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # the server inherits it
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "albumentations"])
    return context


Request = tuple[NDArray[np.int64], NDArray[np.uint64]]
"""Indices and keys of one batch, shape (B,) each."""


class _Requests:
    """The loader's "sampler", which yields the requests of an epoch; the same object is kept for persistent workers."""

    def __init__(self) -> None:
        self.batches: list[Request] = []

    def __iter__(self) -> Iterator[Request]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class _Samples(Dataset[Tensor]):
    """Augments a batch per request; the pipeline is created on first use, in a worker or in this process."""

    def __init__(self, transforms: tuple[Transform, ...], images: NDArray[np.uint8] | Path):
        self._transforms, self._images = transforms, images

    def __getitem__(self, request: Request) -> Tensor:
        return self._augmenter(request)

    @cached_property
    def _augmenter(self) -> "_Augmenter":
        images = np.load(self._images, mmap_mode="r") if isinstance(self._images, Path) else self._images
        return _Augmenter(self._transforms, images)


class _Augmenter:
    """The library's pipeline, reseeded for every sample."""

    def __init__(self, transforms: tuple[Transform, ...], images: NDArray[np.uint8]):
        import cv2

        cv2.setNumThreads(0)  # workers run in parallel already
        self._images = images
        self._compose = import_library().Compose(build(transforms))
        self._python = random.Random()
        self._philox: Any = np.random.Philox(key=0)
        self._unused = self._philox.state
        self._compose.set_random_state(np.random.Generator(self._philox), self._python)

    def __call__(self, request: Request) -> Tensor:
        augmented = []
        for index, key in zip(*request, strict=True):
            self._reseed(int(key))
            augmented.append(self._compose(image=self._images[index].copy())["image"])
        return torch.from_numpy(np.stack(augmented))

    def _reseed(self, key: int) -> None:
        """Give the pipeline a Python and a NumPy random stream for this sample, shared by all its transforms.

        `Compose.set_random_seed` would give every transform the same stream, so that their first draws would be equal:
        images would be flipped horizontally exactly when they are flipped vertically or cropped at the top.
        """
        self._python.seed(key)
        counter = {"counter": np.zeros(4, np.uint64), "key": np.array([key, 0], np.uint64)}
        self._philox.state = {**self._unused, "state": counter}
