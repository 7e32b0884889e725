"""`make ui` leads to what was asked last."""

import argparse
import socket
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from harness.commands import ui
from harness.plans.experiment import Design
from harness.tracking.tracker import Summary, Tracker
from harness.values import SpecError


def test_each_experiment_s_summary_has_its_link_the_last_asked_first(
    tracker: Tracker, design: Design, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's own address of a run's page; an experiment without a summary has none."""
    for name, asked in (("first_asked", 1.0), ("asked_again", 1.0), ("first_asked", 2.0)):
        summary = Summary(design=design.model_copy(update={"experiment": name}), runs=(), asked=asked)
        tracker.record_summary(summary)
    tracker.experiment_id("without_summary")
    lines = list(ui.links(tracker, 5001))
    ours = [line for line in lines if line.startswith(("first_asked", "asked_again", "without_summary"))]
    client = MlflowClient(tracking_uri=tracker.store.uri)
    expected = []
    for name in ("first_asked", "asked_again"):
        found = client.get_experiment_by_name(name)
        assert found is not None
        (run,) = client.search_runs([found.experiment_id])
        address = f"http://127.0.0.1:5001/#/experiments/{found.experiment_id}/runs/{run.info.run_id}"
        expected.append(f"{name}: {address}")
    assert ours == expected


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http"])
def test_a_port_that_is_none_is_refused(tmp_path: Path, port: str) -> None:
    """Before anything is opened."""
    with pytest.raises(SpecError, match="PORT must be"):
        ui.act(argparse.Namespace(port=port), tmp_path)


def test_a_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    """MLflow alone would log an error and end with status 0."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(SpecError, match=rf"PORT {port} of 127\.0\.0\.1 is not free: "):
            ui.act(argparse.Namespace(port=port), tmp_path)
