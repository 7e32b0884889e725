"""The library itself: refusals at the door, and the same images from any number of processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor

from harness.augmentation.source import AugmentError, Source, check, source
from harness.environment.files import remove_leftovers
from harness.plans.spec import Transform

ROOT = Path(__file__).parents[3]
MEAN = (0.49, 0.48, 0.45)


def t(name: str, **arguments: Any) -> Transform:
    return Transform(name=name, **arguments)


PAD, FLIP = t("Pad", padding=4, border_mode=4), t("HorizontalFlip", p=0.5)
CROP = t("RandomCrop", height="image_height", width="image_width")
CUTOUT = t("CoarseDropout", num_holes_range=(1, 1), hole_height_range=(8, 8), hole_width_range=(8, 8), p=1.0)
CIFAR = (PAD, CROP, FLIP, CUTOUT)
LIBRARY_ONLY = (t("Rotate", limit=(-30, 30), p=0.7), t("GaussNoise", p=0.5), *CIFAR)


def noise(number: int, height: int = 16, width: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (number, height, width, 3), dtype=torch.uint8, generator=generator)


def augmented(made: Source, epoch: int, index: Tensor, batch_size: int) -> Tensor:
    return torch.cat(list(made.batches(epoch, index.split(batch_size))))


_KILLED = """
import os, signal, sys
import torch
from harness.augmentation.source import source
from harness.plans.spec import Transform
if __name__ == "__main__":
    images = torch.zeros(64, 8, 8, 3, dtype=torch.uint8)
    rotating = source((Transform(name="Rotate", limit=(-15, 15), p=1.0),), "auto", images, (0.5,) * 3, 0, workers=2)
    next(iter(rotating.batches(0, torch.arange(64).split(8))))
    print(os.getpid(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_end_with_a_program_that_is_killed(tmp_path: Path) -> None:
    """kill -9 leaves neither workers nor their server after ten seconds; the next program sweeps its copy of the
    images."""
    script = tmp_path / "killed.py"
    script.write_text(_KILLED)
    around = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, str(script)], env=around, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = [each for each in psutil.process_iter() if _environment(each).get("TMPDIR") == str(tmp_path)]
    psutil.wait_procs(left, timeout=10)
    assert [each for each in left if each.is_running() and each.status() != psutil.STATUS_ZOMBIE] == []
    (copy,) = tmp_path.glob(f"harness-images-{done.stdout.strip()}-*")
    remove_leftovers(tmp_path, "harness-images-")
    assert not copy.exists()


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # more workers than this machine's cores
def test_the_number_of_workers_changes_nothing() -> None:
    """0, 2 and 3 processes give the same images in the same order, in a second epoch too, after an epoch left early."""
    images, index = noise(50), torch.randperm(50, generator=torch.Generator().manual_seed(1))
    sources = [source(LIBRARY_ONLY, "auto", images, MEAN, 5, workers) for workers in (0, 2, 3)]
    for epoch in (0, 1):
        here, *elsewhere = [augmented(made, epoch, index, 7) for made in sources]
        assert all(torch.equal(here, other) for other in elsewhere)
        next(iter(sources[1].batches(epoch, index.split(7))))
    assert [made.backend for made in sources] == ["albumentations"] * 3


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        ([t("RandomCorp", height=4)], r"'RandomCorp' is not a transform of albumentations 2.0.8; did you mean 'Random"),
        ([t("Compose")], r"'Compose' is not a transform of albumentations 2.0.8"),
        (
            [t("CoarseDropout", max_holes=1)],
            r"`CoarseDropout.max_holes` is not an argument in albumentations 2.0.8; did you mean 'num_holes_range'\?; "
            "known: num_holes_range, hole_height_range, hole_width_range, fill, fill_mask, p$",
        ),
        ([t("CoarseDropout", fill_value=0)], "`CoarseDropout.fill_value` is not .* did you mean 'fill_mask' or 'fill'"),
        ([t("CoarseDropout", max_width=8)], r"`CoarseDropout.max_width` is not .* did you mean 'hole_width_range'\?"),
        ([t("PadIfNeeded", value=0)], r"`PadIfNeeded.value` is not .* did you mean 'fill'\?; known: min_height, min"),
        ([t("HorizontalFlip", always_apply=True)], "`HorizontalFlip.always_apply` is not .*; known: p$"),
        ([t("HorizontalFlip", p=2)], "`HorizontalFlip.p`: must be less than or equal to 1; got 2$"),
        ([t("RandomCrop", width=4)], "`RandomCrop.height` must be given$"),
        ([t("Pad", border_mode=9)], r"`Pad.border_mode`: must be 0, 1, 2, 3 or 4; got 9$"),
        (
            [t("CoarseDropout", hole_height_range=(8, 4))],
            r"`CoarseDropout.hole_height_range`: First value should be less than .*\(8, 4\) instead; got \(8, 4\)$",
        ),
        ([t("CropAndPad")], "`CropAndPad`: Both px and percent parameters cannot be None simultaneously.$"),
        ([t("MedianBlur", blur_limit=(4, 6))], "`MedianBlur`: UserWarning: .* must be odd. Range .* adjusted to"),
        ([t("CenterCrop", height=20, width=20)], "`CenterCrop` cannot run on an image of 16x16x3: CropSizeError: Cr"),
        ([t("MaskDropout", p=0.01)], "`MaskDropout` cannot run on an image of 16x16x3: ValueError: MaskDropout req"),
        (
            [t("CenterCrop", height=10, width=12, p=0.1)],
            "`augmentation` must keep images at 16x16x3; got 10x12x3; end it with a Resize or RandomCrop to",
        ),
        ([PAD], "`augmentation` must keep images at 16x16x3; got 24x24x3"),
        (
            [t("Pad", padding=4, p=0.5), t("CenterCrop", height=10, width=12, p=0.5)],
            "must keep images at 16x16x3; got 10x12x3 or 24x24x3;",
        ),
        (
            [FLIP, t("Normalize")],
            "`augmentation` must not hold Normalize: the harness normalises last, with data.mean and data.std; remove",
        ),
        ([t("ToTensorV2")], "`augmentation` must not hold ToTensorV2"),
        ([t("ToFloat")], "`augmentation` must not hold ToFloat"),
        ([t("FromFloat")], "`FromFloat` must return uint8; got float16; the harness normalises last, with data.mean"),
    ],
)
def test_a_pipeline_is_refused_at_the_door_in_one_line(transforms: list[Transform], message: str) -> None:
    """Old names, misspellings, bad values, changed sizes and other types, each with what to do."""
    with pytest.raises(AugmentError, match=message) as refused:
        check(tuple(transforms), 16, 16, 3)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "transforms",
    [
        (),
        CIFAR,
        LIBRARY_ONLY,
        (
            t("CenterCrop", height=10, width=10, p=0.1),
            t("Resize", height="image_height", width="image_width"),
            t("Rotate", limit=(-15, 15)),
        ),
        (t("RandomResizedCrop", size=("image_height", "image_width")),),
        (t("CenterCrop", height=2, width=2, p=0), t("Pad", padding=4, p=0.5), CROP),
    ],
)
def test_good_pipelines_pass_the_door(transforms: tuple[Transform, ...]) -> None:
    """Also those that change the size on the way and restore it, whichever of their transforms are left out."""
    check(transforms, 16, 20, 3)
    made = source(transforms, "auto", noise(5, 16, 20), MEAN, 0)
    assert augmented(made, 0, torch.arange(5), 2).shape == (5, 16, 20, 3)
