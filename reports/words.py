"""What the words of a report mean, for readers who meet them for the first time."""

from reports.document import Table

WORDS = (
    ("run", "One training of one network from scratch. R1, R2, … are listed under Runs."),
    ("seed", "The number from which a run draws all its randomness: first weights, order of the images, augmentation."),
    ("pair", "A run of a variant and a run of the baseline with the same seed. Their difference is what is tested."),
    ("points", "Percentage points of accuracy: from 73% to 74% is one point."),
    ("±", "The standard deviation over seeds: how far single runs lie from their mean."),
    (
        "95% interval",
        "Where the true mean difference lies, if 19 such intervals in 20 are right: of each comparison alone, while "
        "verdicts are corrected for all (BCa bootstrap over the pairs, widened as Student's t is for few pairs; none "
        "below 6 pairs, nor where all pairs are equal).",
    ),
    (
        "p",
        "How often pairs without any true difference would come out at least as far apart, were each one's sign a "
        "toss of a coin (exact two-sided sign-flip test).",
    ),
    (
        "p (Holm)",
        "p, made larger because several variants are tested at once. Below 0.05 a difference counts as shown.",
    ),
    (
        "smallest p",
        "The least p (Holm) that so many pairs can give. At 0.05 or above they can show no difference at all.",
    ),
    ("better, worse", "p (Holm) is below 0.05, and the mean difference has this sign."),
    (
        "equivalent",
        "Not shown to differ, and from 6 pairs the 90% interval lies within the smallest difference that matters "
        "(two one-sided tests), judged for each variant alone.",
    ),
    ("not decided", "Neither: these runs cannot tell."),
    ("calibration", "Whether networks that say 80% are right on 80% of such images."),
)


def table() -> Table:
    """The words, in the order in which a reader meets them."""
    return Table(("word", "meaning"), WORDS)
