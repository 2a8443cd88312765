"""Runs and models in MLflow: `mlruns/mlflow.db` with artifacts beside it, or the server that MLFLOW_TRACKING_URI names.

A stage describes what it did as a `Record`, built from its parameters and its outs on disk alone, and hands it over:

    with tracking.session("distill", setting) as session:      # a child process imports mlflow meanwhile
        ...
        session.metric("loss", loss, step)                     # live, where there is something to watch
        ...
        session.finish(record(params, setting))                # the last line

`tracking.log(record)` does the same where nothing is worth watching. Since the record needs only the outs, a clone
that pulled them can log them as well: `make log`. A record that is in MLflow already (same content, same artifacts)
makes no second run. When MLflow cannot be reached, a stage says so and ends well: its outs are on disk, and
`make log` enters them later. `SYNESTHESIA_TRACKING=off` switches the whole of it off.

`tracking.fetch("qwen2-audio-adapter", "best")` gives the folder of a registered model. `best` is the highest
accuracy on the analysis split among the settings that saw no ground truth (those are under `upper-bound`), never the
test split's.

How to restore the exact state of a run (its description in MLflow says the same): its tags `git.commit` and
`data.<path>` name the code and the data, its artifacts hold what no commit has:

    git checkout <tag git.commit>
    git apply uncommitted.patch     # artifact provenance/uncommitted.patch, where tag git.dirty is true
    cp dvc.lock params.yaml .       # artifacts provenance/dvc.lock and provenance/params.yaml
    dvc checkout                    # or `dvc pull`, where another machine holds the cache; `dvc repro` makes the rest
"""

from synesthesia.tracking.mlflow_client import TrackingError
from synesthesia.tracking.record import Record, RegisteredModel, flatten
from synesthesia.tracking.run import Run, fetch_model, log_record, log_records, start_run

__all__ = [
    "Record", "RegisteredModel", "Run", "TrackingError", "fetch_model", "flatten", "log_record", "log_records", "start_run",
]  # fmt: skip
