"""`make explain`: Grad-CAM heat maps of a run's network for test images that it misclassifies."""

import argparse
from pathlib import Path

import numpy as np

from harness.values import HarnessError

HELP = "Grad-CAM heat maps of images that a run's network misclassifies"


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="its key in runs/ or its id in MLflow")


def act(chosen: argparse.Namespace, root: Path) -> int:
    """Write `explained.png`; returns the exit status.

    Raises:
        HarnessError: there is no such run, captum is not installed, or the run's test images are not in data/cache.
    """
    from harness.artifacts import explain, figures
    from harness.artifacts.predictions import misclassified
    from harness.artifacts.weights import load_model
    from harness.commands.finished import find, out_folder
    from harness.data.cache import open_cached

    explain.require()
    run = find(chosen.run, root)
    cached = open_cached(run.data.checksum, root)
    if cached is None:
        raise HarnessError(f"the test images of {run.data.label!r} are not in data/cache; make any run on them first")
    wrong = misclassified(*run.answers(), run.data.classes).head(explain.SHOWN)
    if wrong.empty:
        print("nothing to explain: every test image is classified correctly")
        return 0
    images = np.ascontiguousarray(cached.test.images[wrong["index"].to_numpy(dtype=int)])
    trained, number = load_model(run.weights), {name: at for at, name in enumerate(run.data.classes)}
    maps = [
        explain.heat_maps(trained, images, [number[name] for name in wrong[side]]) for side in ("predicted", "true")
    ]
    names = list(zip(wrong["true"], wrong["predicted"], wrong["confidence"], strict=True))
    folder = out_folder(root, "explain", run.key)
    folder.mkdir(parents=True, exist_ok=True)
    figures.save(explain.figure(images, maps[0], maps[1], names), folder / "explained.png")
    print(f"written: {(folder / 'explained.png').relative_to(root)}, {len(wrong)} images")
    return 0
