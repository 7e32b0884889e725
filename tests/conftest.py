"""What every test shares: one CPU thread, so that tests run side by side and sums are the same everywhere; and the
folder of compiled code."""

import os
from pathlib import Path

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(__file__).resolve().parents[1] / "data" / "cache" / "compiled")

import torch

torch.set_num_threads(1)
