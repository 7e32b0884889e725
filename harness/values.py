"""The base class of all frozen values (validated, lossless in JSON, named by a digest) and the errors users see."""

import difflib
import hashlib
import json
import re
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


_ECHOED = (re.compile(r"""(?<![\w=])('[^']*'|"[^"]*"|`[^`]*`)(?!\w)"""), re.compile(r"\S+"))
"""Parts of a message that may repeat input: quoted text (except NAME="…", which is a command to type), then words."""
_LONGEST, _HEAD, _TAIL = 400, 100, 30
"""The most characters shown in full, and how many are shown of the start and the end of a longer text."""


class HarnessError(ValueError):
    """A problem that the user can fix, reported in one line: the field, its rule, the value given and the next step.

    Control characters are escaped and overlong values are shortened, because values may come from untrusted files.
    """

    def __str__(self) -> str:
        line = " ".join(super().__str__().splitlines())
        shown = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in line)
        for echoed in _ECHOED:
            shown = echoed.sub(lambda found: _shortened(found[0]), shown)
        return shown


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_HEAD]}…{text[-_TAIL:]}"


class SpecError(HarnessError):
    """A field of an experiment, an override or a command-line option breaks its rule."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its type if the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def in_one_line(error: BaseException) -> str:
    """An error's whole message on one line, or the name of its type if the message is empty."""
    return " ".join(str(error).split()) or type(error).__name__


def require_unicode(what: str, name: str) -> None:
    """Check that a file name is valid UTF-8; records, addresses and tables cannot hold any other.

    Args:
        what: what has the name, for the message.

    Raises:
        SpecError: the name is not valid UTF-8.
    """
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise SpecError(f"{what} must have a name in UTF-8; got {name!r}: rename it") from error


def not_unicode(error: UnicodeEncodeError) -> str:
    """Describe, in one line, a file name that is not valid UTF-8 and was found only when it was to be written."""
    return f"{error.object!r} is not UTF-8, or names a file that is not; rename it and run again"


def refused_by_system(error: OSError) -> str:
    """Describe an OSError in one line, with the file if the error names one, and the next step."""
    if isinstance(error, BrokenPipeError):
        return "what reads this command's output has ended; the same command goes on from here"
    where = f": {error.filename}" if error.filename else ""
    if isinstance(error, FileExistsError | NotADirectoryError):
        return f"something else is in its place{where}; move it away, then run again"
    return f"{' '.join((error.strerror or str(error)).split())}{where} (free or mend it, then run again)"


class Values(BaseModel):
    """Base class of frozen values: unknown fields, implicit type conversions, NaN and infinities are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True)


def digest(values: Mapping[str, Any]) -> str:
    """The first twelve hexadecimal digits of the SHA-256 of the values' canonical JSON."""
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def flatten(values: BaseModel) -> dict[str, Any]:
    """Map each dotted field name, such as `optimizer.lr`, to its value; tuples are not taken apart."""

    def walk(prefix: str, node: Any) -> Iterable[tuple[str, Any]]:
        if isinstance(node, dict):
            for name, child in node.items():
                yield from walk(f"{prefix}.{name}" if prefix else name, child)
        else:
            yield prefix, node

    return dict(walk("", values.model_dump(mode="json")))


def slug(text: str) -> str:
    """The text as part of a file's name: its letters and digits, of any script, in lower case, hyphens for the rest."""
    return re.sub(r"\W+", "-", text.lower()).strip("-") or "unnamed"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'a' or 'b'?`, or an empty string if no known name is similar."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
