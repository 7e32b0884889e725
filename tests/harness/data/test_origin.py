"""The order of class names."""

import pytest

from harness.data.origin import in_order


@pytest.mark.parametrize(
    "names",
    [("2", "10"), ("0", "9" * 5000), ("10", "2", "x"), ("07", "1"), ("²", "³")],
    ids=lambda names: " ".join(names)[:20],
)
def test_names_that_are_all_numbers_are_sorted_as_numbers(names: tuple[str, ...]) -> None:
    """2 before 10, of any length; with a leading zero, or another script's digit, they are text."""
    assert in_order(set(names)) == names
