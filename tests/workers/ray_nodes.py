"""A Ray cluster of two nodes on this machine; kills or adds the second one when it is told to."""

from __future__ import annotations

import os
import sys

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
second = cluster.add_node(num_cpus=1)
print(cluster.address, flush=True)
for line in sys.stdin:
    if line.strip() == "kill":
        cluster.remove_node(second, allow_graceful=False)
    elif line.strip() == "add":
        second = cluster.add_node(num_cpus=1)
    print(line.strip(), flush=True)
cluster.shutdown()
