"""A Ray cluster of two nodes on this machine; kills or adds the second one when it is told to."""

from __future__ import annotations

import os
import sys

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
from ray.cluster_utils import Cluster

# What nobody asks for here would take seconds to start: the dashboard, the autoscaler, the collector of logs.
HEAD = {"num_cpus": 1, "include_dashboard": False, "no_monitor": True, "include_log_monitor": False}
cluster = Cluster(initialize_head=True, head_node_args=HEAD)
second = cluster.add_node(num_cpus=1)
print(cluster.address, flush=True)
for line in sys.stdin:
    if line.strip() == "kill":
        cluster.remove_node(second, allow_graceful=False)
    elif line.strip() == "add":
        second = cluster.add_node(num_cpus=1)
    print(line.strip(), flush=True)
cluster.shutdown()
