"""Parse the command lines of `harness` and `reports`: options, and the values that several commands take."""

import argparse
from typing import Any, NoReturn

from harness.values import SpecError


class Parser(argparse.ArgumentParser):
    """argparse's, but a mistake is one SpecError, and an option has to be written out: Y=1 is not YES=1."""

    def __init__(self, **settings: Any):
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise SpecError(f"{message} (see: make help)")


def whole_number(text: str, name: str) -> int | None:
    """Parse an integer option; None if it was not given.

    Args:
        name: the option's name for the message.

    Raises:
        SpecError: the text is not a whole number below a billion.
    """
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise SpecError(f"{name} must be a whole number below a billion; got {text!r}")
    return int(text)


def port(text: str, default: int) -> int:
    """Parse PORT=, the port on which a server listens.

    Raises:
        SpecError: the text is not a port number.
    """
    given = whole_number(text, "PORT")
    if given is not None and not 1 <= given <= 65535:
        raise SpecError(f"PORT must be 1..65535; got {given}")
    return default if given is None else given


def seeds(text: str) -> int | tuple[int, ...] | None:
    """Parse SEEDS=: a number of seeds ("5") or a list of seeds ("0,1,7"); None if it was not given.

    Raises:
        SpecError: the text is neither.
    """
    try:
        if "," not in text:
            return whole_number(text, "SEEDS")
        found = [whole_number(part.strip(), "SEEDS") for part in text.split(",") if part.strip()]
    except SpecError as error:
        raise SpecError(
            f"SEEDS must be how many, as SEEDS=5, or which, as SEEDS=0,1,7, in numbers below a billion; got {text!r}"
        ) from error
    return tuple(seed for seed in found if seed is not None)


def variants(text: str) -> list[str]:
    """Parse VARIANTS=, names separated by commas; empty if it was not given.

    Raises:
        SpecError: there is no name between the commas.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if text and not names:
        raise SpecError(f"VARIANTS must be names separated by commas; got {text!r}")
    return names


def figures(text: str) -> str:
    """Parse FIGURES=, a second file format for a report's figures; "" if it was not given.

    Raises:
        SpecError: the text is neither pdf nor svg.
    """
    if text not in ("", "pdf", "svg"):
        raise SpecError(f"FIGURES must be pdf, svg or left out; got {text!r}")
    return text


def switch(text: str, name: str) -> bool:
    """Parse an option that is 1 or left out.

    Args:
        name: the option's name for the message.

    Raises:
        SpecError: the text is neither.
    """
    if text not in ("", "1"):
        raise SpecError(f"{name} must be 1 or left out; got {text!r}")
    return text == "1"
