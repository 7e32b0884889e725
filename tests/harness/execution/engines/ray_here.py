"""A Ray cluster of several nodes with one CPU each, all of them processes of this machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0"}


@contextmanager
def ray_nodes(count: int, **head: Any) -> Iterator[Any]:
    """`ray.cluster_utils.Cluster`; its `address` is for RAY_ADDRESS. Ended when the block is left.

    Args:
        head: more for its head node.
    """
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **head})
    try:
        for _ in range(count - 1):
            cluster.add_node(num_cpus=1)
        yield cluster
    finally:
        cluster.shutdown()
