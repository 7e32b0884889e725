"""What all values share: digests that name them, names that are guessed, and errors of one line."""

import pytest

from harness.plans.spec import Model
from harness.values import HarnessError, digest, flatten, nearest, refused_by_system, slug


def test_the_digest_forgets_the_order_in_which_options_were_given() -> None:
    """Model(a, b) and Model(b, a) are the same model."""
    first, second = Model(name="m", norm="group", dropout=0.1), Model(name="m", dropout=0.1, norm="group")
    assert digest(flatten(first)) == digest(flatten(second))


def test_an_int_a_float_and_a_bool_are_different_options() -> None:
    """model.x = 1, 1.0, True and "1" are four models: their builders may treat them differently."""
    values = (1, 1.0, True, "1")
    assert len({digest(flatten(Model(name="m", x=value))) for value in values}) == len(values)


def test_names_of_two_data_sets_are_two_names_of_files() -> None:
    """In any script; nothing that a path or a shell reads remains."""
    labels = ["CIFAR-10 (JPEG)", "日本", "中国 2", "../a\nb", "?"]
    assert [slug(label) for label in labels] == ["cifar-10-jpeg", "日本", "中国-2", "a-b", "unnamed"]


def test_nearest_names_what_is_close_and_nothing_else() -> None:
    """A slip of the finger is recognised, a stranger is not; at most three names are offered."""
    assert nearest("btach", ["batch", "group"]) == "; did you mean 'batch'?"
    assert nearest("zzz", ["batch", "group"]) == ""
    assert nearest("aaaa", ["aaab", "aaac", "aaad", "aaae"]).count("aaa") == 3


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        ("a\nb\r\nc\u2028d", "a b c d"),
        ("\x1b[2Jgone\x07", r"\x1b[2Jgone\x07"),
        ("right\u202eleft\udcff", r"right\u202eleft\udcff"),
        ("Bäume | 鳥 'x'", "Bäume | 鳥 'x'"),
    ],
)
def test_an_error_is_one_line_that_no_terminal_obeys(problem: str, said: str) -> None:
    """Line ends become spaces; control characters and marks that turn text around are spelt out; the rest stays."""
    assert str(HarnessError(problem)) == said


@pytest.mark.parametrize("name", ["x" * 5000, "a b " * 2000, "é" * 401, "/f" * 2000])
@pytest.mark.parametrize("around", ["no experiment {!r}; there are 'a', 'b'", "`{}` is not a field", "(got {!r})"])
def test_what_is_longer_than_any_name_is_repeated_by_its_ends_alone(name: str, around: str) -> None:
    """EXP, RUN, VARIANTS, SET and DATA are echoed by refusals; a paste of a whole file is not."""
    said = str(HarnessError(around.format(name)))
    assert len(said) < 200
    assert name[:90] in said
    assert name[-25:].strip() in said
    before, after = around.split("{}" if "{}" in around else "{!r}")
    assert said.startswith(before)
    assert said.endswith(after)


@pytest.mark.parametrize(
    "whole",
    [
        "'" + "p/" * 190 + "' is not a folder",
        "many words " * 100,
        "the runs' records differ; " + "it's said " * 40 + "of the other's",
        'go on with ALLOW="' + "environment.torch " * 30 + '"',
    ],
)
def test_a_long_message_of_short_names_is_whole(whole: str) -> None:
    """Apostrophes are no quotes, and what is to be typed stays as it must be typed."""
    assert str(HarnessError(whole)) == whole


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left", "/runs"), "No space left: /runs (free or mend it, then run again)"),
        (OSError(28, "No space left"), "No space left (free or mend it, then run again)"),
        (
            FileExistsError(17, "File exists", "/runs"),
            "something else is in its place: /runs; move it away, then run again",
        ),
        (OSError("odd\nthing"), "odd thing (free or mend it, then run again)"),
        (
            BrokenPipeError(32, "Broken"),
            "what reads this command's output has ended; the same command goes on from here",
        ),
    ],
)
def test_what_the_system_refuses_is_one_line(error: OSError, said: str) -> None:
    """A file is named where the system names one; a reader that left, such as head, is no fault to mend."""
    assert refused_by_system(error) == said
