"""What every test shares: one CPU thread, so that tests run side by side and sums are the same everywhere; the folder
of compiled code; and signals that end a process, which a shell's background job or nohup would have it ignore."""

import os
import signal
from pathlib import Path

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(__file__).resolve().parents[1] / "data" / "cache" / "compiled")

import torch

torch.set_num_threads(1)
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)
