"""Change a recipe's fields by their dotted names (`optimizer.lr`, `model.norm`), and parse SET=.

Variants of an experiment and SET= on the command line both go through `apply`, so both are validated like an experiment
file: bad input raises `SpecError`, one line with the field, the rule, the value and the next step.
"""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from harness.plans.hyperparameters import LRFinder, Optimizer, Schedule, kinds
from harness.plans.spec import Circumstances, Recipe
from harness.values import SpecError, Values, nearest

_KINDS = {"optimizer": kinds(Optimizer), "schedule": kinds(Schedule)}
_UNION_ARM = re.compile(r"(bool|int|float|str|none|constrained-\w+|literal\[.*|tuple\[.*)")
"""Parts of an error's path that pydantic adds to say which member of a union it tried."""
_IN_WORDS = {
    r"^(auto|cpu|mps|cuda(:\d+)?)$": "be auto, cpu, mps, cuda or cuda:<number>",
    r"^[a-z0-9][a-z0-9_]{0,63}$": "be small letters, digits and underscores, 64 at most",
    r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$": "be a field's dotted name, as optimizer.lr",
}
"""Pattern of a field → its rule in words."""
_VARIABLES = ("seeds", "variants", "workers", "max_seeds", "until")
"""Set by variables of the command line, not by SET."""
_SHOWN = 100
"""At most this many characters of a refused value are repeated in a message."""


