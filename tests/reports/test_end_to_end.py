"""From the command line to a report and back, with nothing invented: two tiny runs, a real store, a real browser."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

import harness.__main__
import reports.__main__
from harness.tracking.tracker import Tracker
from reports.select import Selection, select
from tests.reports.test_report_in_browser import FLAGS

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 180
"""How long a busy machine may take to start MLflow's server, or to show one of its pages."""
EXPERIMENT = '''"""Which norm, by images that are held out?"""

from harness import SGD, Circumstances, Data, Experiment, Model, Recipe

EXPERIMENT = Experiment(
    name="held_out",
    question="Which norm, by images that are held out?",
    base=Recipe(
        data=Data(name="digits", validation_fraction=0.25),
        model=Model(name="norm_cnn"),
        optimizer=SGD(lr=0.1),
        epochs=2,
        batch_size=256,
        precision="fp32",
    ),
    variants={"batch": {}, "group": {"model.norm": "group"}},
    factor=("model.norm",),
    baseline="batch",
    seeds=(0,),
    primary_metric="validation_accuracy",
    circumstances=Circumstances(device="cpu", threads=1, memory_format="channels_last", step="eager"),
)
'''


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with one experiment, run, reported and published by the commands that make calls."""
    root = tmp_path_factory.mktemp("project")
    (root / "experiments").mkdir()
    (root / "experiments" / "held_out.py").write_text(EXPERIMENT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness.__main__, "ROOT", root)
        patch.setattr(reports.__main__, "ROOT", root)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("ALLOW", raising=False)
        assert harness.__main__.main(["run", "held_out"]) == 0
        assert reports.__main__.main(["write", "held_out"]) == 0
        yield root


@pytest.fixture(scope="module")
def selection(project: Path) -> Selection:
    return select(Tracker(project), "held_out")


def test_predictions_are_those_that_were_scored(selection: Selection) -> None:
    """The accuracy that a run recorded is that of the logits that it left, to the last image."""
    assert [(record.variant, record.seed) for record in selection.records] == [("batch", 0), ("group", 0)]
    for record in selection.records:
        assert record.epochs[-1].test.accuracy == record.correct.mean()


def test_held_out_images_decide(project: Path, selection: Selection) -> None:
    """Validation accuracy is the result everywhere; test accuracy at the epoch it chooses stands beside it."""
    folder = project / "reports" / "out" / "held_out"
    runs, summary = pd.read_csv(folder / "runs.csv"), pd.read_csv(folder / "summary.csv")
    for record, (_, row) in zip(selection.records, runs.iterrows(), strict=True):
        validation = [done.validation.accuracy for done in record.epochs if done.validation]
        assert len(validation) == 2
        assert row["validation_accuracy"] == validation[-1]
        assert row["validation_loss"] != row["test_loss"]
        chosen = record.epochs[validation.index(max(validation))]
        assert (row["chosen_epoch"], row["chosen_test_accuracy"]) == (chosen.epoch, chosen.test.accuracy)
    assert list(summary["mean"]) == [100 * accuracy for accuracy in runs["validation_accuracy"]]
    text = (folder / "report.md").read_text()
    assert "every variant has run with one: validation accuracy is " in text
    data = selection.records[0].started.data
    assert data.validation_images > 300
    assert f"{data.train_images:,} for training, {data.validation_images} for validation and {data.test_images}" in text


def test_a_place_that_cannot_be_written_is_one_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file where the folder of reports should be: what, where, what to do; status 2."""
    out = project / "reports" / "out"
    out.rename(out.with_name("kept"))
    out.write_text("in the way")
    assert reports.__main__.main(["write", "held_out"]) == 2
    assert capsys.readouterr().err == f"error: something else is in its place: {out}; move it away, then run again\n"
    out.unlink()
    out.with_name("kept").rename(out)


def test_what_is_published_holds(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`make publish`, then `make report-check`."""
    assert reports.__main__.main(["publish", "held_out"]) == 0
    assert reports.__main__.main(["check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["published: reports/published/held_out", "holds: reports/published/held_out"]


@pytest.fixture(scope="module")
def address(project: Path) -> Iterator[str]:
    """MLflow's own server over the project's store, on a free port."""
    if shutil.which("chromium") is None:
        pytest.skip("chromium is not on this machine")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve = "from pathlib import Path; from harness.tracking.store import serve_ui; "
    serve += f"serve_ui(Path({str(project)!r}), {port})"
    with (project / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-c", serve], cwd=ROOT, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", server)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            assert server.poll() is None, "MLflow's server ended"
            assert time.monotonic() < until, "MLflow's server does not answer"
            time.sleep(0.5)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(address: str, browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1400, "height": 1600}, base_url=address)
    page.set_default_timeout(1000 * SECONDS)
    yield page
    page.close()


@pytest.mark.browser
def test_mlflow_shows_the_report_and_its_figures(project: Path, page: Page) -> None:
    """From the table of runs to the summary run, its report.html, which sorts as on disk, and a figure of its own."""
    experiment = Tracker(project).experiment_id("held_out")
    page.goto(f"/#/experiments/{experiment}/runs")
    page.get_by_role("link", name="summary", exact=True).click()
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("report", exact=True).click()
    page.get_by_text("report.html", exact=True).click()
    report = page.frame_locator("iframe")
    report.get_by_role("heading", name="held_out", exact=True).wait_for()
    assert report.locator("img").first.evaluate("image => image.naturalWidth") > 300
    report.get_by_role("button", name="verdict").click()
    assert report.locator("[aria-sort]").inner_text() == "verdict"
    page.get_by_text("figures", exact=True).click()
    page.get_by_text("seeds.png", exact=True).click()
    figure = page.locator("img[src^=blob], img[src*='seeds.png']").first
    figure.wait_for()
    page.wait_for_function("image => image.naturalWidth > 300", arg=figure.element_handle())


@pytest.mark.browser
def test_mlflow_leads_from_the_answer_to_each_run(project: Path, selection: Selection, page: Page) -> None:
    """The summary run's page says the answer, and its links open the pages of the runs."""
    tracker = Tracker(project)
    summary = tracker.record_summary(selection.summary)
    page.goto(f"/#/experiments/{tracker.experiment_id('held_out')}/runs/{summary}")
    page.get_by_text("One seed ranks nothing").wait_for()
    page.get_by_text("Show more").click()
    with page.expect_popup() as opened:
        page.get_by_role("link", name="R2", exact=True).click()
    opened.value.get_by_text(selection.records[1].id).first.wait_for()
    opened.value.get_by_role("heading", name="group seed 0").wait_for()
    opened.value.close()
