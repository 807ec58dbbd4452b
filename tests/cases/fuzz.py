"""`make fuzz`: random folders, tables, arrays and texts for some minutes; ends with 1 at the first that breaks a rule."""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback
import warnings
from pathlib import Path

from hypothesis import HealthCheck, given, seed, settings

sys.path.insert(0, str(Path(__file__).parent))
import fuzz_arrays as arrays
import fuzz_folders as folders
import fuzz_judging as judging
import fuzz_tables as tables
import fuzz_texts as texts

SLICE = 100
"""Examples of one seed: a kind's turn."""


def main() -> int:
    """Take turns until the time is up, and say how many examples there were."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--only", nargs="+", default=["folder", "table", "array", "text"])
    given_ = parser.parse_args()
    print(f"seed {given_.seed}", flush=True)
    warnings.simplefilter("ignore")
    kinds = {
        "folder": (
            folders.a_folder,
            (judging.TAME, folders.FILES, folders.REGULAR, folders.LINKS, folders.FOLDER_OPTIONS),
        ),
        "table": (tables.a_table, (judging.TAME, tables.TABLES)),
        "array": (arrays.an_array, (judging.TAME, arrays.ARRAYS)),
        "text": (texts.a_text, (texts.TEXTS,)),
    }
    kinds = {name: kind for name, kind in kinds.items() if name in given_.only}
    options = settings(
        max_examples=SLICE,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    end, turn, failed = time.monotonic() + given_.minutes * 60, given_.seed, set()
    while time.monotonic() < end and len(failed) < len(kinds):
        for name, (check, strategies) in kinds.items():
            if name in failed or time.monotonic() >= end:
                continue
            try:
                seed(turn)(options(given(*strategies)(check)))()
            except Exception:
                traceback.print_exc()
                failed.add(name)
            turn += 1
    for what, count in sorted(judging.SEEN.items()):
        print(f"{what} {count:,}")
    for what, count in judging.WHY.most_common(12):
        print(f"  {count} {what}")
    print(f"broke a rule: {', '.join(sorted(failed)) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
