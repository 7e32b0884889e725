"""What every test shares: one CPU thread, so that tests run side by side and sums are the same everywhere."""

import os

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import torch

torch.set_num_threads(1)
