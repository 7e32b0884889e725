"""Draws the house from the code's own imports: rooms on floors, each above all that it imports. `make house`.

A room is a package or module directly below `harness/`, or one of the other top-level packages.
"""

import sys
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("experiments", "reports", "harness", "models")


def rooms() -> dict[str, set[str]]:
    """Room → the rooms that it imports."""
    graph = grimp.build_graph(*PACKAGES)
    found = {room: set[str]() for room in (*graph.find_children("harness"), "experiments", "reports", "models")}
    for module in graph.modules:
        for other in graph.find_modules_directly_imported_by(module):
            here, there = _room(module, found), _room(other, found)
            if here and there and here != there:
                found[here].add(there)
    return found


def _room(module: str, found: dict[str, set[str]]) -> str | None:
    parts = module.split(".")
    room = ".".join(parts[:2]) if parts[0] == "harness" else parts[0]
    return room if room in found else None


def floors(imports: dict[str, set[str]]) -> list[list[str]]:
    """Rooms from the ground up: each floor imports from lower ones alone.

    Raises:
        ValueError: rooms that import each other in a circle.
    """
    left, built = {room: set(others) for room, others in imports.items()}, list[list[str]]()
    while left:
        floor = sorted(room for room, others in left.items() if not others & left.keys())
        if not floor:
            raise ValueError(f"these rooms import each other in a circle: {', '.join(sorted(left))}")
        built.append(floor)
        left = {room: others for room, others in left.items() if room not in floor}
    return built


def lines(room: str) -> int:
    """Lines of code in a room."""
    place = ROOT / room.replace(".", "/")
    files = place.rglob("*.py") if place.is_dir() else [place.with_suffix(".py")]
    return sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)


def main() -> int:
    """Print the house from the top floor down; 1 if there is a circle."""
    imports = rooms()
    try:
        built = floors(imports)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for number, floor in reversed(list(enumerate(built, 1))):
        for room in floor:
            below = ", ".join(sorted(other.removeprefix("harness.") for other in imports[room]))
            print(f"floor {number}  {room:<22} {lines(room):>5} lines  → {below or '–'}")
    print(f"{len(imports)} rooms on {len(built)} floors, {sum(map(len, imports.values()))} arrows, no circle")
    return 0


if __name__ == "__main__":
    sys.exit(main())
