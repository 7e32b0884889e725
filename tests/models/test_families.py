"""Every file of `models/` is imported by itself; what is wrong with one is a line."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import models
from models import families, registry

GOOD = "from models.registry import register\n\n\n@register\ndef {0}(in_channels: int = 3, image_size: int = 8, "
GOOD += "classes: int = 2):\n    ...\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A further folder of the package; what it registers is forgotten afterwards."""
    monkeypatch.setattr(models, "__path__", [str(tmp_path)])
    monkeypatch.setattr(registry, "_BUILDERS", dict(registry._BUILDERS))
    monkeypatch.setattr(families, "BROKEN", {})
    known = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - known:
        if name.startswith("models."):  # torch cannot be imported twice
            del sys.modules[name]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(:\n", "models/aaa.py line 1: invalid syntax"),
        ("\n\nimport no_such_package\n", "models/aaa.py: ModuleNotFoundError: No module named 'no_such_package'"),
        (GOOD.format("half") + "\n\n1 / 0\n", "models/aaa.py: ZeroDivisionError: division by zero"),
        (GOOD.format("resnet"), "models/aaa.py: model 'resnet' is registered twice: in models.resnet and models.aaa"),
    ],
    ids=["syntax", "import", "later", "twice"],
)
def test_a_broken_file_is_one_line_and_leaves_the_others(folder: Path, text: str, said: str) -> None:
    """Also what it had registered before it failed is gone; the file after it in the alphabet is there."""
    before = set(models.names())
    (folder / "aaa.py").write_text(text)
    (folder / "zzz.py").write_text(GOOD.format("last"))
    families.import_all()
    assert {"models/aaa.py": said} == families.BROKEN
    assert set(models.names()) == before | {"last"}
    with pytest.raises(models.ModelError, match=r"got 'aaa'.*; not imported: models/aaa\.py"):
        models.build("aaa")


def test_no_file_of_the_repository_is_broken() -> None:
    assert models.BROKEN == {}
