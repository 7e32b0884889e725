"""Looks at results as values: every time that somebody saw how an experiment stands."""

from harness.values import Name, Values


class Look(Values):
    """Results were seen: in a report, or by a command that stops when it is decided."""

    time: float
    """Seconds since 1970."""
    seeds: tuple[int, ...]
    """Of the results that were seen, sorted."""
    variants: tuple[Name, ...]
    """That had results, sorted."""
    runs: int = 0
    """How many results there were."""
    planned: bool = False
    """Whether it is one of the looks that were declared before the first run, whose error is paid for."""

    @property
    def results(self) -> tuple[tuple[int, ...], tuple[str, ...], int]:
        """What was seen: who sees the same again learns nothing new."""
        return self.seeds, self.variants, self.runs
