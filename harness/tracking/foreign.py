"""Read runs that any program logged to MLflow, to compare results that were not trained with this harness."""

from harness.tracking.address import TrackingError
from harness.tracking.tracker import Tracker, failing_in_one_line
from harness.values import nearest

Values = dict[str, str]
"""`params.x`, `metrics.x` (the last value) and `tags.x` → the logged value as text."""


@failing_in_one_line("read")
def runs_of(tracker: Tracker, experiment: str) -> tuple[list[tuple[str, Values]], int]:
    """Read the finished runs of an experiment, ordered by start time; deleted runs are ignored.

    Returns:
        (run id, logged values) of every finished run, and the number of runs that have not finished.

    Raises:
        TrackingError: there is no such experiment, or the store fails.
    """
    found = tracker.client.get_experiment_by_name(experiment)
    if found is None:
        names = tracker.experiments()
        hint = nearest(experiment, names) or f"; there are {', '.join(sorted(names)) or 'none'}"
        raise TrackingError(f"MLFLOW must name an experiment of the tracking store; got {experiment!r}{hint}")
    runs: list[tuple[str, Values]] = []
    unfinished, token = 0, None
    while token is None or token:
        order = ["attributes.start_time ASC", "attributes.run_id ASC"]
        page = tracker.client.search_runs([found.experiment_id], order_by=order, max_results=1000, page_token=token)
        for run in page:
            if run.data.tags.get("kind") == "summary":  # the summary run of a harness experiment
                continue
            if run.info.status != "FINISHED":
                unfinished += 1
                continue
            values = {f"params.{name}": str(value) for name, value in run.data.params.items()}
            values |= {f"metrics.{name}": repr(value) for name, value in run.data.metrics.items()}
            values |= {f"tags.{n}": str(v) for n, v in run.data.tags.items() if not n.startswith("mlflow.")}
            runs.append((run.info.run_id, values))
        token = page.token or ""
    return runs, unfinished
