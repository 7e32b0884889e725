"""What a run's test logits are judged by. Each file here registers its metrics, and is found by itself.

A metric is a function of logits (N, C) and targets (N,) under `@register`, in NumPy alone: it is computed from the
logits that every run keeps, so a new one applies to runs made before it. `test_<its name>` may then be an experiment's
primary metric, and every report has it in its table of metrics.
"""

from harness.evidence.metrics.registry import (
    BROKEN,
    VALIDATION,
    Metric,
    check_primary,
    every,
    import_all,
    of_primary,
    primary_names,
    register,
)

__all__ = ["BROKEN", "VALIDATION", "Metric", "check_primary", "every", "of_primary", "primary_names", "register"]

import_all()
