"""The example notebook: every cell runs, in a folder of its own, and its outputs are of the kind that are shown."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.example
@pytest.mark.skipif(importlib.util.find_spec("nbclient") is None, reason="nbclient is not installed")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_example_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are made, results are a table of two variants with two seeds each, and the report is a page."""
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    notebook = nbformat.read(ROOT / "docs" / "example.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [cell["outputs"] for cell in notebook.cells if cell["cell_type"] == "code"]
    last = [cell[-1]["data"]["text/plain"] for cell in outputs if cell and "data" in cell[-1]]
    assert last[1] == "0"
    assert all(f"R{number} " in f"{last[2]} " for number in range(1, 5))
    assert last[-1] == "'report.html'"
    assert (tmp_path / "reports" / "out" / "nesterov-notebook" / "report.html").is_file()
