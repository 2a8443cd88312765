"""Read a whole store and compare every shard with its SHA-256; exit code 1 names the damaged ones.

Examples:
  python -m synesthesia.data.store                      out/curate/store
  python -m synesthesia.data.store /mnt/study/store
"""

from __future__ import annotations

import argparse
import sys

from tqdm import tqdm

from synesthesia.data.store import Store, StoreError


def main(arguments: list[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: Arguments instead of `sys.argv[1:]`.
    """
    parser = argparse.ArgumentParser(
        prog="python -m synesthesia.data.store",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", nargs="?", default="out/curate/store", help="the store (default: %(default)s)")
    folder = parser.parse_args(arguments).folder
    try:
        store = Store(folder)
        size = sum(shard.bytes for shard in store.shards)
        damaged = []
        with tqdm(total=size, unit="B", unit_scale=True, desc="verify") as bar:
            for shard, is_intact in store.check_shards():
                bar.update(shard.bytes)
                if not is_intact:
                    damaged.append(shard.name)
    except (StoreError, OSError) as error:
        sys.exit(f"store: {error}")
    if damaged:
        sys.exit(f"store: {folder}: damaged or missing {', '.join(damaged)}")
    print(f"intact: {len(store)} clips in {len(store.shards)} shards, {size / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
