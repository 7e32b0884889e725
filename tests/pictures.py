"""Takes README's pictures of MLflow's pages from `quickstart`'s runs, in a real browser. `make pictures`.

It needs recorded runs of quickstart (`make run EXP=quickstart`) and Debian's chromium.
"""

import contextlib
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import sync_playwright

from harness.artifacts.figures import reduce_colours
from harness.environment import project
from harness.tracking.store import local_uri
from harness.tracking.tracker import Tracker

EXPERIMENT = "quickstart"
PLACE = Path("reports/published/pictures")
PORT = 5017
SETTLED_MILLISECONDS = 4000
"""For MLflow's pages to fetch and draw what they show."""
NO_ASSISTANT = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
NO_PATHS = """for (const each of document.querySelectorAll("*"))
    if (each.children.length == 0 && each.textContent.startsWith("Path: ")) each.style.visibility = "hidden";"""
"""Where artifacts lie on this machine is nobody's business."""


def pages(tracker: Tracker) -> dict[str, str]:
    """Picture → the page's address below the server's."""
    experiment = f"/#/experiments/{tracker.experiment_id(EXPERIMENT)}"
    summary = tracker.summary_run(EXPERIMENT)
    finished = [run for run in tracker.runs(EXPERIMENT).values() if run.state == "finished"]
    if summary is None or not finished:
        sys.exit(f"error: {EXPERIMENT} has no finished runs; make run EXP={EXPERIMENT}")
    one = f"{experiment}/runs/{finished[0].id}"
    return {
        "mlflow_runs": f"{experiment}/runs",
        "mlflow_curves": f"{one}/model-metrics",
        "mlflow_images": f"{one}/artifacts/figures/misclassified.png",
        "mlflow_summary": f"{experiment}/runs/{summary.id}/artifacts/report/figures/forest.png",
    }


@contextlib.contextmanager
def served() -> Iterator[str]:
    """MLflow's pages over the local store."""
    address = f"http://127.0.0.1:{PORT}"
    command = [sys.executable, "-m", "harness", "ui", f"--port={PORT}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            for _ in range(60):
                with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/health"):
                    break
                time.sleep(1)
            yield address
        finally:
            server.terminate()


def main() -> int:
    root = project()
    taken = pages(Tracker(root, local_uri(root)))
    with served() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 900}, color_scheme="light")
        page.add_init_script(NO_ASSISTANT)
        for name, path in taken.items():
            page.goto(address + path)
            page.reload()
            page.wait_for_timeout(SETTLED_MILLISECONDS)
            page.evaluate(NO_PATHS)
            page.screenshot(path=root / PLACE / f"{name}.png")
            reduce_colours(root / PLACE / f"{name}.png")
            print(PLACE / f"{name}.png")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
