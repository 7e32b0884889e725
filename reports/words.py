"""The glossary of a report."""

from reports.document import Table

WORDS = (
    ("run", "One training of one network from scratch. R1, R2, … are listed under Runs."),
    ("seed", "The number that decides all randomness of a run: initial weights, order of the images, augmentation."),
    ("pair", "A run of a variant and a run of the baseline with the same seed. Their difference is what is tested."),
    ("points", "Percentage points: from 73% to 74% is one point."),
    ("±", "The standard deviation over seeds: how far single runs lie from their mean."),
    (
        "p",
        "The probability of a difference at least as large as this one in some comparison if there is no true "
        "difference (two-sided sign-flip test with one sign per seed for all variants, step-down maximum; all sign "
        "patterns up to 20 seeds, 65,536 random ones above). It is corrected for all comparisons, and assumes that "
        "each seed's vector of differences is as likely as its negative. Below 0.05 a difference counts as shown; at "
        "least 6 pairs are needed for that.",
    ),
    ("p, alone", "The same if this were the only comparison. No verdict uses it."),
    (
        "p, equivalent",
        "The probability of a difference this far below the smallest difference that matters if the true one were "
        "equal to it (two one-sided sign-flip tests, corrected for all comparisons).",
    ),
    (
        "95% interval",
        "The values that the sign-flip test would not reject as the true mean difference, at the level that the joint "
        "test requires of this comparison; it excludes 0 exactly if a difference is shown. Each interval alone has a "
        "coverage of at least 95%. There is none with fewer than 6 pairs, or if all pairs are equal.",
    ),
    (
        "better, worse",
        "p is below 0.05, and the mean difference has this sign. If looks were declared, they decide instead.",
    ),
    (
        "equivalent",
        "Not shown to differ, at least 6 pairs, and p, equivalent is below 0.05: the difference is shown to be smaller "
        "than the smallest difference that matters.",
    ),
    ("not decided", "Neither: these runs cannot tell."),
    ("calibration", "Whether networks are right on 80% of the images for which their confidence is 80%."),
)


ELSEWHERE = {
    "run": "One row of the table under Runs.",
    "seed": "What the table calls a run's seed; what it decided in the program that trained is not known here.",
    "points": "Percentage points: from 73% to 74% is one point.",
    "calibration": None,
}
"""Words that mean something else, or None if they do not occur, where another program trained."""


def table(*, trained_elsewhere: bool = False) -> Table:
    """The glossary as a table, in the order in which the words appear in a report."""
    changed = ELSEWHERE if trained_elsewhere else {}
    rows = [(word, changed.get(word, meaning)) for word, meaning in WORDS]
    return Table(("word", "meaning"), [row for row in rows if row[1] is not None])
