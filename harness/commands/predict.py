"""`make predict`: classify a folder of images with a run's network."""

import argparse
from collections import Counter
from pathlib import Path

from harness.environment.files import typed_path
from harness.values import HarnessError

HELP = "classify a folder of images with a run's network"


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="its key in runs/ or its id in MLflow")
    parser.add_argument("--images", default="", help="a folder of image files")


def act(chosen: argparse.Namespace, root: Path) -> int:
    """Write `predictions.csv` and `contact_sheet.png`; returns the exit status.

    Raises:
        HarnessError: there is no such run or folder, or an image cannot be decoded.
    """
    if not chosen.images:
        raise HarnessError("IMAGES must name a folder of image files, as in: make predict RUN=<key> IMAGES=photos")
    from harness.commands.finished import find, out_folder

    run = find(chosen.run, root)
    from harness.artifacts import figures
    from harness.artifacts.predict import contact_sheet, predict_folder, table
    from harness.artifacts.spreadsheet import write_csv
    from harness.artifacts.weights import load_model

    height, _, channels = run.shape
    made = predict_folder(load_model(run.weights), typed_path(chosen.images, "IMAGES"), height, channels)
    folder = out_folder(root, "predict", run.key)
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(table(made), folder / "predictions.csv")
    figures.save(contact_sheet(made), folder / "contact_sheet.png")
    counts = Counter(made.predicted)
    said = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    print(f"{len(made.files):,} images, resized to {height}x{height} where they were not: {said}")
    for remark in made.remarks:
        print(remark)
    print(f"written: {(folder / 'predictions.csv').relative_to(root)} and contact_sheet.png")
    return 0
