"""The glossary of a report."""

from reports.document import Table

WORDS = (
    ("run", "One training of one network from scratch. R1, R2, … are listed under Runs."),
    ("seed", "The number from which a run draws all its randomness: first weights, order of the images, augmentation."),
    ("pair", "A run of a variant and a run of the baseline with the same seed. Their difference is what is tested."),
    ("points", "Percentage points of accuracy: from 73% to 74% is one point."),
    ("±", "The standard deviation over seeds: how far single runs lie from their mean."),
    (
        "p",
        "How often tossing a coin for each seed's signs, one coin for all variants, would bring out a difference as "
        "large as this one in some comparison, were there no true difference (two-sided sign-flip test, step-down "
        "maximum; every pattern of signs up to 20 seeds, 65,536 random ones above). It is corrected for all "
        "comparisons, and assumes that each seed's vector of differences is as likely as its mirror image. Below 0.05 "
        "a difference counts as shown; 6 pairs are the fewest that can give such a p.",
    ),
    ("p, alone", "The same, were this the only comparison. No verdict rests on it."),
    (
        "p, equivalent",
        "How often chance would put a difference so far inside the smallest that matters, were the true one just as "
        "large as that (two one-sided sign-flip tests, corrected for all comparisons).",
    ),
    (
        "95% interval",
        "The mean differences that sign flips would not reject in place of 0, at the level that the test of all "
        "comparisons asks of this one: it leaves 0 out exactly where a difference is shown. Each holds alone with at "
        "least 95%; none below 6 pairs, nor where all pairs are equal.",
    ),
    (
        "better, worse",
        "p is below 0.05, and the mean difference has this sign. Where looks were declared, they decide instead.",
    ),
    (
        "equivalent",
        "Not shown to differ, at least 6 pairs, and p, equivalent is below 0.05: the difference is shown to be smaller "
        "than the smallest that matters.",
    ),
    ("not decided", "Neither: these runs cannot tell."),
    ("calibration", "Whether networks that say 80% are right on 80% of such images."),
)


def table() -> Table:
    """The glossary as a table, in the order in which the words appear in a report."""
    return Table(("word", "meaning"), WORDS)