def apply(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """The recipe with some fields replaced, e.g. {"optimizer.lr": 0.1, "model.norm": "group"}.

    Another optimizer.name or schedule.name keeps the values of fields that both kinds have; another model.name starts
    from that model's defaults; another data.name resets title, image_size, mean and std.

    Args:
        changes: dotted field → new value.

    Raises:
        SpecError: an unknown field, or a value that breaks its field's rule.
    """
    tree = recipe.model_dump(mode="json")
    # `optimizer` before `optimizer.lr`, and `optimizer.name` before its siblings, because the former reset the latter
    for dotted in sorted(changes, key=lambda dotted: (dotted.count("."), not dotted.endswith(".name"))):
        _set(tree, dotted, plain(dotted, changes[dotted]))
    try:
        return Recipe.model_validate_json(json.dumps(tree))
    except ValidationError as error:
        raise SpecError(explain(error)) from error


def around(circumstances: Circumstances, changes: Mapping[str, Any]) -> Circumstances:
    """The circumstances with some fields replaced.

    Raises:
        SpecError: a value breaks its field's rule.
    """
    tree = circumstances.model_dump(mode="json") | {name: plain(name, value) for name, value in changes.items()}
    try:
        return Circumstances.model_validate_json(json.dumps(tree))
    except ValidationError as error:
        raise SpecError(explain(error)) from error


def parse(text: str) -> dict[str, Any]:
    """Parse SET=: `"epochs=2 optimizer.lr=1e-3 model.norm=group"` becomes {dotted field: value}.

    Values are read as JSON; what is not JSON is taken as text.

    Raises:
        SpecError: a part is not of the form field=value, or a field is given twice.
    """
    try:
        parts = shlex.split(text)
    except ValueError as error:
        raise SpecError(f"SET cannot be read: {error}; got {text!r}") from error
    words = {"True": True, "False": False, "None": None}
    found: dict[str, Any] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals or not name:
            raise SpecError(f"SET must be field=value, separated by spaces; got {part!r}")
        if re.search(r",\s*[a-z_.]+=", value):
            raise SpecError(f"SET must be field=value, separated by spaces, not commas; got {part!r}")
        if name in found:
            raise SpecError(f"SET gives `{name}` twice; keep one")
        try:
            found[name] = words[value] if value in words else json.loads(value)
        except (ValueError, RecursionError):  # not JSON, or nested too deeply: text, checked by the field's rule
            found[name] = value
    return found


def explain(error: ValidationError) -> str:
    """Describe a pydantic error in one line: "`epochs` must be greater than or equal to 1; got 0"."""
    errors = error.errors(include_url=False)
    first, path = errors[0], _path(errors[0])
    dotted = ".".join(path)
    known = _KINDS.get(path[-1], {}) if path else {}
    match first["type"]:
        case "extra_forbidden":
            return f"`{dotted}` is not a field{_near_field(error.title, first['loc'])}"
        case "missing":
            return f"`{dotted}` must be given"
        case "union_tag_not_found":
            return f"`{dotted}.name` must be given, one of {', '.join(known)}"
        case "union_tag_invalid":
            tag = str(first.get("ctx", {})["tag"])
            return f"`{dotted}.name` must be one of {', '.join(known)}; got {tag!r}{nearest(tag, known)}"
        case "model_attributes_type":
            rule = f"must be one of {', '.join(kind.__name__ for kind in known.values())}"
        case _:  # each member of a union adds its own rule
            rules = dict.fromkeys(_rule(each) for each in errors if _path(each) == path)
            rule = " or ".join(rule.removeprefix("must be ") if n else rule for n, rule in enumerate(rules))
    whole = isinstance(first["input"], BaseModel) or (first["type"] == "value_error" and not dotted)
    rule, hint, near = rule.partition("; did you mean")
    got = "" if "; got" in rule or whole or isinstance(first["input"], dict) else f"; got {_short(first['input'])}"
    colon = ":" if first["type"] == "value_error" and isinstance(first["input"], dict | BaseModel) else ""
    return (f"`{dotted}`{colon} " if dotted else "") + f"{rule}{got}{hint}{near}"


def _path(error: ErrorDetails) -> list[str]:
    """The path of the field at fault, without pydantic's additions: union tags, union members and what follows them."""
    path: list[str] = []
    for part in map(str, error["loc"]):
        if path and (_UNION_ARM.fullmatch(part) or part == "[key]"):
            break
        if not (path and part in _KINDS.get(path[-1], {})):
            path.append(part)
    return path


def _rule(error: ErrorDetails) -> str:
    rule = re.sub(r"^\w+ should", "must", error["msg"].removeprefix("Value error, "))
    if error["type"] == "string_pattern_mismatch":
        return f"must {_IN_WORDS.get(error.get('ctx', {})['pattern'], rule.removeprefix('must '))}"
    if error["type"] == "tuple_type" and "array" not in rule:  # an array is JSON's, of the command line
        return f"must be a tuple, as {_as_tuple(error['input'])}"
    return rule.removesuffix(" after validation, not 0").replace("a valid array", "a list, as [] where there is none")


def _as_tuple(value: Any) -> str:
    """What was given, as the tuple that was meant."""
    if isinstance(value, BaseModel):
        return f"({type(value).__name__}(...),)"
    return _short(tuple(value) if isinstance(value, list | set | range) else (value,))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _near_field(title: str, location: Sequence[str | int]) -> str:
    """Fields with a similar name, or else all fields of the value that has no such field.

    Args:
        title: name of the class that was being validated.
        location: path to the unknown field.
    """
    tags: dict[Any, type[Values]] = {tag: kind for each in _KINDS.values() for tag, kind in each.items()}
    owner = {kind.__name__: kind for kind in Values.__subclasses__()}.get(title)
    for part in location[:-1]:
        field = owner.model_fields.get(str(part)) if owner else None
        arms = (field.annotation, *get_args(field.annotation)) if field else ()
        owner = tags.get(part) or next((a for a in arms if isinstance(a, type) and issubclass(a, Values)), owner)
    fields = list(owner.model_fields) if owner else []
    return nearest(str(location[-1]), fields) or (f"; its fields: {', '.join(fields)}" if fields else "")


def plain(dotted: str, value: Any) -> Any:
    """Convert a value to plain JSON types: a `Transform` or other frozen value becomes a dict, a tuple a list.

    Args:
        dotted: the name of the field, for the message.

    Raises:
        SpecError: JSON cannot hold the value.
    """

    def fields(value: object) -> dict[str, Any]:
        if isinstance(value, BaseModel):
            return value.model_dump(mode="json")
        raise TypeError(f"{type(value).__name__} is not a value of a recipe")

    try:
        text = json.dumps(value, default=fields, ensure_ascii=False)
        text.encode()
        return json.loads(text)
    except UnicodeEncodeError as error:
        raise SpecError(f"`{dotted}` must be in UTF-8; got {_short(value)}: rename what it names") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise SpecError(f"`{dotted}` must be a number, text, true, false, null or a list of these: {error}") from error


def _set(tree: dict[str, Any], dotted: str, value: Any) -> None:
    """Set one dotted field of a recipe, given as nested dicts, in place."""
    *parents, last = dotted.split(".")
    if parents == ["lr_finder"] and tree["lr_finder"] is None:
        tree["lr_finder"] = LRFinder().model_dump(mode="json")
    node: Any = tree
    for depth, part in enumerate(parents):
        if part not in node:
            known = [".".join([*parents[:depth], name]) for name in node]
            raise SpecError(f"`{dotted}` is not a field{nearest(part, node) or '; its fields: ' + ', '.join(known)}")
        node = node[part]
        if not isinstance(node, dict):
            whole = ".".join(parents[: depth + 1])
            raise SpecError(f"`{dotted}` is not a field: `{whole}` has no parts; set it whole")
    if dotted in _VARIABLES:
        raise SpecError(f"`{dotted}` is not a field of the recipe; it is set by {dotted.upper()}=, outside SET")
    if last not in node and parents != ["model"]:  # options of a model are checked against its builder's arguments
        known = [".".join([*parents, name]) for name in node] + ([] if parents else list(Circumstances.model_fields))
        inner = [f"{name}.{last}" for name, part in tree.items() if isinstance(part, dict) and last in part]
        meant = f"; did you mean {' or '.join(map(repr, inner))}?" if inner and not parents else nearest(dotted, known)
        raise SpecError(f"`{dotted}` is not a field{meant or '; its fields: ' + ', '.join(known)}")
    if isinstance(node.get(last), dict) and not isinstance(value, dict | None):
        parts = ", ".join(f"{dotted}.{name}" for name in node[last])
        named = f"; did you mean {dotted}.name={value}?" if isinstance(value, str) and "name" in node[last] else ""
        raise SpecError(f"`{dotted}` must be set by its parts ({parts}); got {_short(value)}{named}")
    if last == "name" and value != node["name"]:
        _rename(node, parents[0], value)
    node[last] = value


def _rename(node: dict[str, Any], part: str, name: Any) -> None:
    """Reset the fields that do not apply after a change of data.name, model.name, optimizer.name or schedule.name."""
    if part == "data":
        node.update(title=None, image_size=None, mean=None, std=None)
    elif part == "model":
        node.clear()
    else:
        kind = _KINDS[part].get(name) if isinstance(name, str) else None
        kept = {field: value for field, value in node.items() if kind and field in kind.model_fields}
        defaults = {n: f.default for n, f in kind.model_fields.items() if not f.is_required()} if kind else {}
        node.clear()
        node.update(defaults | kept)
