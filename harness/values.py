"""What every frozen value of the harness shares: validated once, to and from JSON without loss, named by a digest; and
the one-line errors with which a value is refused.
"""

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Scalar = bool | int | float | str
Argument = Scalar | None | tuple[Scalar, ...]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]{0,63}$")]
Dotted = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$")]
Count = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]


class HarnessError(ValueError):
    """Something a user can put right, said in one line: the field, the rule, the value and what to do next.

    What a terminal would obey instead of showing it is spelt out: values come from files and arguments of any origin.
    """

    def __str__(self) -> str:
        line = " ".join(super().__str__().splitlines())
        return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in line)


class SpecError(HarnessError):
    """A field of an experiment, an override or an option that breaks its rule."""


def first_line(error: BaseException) -> str:
    """What an error says, for a line of ours; the name of its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def in_one_line(error: BaseException) -> str:
    """An error's whole message on one line, or its type's name where it has no message."""
    return " ".join(str(error).split()) or type(error).__name__


def refused_by_system(error: OSError) -> str:
    """What the operating system did not allow, in one line, with the file if it names one, and what to do."""
    if isinstance(error, BrokenPipeError):
        return "what reads this command's output has ended; the same command goes on from here"
    where = f": {error.filename}" if error.filename else ""
    return f"{' '.join((error.strerror or str(error)).split())}{where} (free or mend it, then run again)"


class Values(BaseModel):
    """The base of every frozen value: no unknown fields, no silent conversions, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True)


def digest(values: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits that name plain values: SHA-256 of their canonical JSON."""
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def flatten(values: BaseModel) -> dict[str, Any]:
    """Dotted field → value, for a recipe or any other value; tuples stay whole."""

    def walk(prefix: str, node: Any) -> Iterable[tuple[str, Any]]:
        if isinstance(node, dict):
            for name, child in node.items():
                yield from walk(f"{prefix}.{name}" if prefix else name, child)
        else:
            yield prefix, node

    return dict(walk("", values.model_dump(mode="json")))


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'a' or 'b'?`, or nothing when no known name is close."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
