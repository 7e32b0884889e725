"""The files of docs/deployment can be read by what they are for, and name what there is."""

import argparse
import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

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
    secrets = re.findall(r"\w*(?:PASSWORD|TOKEN): (.*)", text)
    assert len(secrets) == 5
    assert all(services[name]["environment"]["RAY_AUTH_MODE"] == "token" for name in services if "ray" in name)
    assert all(value.startswith("${") for value in secrets)


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_one(name: str) -> None:
    """Its sections and its command; it runs as a user of its own."""
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # pyright: ignore[reportAttributeAccessIssue] as its documentation says
    unit.read(FOLDER / name)
    assert unit.sections() == ["Unit", "Service", "Install"]
    assert unit["Service"]["User"] == "harness"
    assert re.match(r"/srv/harness/\.venv/bin/(python -m harness server|ray start )", unit["Service"]["ExecStart"])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_nothing_wrong_with_a_unit(name: str, tmp_path: Path) -> None:
    """Neither with its settings nor with its command, where the checkout is at its place."""
    programs = tmp_path / "harness" / ".venv" / "bin"
    programs.mkdir(parents=True)
    for program in ("python", "ray"):
        (programs / program).symlink_to(sys.executable)
    text = (FOLDER / name).read_text().replace("/srv/harness/", f"{tmp_path}/harness/")
    (tmp_path / name).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_compose_file_follows_the_specification() -> None:
    """By models that are made from its published schema; a field that it does not know is an error."""
    models = pytest.importorskip("compose_pydantic.models")
    loaded = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    content = {name: value for name, value in loaded.items() if not name.startswith("x-")}  # extensions are free
    models.ComposeSpecification.model_validate(content)
    content["services"]["mlflow"]["comand"] = "typed wrong"
    with pytest.raises(ValidationError, match="comand"):
        models.ComposeSpecification.model_validate(content)


def test_the_image_is_made_of_what_is_there() -> None:
    """Every file that the Dockerfile copies."""
    copied = re.findall(r"^COPY (.*) \S+$", (FOLDER / "Dockerfile").read_text(), re.MULTILINE)
    assert copied
    for name in " ".join(copied).split():
        assert (FOLDER.parents[1] / name).is_file(), name


def test_the_readme_names_every_file_and_variable() -> None:
    text = (FOLDER / "README.md").read_text()
    for name in (*UNITS, "compose.yaml", *variables()):
        assert name in text, name
