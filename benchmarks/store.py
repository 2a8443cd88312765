"""The clip store against other formats, and whether it reads more slowly as it grows.

`formats`: bytes a clip, writing, opening and random access of 256 clips of the paper's size. Every format gives the
same bytes back, which is checked before anything is timed. Lance and WebDataset are measured where they are installed
(`pip install -e .[bench]`).

`growth`: stores of 1,000 to 200,000 clips of 2 KB, and of as many large ones as 5 GB of page cache hold, beside the
same bytes in two flat files without any store. Each is opened anew and every clip read once at random, mapping and page
faults included; then it goes on at random and in order. Rates are clips a second of processor time: medians of rounds
in which the sizes take turns, so that what else runs on the machine disturbs all of them alike. All files are in the
page cache: stores are compared and not disks.

    python benchmarks/store.py                          both, about three minutes
    python benchmarks/store.py growth --chart docs/store.png
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
from tools.stores import SHARD, Flat, Ours, Unchecked, formats, large, random

from synesthesia.data.store import Store


class Payload(NamedTuple):
    """Clips of one size, the stores to be made of them, and how many are read in a turn (some 20 ms)."""

    name: str
    shape: tuple[int, int, int]  # samples, frames, bytes a frame
    sizes: tuple[int, ...]
    turn: int


PAYLOADS = (
    Payload("2 KB", (500, 1, 1000), (1000, 5000, 20000, 50000, 200000), 2000),
    Payload("100 KB", (20000, 10, 6000), (1000, 4000, 16000), 200),
    Payload("700 KB", (160000, 10, 38000), (1000, 3000), 30),
)
KINDS = {Ours: "ours, checked", Unchecked: "ours, unchecked", Flat: "flat files, no store"}
COLORS = {Ours: "tab:red", Unchecked: "tab:blue", Flat: "0.45"}
WAYS = ("anew, each clip once", "at random", "in order")
Rates = dict[tuple[str, type], np.ndarray]  # by way and kind: (rounds, sizes), clips a second of processor time


def rates(reads: list[Callable[[int], object]], orders: list[np.ndarray], rounds: int = 5) -> list[float]:
    """Random clips a second of processor time for each reader: the best of several turns of a third of a second."""
    best, done = [0.0] * len(reads), [0] * len(reads)
    for _ in range(rounds):
        for n, (read, order) in enumerate(zip(reads, orders, strict=True)):
            count, begin = 0, time.process_time()
            while time.process_time() - begin < 0.3:
                for index in order[(done[n] + count) % len(order) :][:50]:
                    read(int(index))
                    count += 1
            best[n] = max(best[n], count / (time.process_time() - begin))
            done[n] += count
    return best


def compare(count: int, scratch: Path) -> None:
    """The table of the formats."""
    clips, kinds = list(large(count)), formats()
    frame = [len(data) for _, _, jpegs in clips[:4] for data in jpegs]
    print(
        f"{count} clips of 160,000 samples and ten JPEGs of {min(frame):,} to {max(frame):,} bytes, page cache warm\n"
    )
    print("| format | bytes a clip | write, clips/s | open, ms | random access, clips/s | against ours |")
    print("|---|---|---|---|---|---|")
    order = np.random.default_rng(0).permutation(count)
    measured, readers = [], []
    for kind in kinds:
        folder = scratch / kind.__name__
        begin = time.perf_counter()
        kind.write(folder, clips)
        wrote = count / (time.perf_counter() - begin)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / count
        begin = time.perf_counter()
        opened = kind(folder)
        measured.append((kind.name, size, wrote, 1000 * (time.perf_counter() - begin)))
        readers.append(opened.read)
        for index in order:  # and so every page is in the cache
            sound, jpegs = opened.read(int(index))
            assert (sound * 32768 == clips[index][1]).all() and jpegs == clips[index][2], kind.name
    found = rates(readers, [order] * len(readers))
    for (name, size, wrote, opening), value in zip(measured, found, strict=True):
        print(f"| {name} | {size:,.0f} | {wrote:,.0f} | {opening:.1f} | {value:,.0f} | x {value / found[0]:.2f} |")
    decoded = Store(scratch / Ours.__name__)
    (pictures,) = rates([lambda index: decoded.frames(index // SHARD, index % SHARD)], [order], 3)
    print(f"\nFor scale: one process decodes the ten JPEGs of {pictures:,.0f} clips a second.\n")


def grow(payload: Payload, rounds: int, scratch: Path) -> Rates:
    """Read stores of every size by turns."""
    folders = {}
    for kind in (Flat, Ours):
        for size in payload.sizes:
            folders[kind, size] = scratch / f"{kind.__name__}-{size}"
            kind.write(folders[kind, size], random(size, *payload.shape))
    folders |= {(Unchecked, size): folders[Ours, size] for size in payload.sizes}
    shuffled = {size: np.random.default_rng(size).permutation(size) for size in payload.sizes}
    found: dict[tuple[str, type], list] = {(way, kind): [] for way in WAYS for kind in KINDS}
    for _ in range(rounds // 10):
        for kind in KINDS:
            anew = [once(kind, folders[kind, size], shuffled[size]) for size in payload.sizes]
            found[WAYS[0], kind].append(anew)
    orders = {WAYS[1]: shuffled, WAYS[2]: {size: np.arange(size) for size in payload.sizes}}
    readers = {key: kind(folder).read for (kind, _), (key, folder) in zip(folders, folders.items(), strict=True)}
    turns = {
        (way, kind, size): going_on(readers[kind, size], orders[way][size], payload.turn)
        for way in WAYS[1:] for kind in KINDS for size in payload.sizes
    }  # fmt: skip
    for reading in turns.values():
        next(reading)  # every page has been touched
    for _ in range(rounds):
        for way in WAYS[1:]:
            for kind in KINDS:
                found[way, kind].append([next(turns[way, kind, size]) for size in payload.sizes])
    return {key: np.array(value) for key, value in found.items()}


def once(kind: type, folder: Path, order: np.ndarray) -> float:
    """Open a store and read each clip once: clips a second of processor time."""
    indices, begin = order.tolist(), time.process_time()
    opened = kind(folder)
    for index in indices:
        opened.read(index)
    return len(indices) / (time.process_time() - begin)


def going_on(read: Callable[[int], object], order: np.ndarray, turn: int) -> Iterator[float]:
    """Once through `order`; then, turn by turn on and round, clips a second of processor time."""
    for index in order.tolist():
        read(index)
    yield 0.0
    done = 0
    while True:
        some = np.take(order, range(done, done + turn), mode="wrap").tolist()
        begin = time.process_time()
        for index in some:
            read(index)
        yield turn / (time.process_time() - begin)
        done += turn


def tell(payload: Payload, found: Rates) -> None:
    """The table of one payload, for docs/scale.md."""
    sizes = " | ".join(f"{n:,}" for n in payload.sizes)
    print(f"| clips of {payload.name} | {sizes} | last / first | quartiles |")
    print("|---" * (len(payload.sizes) + 3) + "|")
    for way in WAYS:
        for kind, name in KINDS.items():
            low, middle, high = np.percentile(found[way, kind], [25, 50, 75], axis=0)
            cells = " | ".join(f"{value:,.0f}" for value in middle)
            fall = np.median(found[way, kind][:, -1] / found[way, kind][:, 0])
            print(f"| {way}: {name} | {cells} | {fall:.2f} | ± {max((high - low) / middle / 2):.0%} |")
    print(flush=True)


def draw(drawn: list[tuple[Payload, Rates]], path: Path) -> None:
    """Rate at random, from zero, against size; a panel a payload."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, len(drawn), width_ratios=[len(p.sizes) + 1 for p, _ in drawn], squeeze=False)[0]
    for axes, (payload, found) in zip(panels, drawn, strict=True):
        for kind, name in KINDS.items():
            low, middle, high = np.percentile(found[WAYS[1], kind], [25, 50, 75], axis=0)
            axes.plot(payload.sizes, middle, marker="o", markersize=4, color=COLORS[kind], label=name)
            axes.fill_between(payload.sizes, low, high, color=COLORS[kind], alpha=0.2, linewidth=0)
        axes.set_title(f"clips of {payload.name}", fontsize=10)
        axes.set(xscale="log", xlabel="clips in the store")
        axes.set_xticks(payload.sizes, [f"{n // 1000}k" for n in payload.sizes], minor=False)
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.set_ylim(0, None)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("clips read at random\na second of processor time")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, metadata={"Software": None})
    path.write_bytes(buffer.getvalue())
    print(f"drawn: {path}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["formats", "growth", "both"], default="both")
    parser.add_argument("--clips", type=int, default=256, help="of the formats' table (default: 256, 0.2 GB a format)")
    parser.add_argument("--rounds", type=int, default=30, help="of the growth's tables")
    parser.add_argument("--chart", type=Path, help="where to draw the growth")
    given = parser.parse_args()
    if given.what != "growth":
        with tempfile.TemporaryDirectory() as scratch:
            compare(given.clips, Path(scratch))
    drawn = []
    for payload in PAYLOADS if given.what != "formats" else []:
        with tempfile.TemporaryDirectory() as scratch:
            drawn.append((payload, grow(payload, given.rounds, Path(scratch))))
        tell(*drawn[-1])
    if given.chart and drawn:
        draw(drawn, given.chart)


if __name__ == "__main__":
    main()
