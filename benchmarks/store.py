"""The clip store compared with other formats, and its read rate as a function of size.

`formats`: bytes per clip, writing, opening, and random access of 256 clips of the paper's size. All formats return the
same bytes, which is checked before timing. Lance and WebDataset are measured if they are installed
(`pip install -e .[bench]`).

`growth`: stores of 1,000 to 200,000 clips of 2 KB, and of as many large ones as fit into 5 GB of page cache, compared
with the same bytes in two flat files. The first pass opens a store and reads every clip once in random order, including
mapping and page faults; later passes read in random order and in sequence. Rates are clips per CPU second: medians over
rounds that alternate between sizes, so that other load on the machine affects all sizes equally. All files are in the
page cache: the benchmark compares stores, not disks.

    python benchmarks/store.py                          both, about three minutes
    python benchmarks/store.py growth --chart docs/images/store.png
    python benchmarks/store.py formats --clips 64
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tools.stores import (
    CLIPS_PER_SHARD,
    ClipStore,
    FlatFiles,
    UncheckedClipStore,
    get_installed_formats,
    make_large_clips,
    make_random_clips,
)

from synesthesia.data.store import Store


class Payload(NamedTuple):
    """Clips of one size, the sizes of their stores, and the clips per turn (about 20 ms)."""

    name: str
    shape: tuple[int, int, int]  # samples, frames, bytes per frame
    store_sizes: tuple[int, ...]
    clips_per_turn: int


PAYLOADS = (
    Payload("2 KB", (500, 1, 1000), (1000, 5000, 20000, 50000, 200000), 2000),
    Payload("100 KB", (20000, 10, 6000), (1000, 4000, 16000), 200),
    Payload("700 KB", (160000, 10, 38000), (1000, 3000), 30),
)
KINDS = {ClipStore: "clip store, checked", UncheckedClipStore: "clip store, unchecked", FlatFiles: "flat files"}
COLORS = {ClipStore: "tab:red", UncheckedClipStore: "tab:blue", FlatFiles: "0.45"}
PATTERNS = ("first read of each clip", "random order", "sequential")
Rates = dict[tuple[str, type], np.ndarray]  # by pattern and store: (rounds, sizes), clips per CPU second


def measure_rates(reads: list[Callable[[int], object]], orders: list[np.ndarray], rounds: int = 5) -> list[float]:
    """Return clips per CPU second in random order for each reader: the best of several turns of 0.3 s."""
    best, num_read = [0.0] * len(reads), [0] * len(reads)
    for _ in range(rounds):
        for n, (read, order) in enumerate(zip(reads, orders, strict=True)):
            count, start = 0, time.process_time()
            while time.process_time() - start < 0.3:
                for index in order[(num_read[n] + count) % len(order) :][:50]:
                    read(int(index))
                    count += 1
            best[n] = max(best[n], count / (time.process_time() - start))
            num_read[n] += count
    return best


def compare_formats(count: int, tmp: Path) -> None:
    """Print the table of formats."""
    clips, kinds = list(make_large_clips(count)), get_installed_formats()
    frame_sizes = [len(data) for _, _, jpegs in clips[:4] for data in jpegs]
    print(
        f"{count} clips of 160,000 samples and ten JPEGs of {min(frame_sizes):,} to {max(frame_sizes):,} bytes, "
        "page cache warm\n"
    )
    print("| format | bytes per clip | write, clips/s | open, ms | random access, clips/s | ratio |")
    print("|---|---|---|---|---|---|")
    order = np.random.default_rng(0).permutation(count)
    rows, readers = [], []
    for kind in kinds:
        folder = tmp / kind.__name__
        start = time.perf_counter()
        kind.write(folder, clips)
        write_rate = count / (time.perf_counter() - start)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / count
        start = time.perf_counter()
        opened = kind(folder)
        rows.append((kind.name, size, write_rate, 1000 * (time.perf_counter() - start)))
        readers.append(opened.read)
        for index in order:  # also brings every page into the cache
            audio, jpegs = opened.read(int(index))
            assert (audio * 32768 == clips[index][1]).all() and jpegs == clips[index][2], kind.name
    rates = measure_rates(readers, [order] * len(readers))
    for (name, size, write_rate, open_ms), rate in zip(rows, rates, strict=True):
        print(f"| {name} | {size:,.0f} | {write_rate:,.0f} | {open_ms:.1f} | {rate:,.0f} | x {rate / rates[0]:.2f} |")
    clip_store = Store(tmp / ClipStore.__name__)
    (decode_rate,) = measure_rates([lambda index: clip_store.frames(*divmod(index, CLIPS_PER_SHARD))], [order], 3)
    print(f"\nFor comparison: one process decodes the ten JPEGs of {decode_rate:,.0f} clips per second.\n")


def measure_growth(payload: Payload, rounds: int, tmp: Path) -> Rates:
    """Read stores of every size in alternation."""
    folders = {}
    for kind in (FlatFiles, ClipStore):
        for size in payload.store_sizes:
            folders[kind, size] = tmp / f"{kind.__name__}-{size}"
            kind.write(folders[kind, size], make_random_clips(size, *payload.shape))
    folders |= {(UncheckedClipStore, size): folders[ClipStore, size] for size in payload.store_sizes}
    random_orders = {size: np.random.default_rng(size).permutation(size) for size in payload.store_sizes}
    measured: dict[tuple[str, type], list] = {(pattern, kind): [] for pattern in PATTERNS for kind in KINDS}
    for _ in range(rounds // 10):
        for kind in KINDS:
            rates = [read_once(kind, folders[kind, size], random_orders[size]) for size in payload.store_sizes]
            measured[PATTERNS[0], kind].append(rates)
    orders = {PATTERNS[1]: random_orders, PATTERNS[2]: {size: np.arange(size) for size in payload.store_sizes}}
    readers = {key: kind(folder).read for (kind, _), (key, folder) in zip(folders, folders.items(), strict=True)}
    turns = {
        (pattern, kind, size): read_in_turns(readers[kind, size], orders[pattern][size], payload.clips_per_turn)
        for pattern in PATTERNS[1:] for kind in KINDS for size in payload.store_sizes
    }  # fmt: skip
    for turn in turns.values():
        next(turn)  # touches every page
    for _ in range(rounds):
        for pattern in PATTERNS[1:]:
            for kind in KINDS:
                measured[pattern, kind].append([next(turns[pattern, kind, size]) for size in payload.store_sizes])
    return {key: np.array(value) for key, value in measured.items()}


def read_once(kind: type, folder: Path, order: np.ndarray) -> float:
    """Open a store and read each clip once; return clips per CPU second."""
    indices, start = order.tolist(), time.process_time()
    opened = kind(folder)
    for index in indices:
        opened.read(index)
    return len(indices) / (time.process_time() - start)


def read_in_turns(read: Callable[[int], object], order: np.ndarray, clips_per_turn: int) -> Iterator[float]:
    """Read all of `order` once and yield 0; then yield clips per CPU second of each turn, cycling through `order`."""
    for index in order.tolist():
        read(index)
    yield 0.0
    position = 0
    while True:
        indices = np.take(order, range(position, position + clips_per_turn), mode="wrap").tolist()
        start = time.process_time()
        for index in indices:
            read(index)
        yield clips_per_turn / (time.process_time() - start)
        position += clips_per_turn


def print_growth(payload: Payload, rates: Rates) -> None:
    """Print the table of one payload, for docs/how-to/scale-out.md."""
    sizes = " | ".join(f"{n:,}" for n in payload.store_sizes)
    print(f"| clips of {payload.name} | {sizes} | last / first | quartiles |")
    print("|---" * (len(payload.store_sizes) + 3) + "|")
    for pattern in PATTERNS:
        for kind, name in KINDS.items():
            lower, median, upper = np.percentile(rates[pattern, kind], [25, 50, 75], axis=0)
            cells = " | ".join(f"{value:,.0f}" for value in median)
            ratio = np.median(rates[pattern, kind][:, -1] / rates[pattern, kind][:, 0])
            print(f"| {pattern}: {name} | {cells} | {ratio:.2f} | ± {max((upper - lower) / median / 2):.0%} |")
    print(flush=True)


def plot_growth(results: list[tuple[Payload, Rates]], path: Path) -> None:
    """Plot the rate in random order against the size, one panel per payload."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, len(results), width_ratios=[len(p.store_sizes) + 1 for p, _ in results], squeeze=False)[
        0
    ]
    for axes, (payload, rates) in zip(panels, results, strict=True):
        for kind, name in KINDS.items():
            lower, median, upper = np.percentile(rates[PATTERNS[1], kind], [25, 50, 75], axis=0)
            axes.plot(payload.store_sizes, median, marker="o", markersize=4, color=COLORS[kind], label=name)
            axes.fill_between(payload.store_sizes, lower, upper, color=COLORS[kind], alpha=0.2, linewidth=0)
        axes.set_title(f"clips of {payload.name}", fontsize=10)
        axes.set(xscale="log", xlabel="clips in the store")
        axes.set_xticks(payload.store_sizes, [f"{n // 1000}k" for n in payload.store_sizes], minor=False)
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.set_ylim(0, None)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("clips per CPU second\nin random order")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, metadata={"Software": None})
    path.write_bytes(buffer.getvalue())
    print(f"plotted: {path}")


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=["formats", "growth", "both"], default="both")
    parser.add_argument(
        "--clips", type=int, default=256, help="clips in the table of formats (default: 256, 0.2 GB per format)"
    )
    parser.add_argument("--rounds", type=int, default=30, help="rounds of the growth tables")
    parser.add_argument("--chart", type=Path, help="file for the plot of the growth")
    args = parser.parse_args()
    if args.part != "growth":
        with tempfile.TemporaryDirectory() as tmp:
            compare_formats(args.clips, Path(tmp))
    results = []
    for payload in PAYLOADS if args.part != "formats" else []:
        with tempfile.TemporaryDirectory() as tmp:
            results.append((payload, measure_growth(payload, args.rounds, Path(tmp))))
        print_growth(*results[-1])
    if args.chart and results:
        plot_growth(results, args.chart)


if __name__ == "__main__":
    main()
