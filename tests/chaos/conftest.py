"""What the sections' tests share: one launcher, on a disk that can be made to fail, and one set of projects."""

from collections.abc import Iterator

import pytest

from tests.chaos import disk
from tests.chaos.attempts import Launcher
from tests.chaos.tiny import Projects


@pytest.fixture(scope="session")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Projects]:
    folder = tmp_path_factory.mktemp("chaos")
    with Launcher(disk.build(folder), draw=False) as launch:
        yield Projects(folder, launch)
