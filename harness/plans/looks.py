"""Looks at results as values: every number of seeds at which somebody saw how an experiment stands."""

from harness.values import Name, Values


class Look(Values):
    """Results were seen: by a report, or by a command that stops when it is decided."""

    time: float
    """Seconds since 1970."""
    seeds: tuple[int, ...]
    """Of the results that were seen, sorted."""
    variants: tuple[Name, ...]
    """That had results."""
    planned: bool = False
    """Whether the look was declared before the first run, and its share of the error is paid for."""
