"""A record of each time that somebody looked at an experiment's results."""

from harness.values import Name, Values


class Look(Values):
    """One look at the results: a report, or an interim analysis of UNTIL=decided."""

    time: float
    """Seconds since 1970."""
    seeds: tuple[int, ...]
    """The seeds whose results were seen, sorted."""
    variants: tuple[Name, ...]
    """The variants that had results, sorted."""
    runs: int = 0
    """How many runs had results."""
    planned: bool = False
    """True if the look was declared before the first run, so that the test's error rate accounts for it."""

    @property
    def results(self) -> tuple[tuple[int, ...], tuple[str, ...], int]:
        """What was seen; two looks with equal results count as one."""
        return self.seeds, self.variants, self.runs
