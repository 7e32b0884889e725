"""`make export`: export a run's network to other formats, and check them against torch."""

import argparse
from pathlib import Path

HELP = "export a run's network as ONNX, .pt2, safetensors and an MLflow model"


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="its key in runs/ or its id in MLflow")


def act(chosen: argparse.Namespace, root: Path) -> int:
    """Write the four formats; returns the exit status.

    Raises:
        HarnessError: there is no such run, a package is missing, or an exported network disagrees with torch.
    """
    from harness.artifacts.export import export, require
    from harness.artifacts.weights import load_model
    from harness.commands.finished import find, out_folder
    from harness.tracking.flavour import save_pyfunc

    require()
    run = find(chosen.run, root)
    folder = out_folder(root, "export", run.key)
    folder.mkdir(parents=True, exist_ok=True)
    trained = load_model(run.weights)
    made = export(trained, run.weights, run.shape, folder)
    save_pyfunc(folder / "mlflow_model", folder / "model.pt2", trained.classes, run.shape)
    for each in made:
        checked = "" if each.difference is None else f", logits within {each.difference:.1g} of torch's"
        print(f"{each.file.relative_to(root)}: {each.file.stat().st_size / 1e6:.1f} MB{checked}")
    print(f"{(folder / 'mlflow_model').relative_to(root)}: for mlflow.pyfunc.load_model")
    height, width, channels = run.shape
    print(f"input: images (N, {height}, {width}, {channels}) uint8 of 0..255; normalisation is in the graph")
    return 0
