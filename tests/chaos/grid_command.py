"""`python -m tests.chaos.grid_command ROOT …`: the product's command line in another folder, its figures left out.

They take longer to draw than these networks to train. Workers import `make` from here.
"""

import os
import sys
from pathlib import Path
from typing import Any

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"


def make(payload: str, **local: Any) -> str:
    """What a worker does, with checkpoints a tenth of a second apart."""
    from harness.artifacts import write
    from harness.execution import run
    from harness.execution.engines import task
    from tests.chaos.trials import write_little

    write.write_artifacts = write_little
    run.CHECKPOINT_SECONDS = 0.1
    return task.make(payload, **local)


if __name__ == "__main__":
    from harness import __main__ as command_line
    from harness.execution import grid
    from tests.chaos import grid_command

    command_line.ROOT = Path(sys.argv[1])
    grid.make = grid_command.make
    sys.exit(command_line.main(sys.argv[2:]))
