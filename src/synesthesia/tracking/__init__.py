"""Runs and registered models in MLflow: `mlruns/mlflow.db` with its artifacts, or the server of MLFLOW_TRACKING_URI.

A stage describes its results as a `Record`, built from its parameters and its outputs on disk, and logs it:

    with tracking.start_run("distill", setting) as run:        # does not import MLflow yet
        ...
        run.log_metric("loss", loss, step)                     # live, for stages worth watching
        ...
        run.finish(build_record(config, setting))              # the last line

`tracking.log_record(record)` does the same without live metrics. Since a record needs nothing but the outputs, a clone
that pulled them can log them as well: `make log`. A record that is in MLflow already (equal content, equal artifacts)
adds no second run. If MLflow cannot be reached, a stage prints a warning and succeeds: its outputs are on disk, and
`make log` enters them later. The run of a failed or killed stage is entered as FAILED, at the latest by the next
stage or by `make log`. `SYNESTHESIA_TRACKING=off` switches tracking off.

`tracking.fetch_model("qwen2-audio-adapter", "best")` returns the folder of a registered model. `best` is the highest
accuracy on the analysis split, never the test split, among the settings that saw no ground truth; those are under
`upper-bound`.

To restore the exact state of a run (its description in MLflow says the same): the tags `git.commit` and `data.<path>`
name the code and the data, the artifacts hold what no commit has:

    git checkout <tag git.commit>
    git apply uncommitted.patch     # artifact provenance/uncommitted.patch, if the tag git.dirty is true
    cp dvc.lock params.yaml .       # artifacts provenance/dvc.lock and provenance/params.yaml
    dvc checkout                    # or `dvc pull` from another machine's cache; `dvc repro` computes the rest
"""

from synesthesia.tracking.mlflow_client import TrackingError
from synesthesia.tracking.record import Record, RegisteredModel, flatten
from synesthesia.tracking.run import Run, fetch_model, log_record, log_records, start_run

__all__ = [
    "Record",
    "RegisteredModel",
    "Run",
    "TrackingError",
    "fetch_model",
    "flatten",
    "log_record",
    "log_records",
    "start_run",
]
