"""Run by the resume tests in a new process: restore a checkpoint, train to the end, print the hash."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from small_runs import make_run, small_backbone, small_task

if __name__ == "__main__":
    cache, checkpoint, seed, changes, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    run = make_run(
        small_task(Path(cache)), seed=int(seed), backbone=small_backbone(dropout=0.1), **json.loads(changes)
    )
    resumed = run.restore(Path(checkpoint))
    results = [result.model_dump() for result in run.epochs()]
    run_hash = run.weights_sha256()
    run.load_best()
    print(
        json.dumps(
            {
                "from": resumed.epoch,
                "identical": resumed.identical,
                "differences": resumed.differences,
                "sha256": run_hash,
                "best_sha256": run.weights_sha256(),
                "losses": [result["train_loss"] for result in results],
            }
        )
    )
