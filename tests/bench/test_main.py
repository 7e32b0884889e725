"""`make bench` refuses what it cannot do, in one line and before it measures anything."""

from pathlib import Path

import pytest
import torch

from tests.bench.__main__ import main


@pytest.mark.parametrize(
    ("gpu", "said"),
    [
        ("1", "GPU=1 needs a CUDA device, and torch sees none; run make bench without it"),
        ("yes", "GPU must be 1 or left out; got 'yes'"),
    ],
)
def test_a_gpu_that_is_not_here_is_one_line(
    gpu: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 2, and no file."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main([f"--gpu={gpu}"], tmp_path) == 2
    assert capsys.readouterr() == ("", f"error: {said}\n")
    assert not list(tmp_path.iterdir())
