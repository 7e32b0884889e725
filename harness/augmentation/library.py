"""albumentations 2.0.8 itself (Buslaev et al. 2020, doi:10.3390/info11020125): its objects, made from an experiment's
values with strict checks, and its pipeline run image by image in worker processes.

The library is imported when it is first needed, never with this module.
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
"""How the temporary folder of a program's images begins; its process id follows."""
_AFTER_THE_PIPELINE = {"Normalize", "ToFloat", "ToTensorV2", "ToTensor3D"}
_NEW_NAMES = {"value": "fill", "max_width": "hole_width_range", "min_width": "hole_width_range"}  # not near enough


class AugmentError(HarnessError):
    """A transform, an argument or a backend that cannot be used."""


def import_library() -> ModuleType:
    """albumentations, without its question to the network for newer versions."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    import albumentations

    return albumentations


def resolve(transforms: Sequence[Transform], height: int, width: int, mean: tuple[float, ...]) -> tuple[Transform, ...]:
    """Transforms with "image_height", "image_width" and "dataset_mean" replaced by the data set's own numbers."""
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
    """albumentations' objects for resolved transforms.

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
        raise AugmentError(f"{name!r} is not a transform of albumentations 2.0.8{nearest(name, known)}")
    arguments = list(inspect.signature(known[name]).parameters)
    for argument in given:
        if argument not in arguments:
            renamed = _NEW_NAMES.get(argument)
            near = f"; did you mean {renamed!r}?" if renamed in arguments else nearest(argument, arguments)
            raise AugmentError(
                f"`{name}.{argument}` is not an argument in albumentations 2.0.8{near}; known: {', '.join(arguments)}"
            )
    try:
        with warnings.catch_warnings():  # the library warns where it ignores or changes a value
            warnings.simplefilter("error", UserWarning)
            return known[name](**given)
    except Exception as error:
        raise AugmentError(_refusal(name, error)) from error


def _refusal(name: str, error: Exception) -> str:
    """Why the library refused an argument, in one line."""
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
    """Images augmented by the library, in `workers` processes, or in this one with 0; one epoch at a time."""

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
            batch_size=None,  # a request is a whole batch
            num_workers=workers,
            # A fork of a process whose torch or OpenMP threads have run can deadlock. The fork server runs none: it
            # imports the libraries once (3 s) and starts workers in 0.03 s, where spawning takes 3.5 s every time.
            multiprocessing_context=_fork_server() if workers else None,
            persistent_workers=workers > 0,
            worker_init_fn=_last_as_long_as_the_program,
            pin_memory=self._device.type == "cuda",
            generator=torch.Generator(),  # else every epoch would advance torch's global generator
        )

    def batches(self, epoch: int, index_batches: Sequence[Tensor]) -> Iterator[Tensor]:
        self._requests.batches = [
            (index.numpy(), sample_keys(self._seed, epoch, index).numpy().view(np.uint64)) for index in index_batches
        ]
        for images in self._loader:
            yield images.to(self._device, non_blocking=True)

    def _on_disk(self, images: NDArray[np.uint8]) -> Path:
        """A file for all workers to map: one copy in memory, and none in /dev/shm, which containers keep small."""
        remove_leftovers(Path(tempfile.gettempdir()), _COPY)
        folder = Path(tempfile.mkdtemp(prefix=f"{_COPY}{os.getpid()}-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        np.save(folder / "images.npy", images)
        return folder / "images.npy"


def _last_as_long_as_the_program(worker: int) -> None:
    """In a worker: not ended by Ctrl-C, which a terminal sends to workers too, before the program has saved its
    checkpoint; ended when the program is gone, though it was killed and could not say so."""
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
"""Indices and keys of one batch, (B,) each."""


class _Requests:
    """What the loader's "sampler" yields this epoch; it stays the same object while its workers live on."""

    def __init__(self) -> None:
        self.batches: list[Request] = []

    def __iter__(self) -> Iterator[Request]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class _Samples(Dataset[Tensor]):
    """Augments a batch at a time; the pipeline is made where it is first used, in a worker or here."""

    def __init__(self, transforms: tuple[Transform, ...], images: NDArray[np.uint8] | Path):
        self._transforms, self._images = transforms, images

    def __getitem__(self, request: Request) -> Tensor:
        return self._augmenter(request)

    @cached_property
    def _augmenter(self) -> "_Augmenter":
        images = np.load(self._images, mmap_mode="r") if isinstance(self._images, Path) else self._images
        return _Augmenter(self._transforms, images)


class _Augmenter:
    """The library's pipeline with its random numbers in our hands."""

    def __init__(self, transforms: tuple[Transform, ...], images: NDArray[np.uint8]):
        import cv2

        cv2.setNumThreads(0)  # workers are the parallelism
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
        """Give the pipeline the sample's own two streams, Python's and NumPy's, which its transforms share.

        `Compose.set_random_seed` would give every transform the same stream: what is drawn first is then the same
        number everywhere, so that images flip sideways exactly when they flip upside down or are cropped from above.
        """
        self._python.seed(key)
        counter = {"counter": np.zeros(4, np.uint64), "key": np.array([key, 0], np.uint64)}
        self._philox.state = {**self._unused, "state": counter}
