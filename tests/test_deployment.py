"""The files of docs/deployment can be read by what they are for, and name what there is."""

import argparse
import configparser
import re
from pathlib import Path

import pytest
import yaml

from harness.commands import server

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "deployment"
UNITS = sorted(path.name for path in FOLDER.glob("*.service"))


def variables() -> set[str]:
    """What `make server` reads."""
    parser = argparse.ArgumentParser()
    server.options(parser)
    return {name.upper() for name in vars(parser.parse_args([]))}


def test_the_compose_file_starts_what_it_says() -> None:
    """PostgreSQL, the server, Ray's head and workers; only the server is published; no password stands in it."""
    text = (FOLDER / "compose.yaml").read_text()
    services = yaml.safe_load(text)["services"]
    assert {"postgres", "mlflow", "ray-head", "ray-worker"} <= set(services)
    assert [name for name, service in services.items() if "ports" in service] == ["mlflow"]
    assert {"BACKEND", "ARTIFACTS", "AUTH", "HOSTS"} <= variables() & set(services["mlflow"]["environment"])
    secrets = re.findall(r"\w*PASSWORD: (.*)", text)
    assert len(secrets) == 4
    assert all(value.startswith("${") for value in secrets)


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_one(name: str) -> None:
    """Its sections and its command; it runs as a user of its own."""
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # pyright: ignore[reportAttributeAccessIssue]
    unit.read(FOLDER / name)
    assert unit.sections() == ["Unit", "Service", "Install"]
    assert unit["Service"]["User"] == "harness"
    assert re.match(r"/srv/harness/\.venv/bin/(python -m harness server|ray start )", unit["Service"]["ExecStart"])


def test_the_readme_names_every_file_and_variable() -> None:
    text = (FOLDER / "README.md").read_text()
    for name in (*UNITS, "compose.yaml", *variables()):
        assert name in text, name
