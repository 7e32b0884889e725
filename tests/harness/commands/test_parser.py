"""Values of the command line, and what is no value."""

import pytest

from harness.commands.parser import Parser, figures, seeds, switch, variants, whole_number
from harness.values import SpecError


def test_whole_numbers() -> None:
    """Digits and nothing else: no sign, no space, no other script's digits; empty means not given."""
    assert whole_number("", "SEEDS") is None
    assert whole_number("007", "SEEDS") == 7
    for text in ("-1", "+1", " 1", "1.0", "1e3", "٣", "²", "9" * 5000):
        with pytest.raises(SpecError, match=r"^SEEDS must be a whole number below a billion; got "):
            whole_number(text, "SEEDS")


def test_seeds_are_a_number_or_a_list() -> None:
    """SEEDS=3 is how many, SEEDS=0,1,7 which."""
    assert [seeds(text) for text in ("", "3", "0,1,7", "5,")] == [None, 3, (0, 1, 7), (5,)]
    with pytest.raises(SpecError, match=r"^SEEDS must be how many, .*; got '0,x'$"):
        seeds("0,x")


def test_variants_are_names_between_commas() -> None:
    assert [variants(text) for text in ("", "a", " a, b,")] == [[], ["a"], ["a", "b"]]
    with pytest.raises(SpecError, match=r"^VARIANTS must be names separated by commas; got ' ,'$"):
        variants(" ,")


def test_a_switch_is_1_or_left_out() -> None:
    assert [switch(text, "YES") for text in ("", "1")] == [False, True]
    with pytest.raises(SpecError, match=r"^YES must be 1 or left out; got 'yes'$"):
        switch("yes", "YES")


def test_figures_are_pdf_or_svg_too() -> None:
    assert [figures(text) for text in ("", "pdf", "svg")] == ["", "pdf", "svg"]
    with pytest.raises(SpecError, match=r"^FIGURES must be pdf, svg or left out; got 'PDF'$"):
        figures("PDF")


def test_an_option_is_written_out() -> None:
    """--y=1 for --yes=1 would delete what somebody only wanted to see."""
    parser = Parser()
    parser.add_subparsers().add_parser("prune").add_argument("--yes", default="")
    assert parser.parse_args(["prune", "--yes=1"]).yes == "1"
    with pytest.raises(SpecError, match=r"^unrecognized arguments: --y=1 \(see: make help\)$"):
        parser.parse_args(["prune", "--y=1"])
