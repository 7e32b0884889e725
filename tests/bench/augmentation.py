"""Seed 003's augmentation alone, with cutout and the normalisation: images a second of one thread.

Ours and albumentations, from the same uint8 images to the float32 inputs of a network. On CUDA ours runs on the device.
"""

import time

import cv2
import torch

from experiments.resnet_onecycle import RECIPE
from harness.augmentation.batches import epoch_order
from harness.augmentation.normaliser import Normaliser
from harness.augmentation.source import source as build_source
from tests.bench.notebook import transform
from tests.bench.work import MEAN, STD, Loop, Trained, Work


def batched(work: Work) -> Loop:
    """The batched form, batch by batch, in the order of an epoch."""
    device = work.device
    pixels = torch.from_numpy(work.images).to(device)
    source = build_source(RECIPE.augmentation, "batched", pixels, MEAN, 0, device=device)
    normaliser = Normaliser.make(MEAN, STD, device, "channels_last", "fp32")
    batches = epoch_order(0, 0, len(work.images)).split(work.recipe.batch_size)

    def loop() -> Trained:
        clock = time.perf_counter()
        for images in source.batches(0, batches):
            normaliser(images)
        work.wait()
        return Trained(time.perf_counter() - clock, [])

    return loop


def albumentations(work: Work) -> Loop:
    """The library, image by image, as a DataLoader's worker would; without what the DataLoader adds."""
    policy = transform(augmented=True)

    def loop() -> Trained:
        cv2.setNumThreads(1)
        clock = time.perf_counter()
        for image in work.images:
            torch.from_numpy(policy(image=image)["image"].transpose(2, 0, 1).copy())
        return Trained(time.perf_counter() - clock, [])

    return loop
