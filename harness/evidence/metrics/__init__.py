"""Metrics of test logits. Every file in this folder is imported automatically and registers its metrics.

A metric is a NumPy function of logits, shape (N, C), and targets, shape (N,), decorated with `@register`. It is
computed from the logits that every run saves, so a new metric also applies to earlier runs. `test_<name>` can be an
experiment's primary metric, and the metric appears in every report's table of metrics.
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
