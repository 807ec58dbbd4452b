"""`make fuzz`: each parser in turn, for some minutes, with other examples each time; ends with 1 where a rule is broken.

    python tests/cases/fuzz.py --list
    python tests/cases/fuzz.py --minutes 10 --only csv npz

The last lines say how many examples of each kind were used or read, how many refused in words, and the seconds
of a processor that the slowest one took.
"""

from __future__ import annotations

import argparse
import functools
import random
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
import fuzz_arrays as arrays
import fuzz_folders as folders
import fuzz_judging as judging
import fuzz_lists as lists
import fuzz_shards as shards
import fuzz_tables as tables
import fuzz_texts as texts

SLICE = 100
"""Examples of one seed: a kind's turn."""
Target = tuple[Callable[..., None], tuple[st.SearchStrategy[Any], ...]]
TARGETS: dict[str, Target] = {
    "folder": (
        folders.a_folder,
        (judging.TAME, folders.FILES, folders.REGULAR, folders.LINKS, folders.FOLDER_OPTIONS),
    ),
    "csv": (tables.a_table, (judging.TAME, tables.TABLES)),
    "npz": (arrays.an_array, (judging.TAME, arrays.ARRAYS)),
    "shards": (shards.some_shards, (judging.TAME, shards.SHARDS)),
    "exclude": (lists.a_list, (judging.TAME, lists.LISTS)),
    "groups": (lists.some_groups, (judging.TAME, lists.GROUPS)),
    **{kind: (functools.partial(texts.a_text, kind), (texts.WHICH, texts.CONTENT)) for kind in texts.READERS},
}
"""What is tried for each kind, and where its examples come from."""


def main() -> int:
    """Take turns until the time is up, and say how many examples there were."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--only", nargs="+", choices=TARGETS, default=list(TARGETS), metavar="KIND")
    parser.add_argument("--list", action="store_true", help="say the kinds, and run nothing")
    asked = parser.parse_args()
    if asked.list:
        print("\n".join(TARGETS))
        return 0
    print(f"seed {asked.seed}", flush=True)
    warnings.simplefilter("ignore")
    options = settings(
        max_examples=SLICE,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    end, turn, failed = time.monotonic() + asked.minutes * 60, asked.seed, set()
    slowest = dict.fromkeys(asked.only, 0.0)

    def timed(name: str, check: Callable[..., None]) -> Callable[..., None]:
        def run(made: tuple[Any, ...]) -> None:
            began = time.process_time()
            check(*made)
            slowest[name] = max(slowest[name], time.process_time() - began)

        return run

    while time.monotonic() < end and len(failed) < len(asked.only):
        for name in asked.only:
            if name in failed or time.monotonic() >= end:
                continue
            check, strategies = TARGETS[name]
            try:
                seed(turn)(options(given(st.tuples(*strategies))(timed(name, check))))()
            except Exception:
                traceback.print_exc()
                failed.add(name)
            turn += 1
    for what, count in sorted(judging.SEEN.items()):
        print(f"{what} {count:,}")
    for what, count in judging.WHY.most_common(12):
        print(f"  {count} {what}")
    print(f"slowest: {', '.join(f'{name} {seconds:.2f} s' for name, seconds in slowest.items())}")
    print(f"broke a rule: {', '.join(sorted(failed)) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
