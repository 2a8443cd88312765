"""The child process that does a stage's MLflow work: `python -m synesthesia.tracking.worker PARENT STAGE ITEM`.

Reads one JSON message a line from its standard input: {"metric": [name, step, value]} any number of times, then
{"finish": record} or {"fail": why}. An input that ends without either means that the stage was killed: the run is
closed as FAILED. Its last line of output is {"run": id} or {"error": sentence}.

A thread reads the input from the first moment, so that the stage never waits for the import of MLflow or for a slow
server, and notices a parent that is gone even while a forked worker of it still holds the pipe open.
"""

from __future__ import annotations

import gc
import json
import os
import queue
import select
import sys
import threading
import time

from synesthesia.utils import preload_server

FLUSH = 1.0  # seconds between writes of live metrics
NOTHING = {"fail": "the stage was killed or died"}


def _read(parent: int, messages: queue.Queue) -> None:
    pending = b""
    try:
        while True:
            ready, _, _ = select.select([0], [], [], 1.0)
            if ready:
                chunk = os.read(0, 1 << 16)
                if not chunk:
                    return
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:  # whole lines only: a stage killed in mid-line leaves no half message
                    messages.put(json.loads(line))
            elif not _lives(parent):
                return
    finally:
        messages.put(NOTHING)


def _lives(parent: int) -> bool:
    """Whether the stage does; a fork of a server has another parent than who asked for it."""
    if not preload_server.forked:
        return os.getppid() == parent
    try:
        os.kill(parent, 0)
    except OSError:
        return False
    return True


def _batch(messages: queue.Queue) -> tuple[list, dict | None]:
    """What came within FLUSH seconds of metrics, and the closing message if there was one."""
    points, until = [], time.monotonic() + FLUSH
    while True:
        try:
            message = messages.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            return points, None
        if "metric" not in message:
            return points, message
        points.append(tuple(message["metric"]))


def serve(parent: int, stage: str, item: str | None) -> dict:
    """Follow one stage item to its end and return the answer for it."""
    messages: queue.Queue = queue.Queue()
    threading.Thread(target=_read, args=(parent, messages), daemon=True).start()
    gc.disable()  # a fifth of the import's time
    from synesthesia.tracking.mlflow_writer import RunWriter
    from synesthesia.tracking.record import Record

    ledger = RunWriter()
    run = ledger.start_run(stage, item)
    gc.freeze()
    gc.enable()
    seen: set[tuple[str, int]] = set()
    while True:
        points, last = _batch(messages)
        points = [p for p in points if p[:2] not in seen]
        if points:
            try:
                ledger.log_metrics(run, points)
                seen |= {p[:2] for p in points}
            except Exception as error:  # the record's history brings them again
                print(f"live metrics lost: {error}", file=sys.stderr)
        if last is None:
            continue
        if "fail" in last:
            ledger.mark_failed(run, last["fail"])
            return {"run": run}
        try:
            ledger.finish(run, Record.from_json(json.dumps(last["finish"])), seen)
        except Exception as error:
            ledger.mark_failed(run, f"{type(error).__name__}: {error}")
            raise
        return {"run": run}


def main() -> None:
    """Answer in one line of JSON; leave at once, without waiting for MLflow's own threads."""
    code = preload_server.delegate("synesthesia.tracking.worker", sys.argv[1:])
    if code is not None:
        os._exit(code)
    parent, stage, item = int(sys.argv[1]), sys.argv[2], sys.argv[3] or None
    try:
        answer = serve(parent, stage, item)
    except Exception as error:
        answer = {"error": " ".join(f"{type(error).__name__}: {error}".split())}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit("error" in answer)


if __name__ == "__main__":
    main()
