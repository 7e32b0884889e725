"""The house as it is: no circle of imports, and a root that one takes in at a glance."""

import pytest

from tests.house import ROOT, floors, rooms


def test_a_floor_imports_from_lower_ones_alone() -> None:
    """Rooms stand above what they import; a circle is named."""
    assert floors({"a": {"b", "c"}, "b": {"c"}, "c": set(), "d": set()}) == [["c", "d"], ["b"], ["a"]]
    with pytest.raises(ValueError, match=r"in a circle: a, b$"):
        floors({"a": {"b"}, "b": {"a"}, "c": set()})


def test_the_house_has_no_circle_and_few_rooms() -> None:
    """Drawn from today's imports; `harness/` has at most twelve entries beside its two dunder files."""
    imports = rooms()
    assert floors(imports)[-1] == ["reports"]  # whose installed command starts the harness too
    entries = {path.name for path in (ROOT / "harness").iterdir() if not path.name.startswith("__")}
    assert len(entries) <= 12, entries
