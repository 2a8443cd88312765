"""The record of an evaluation says how the model was asked."""

from pathlib import Path

from synesthesia import schemas
from synesthesia.pipeline import evaluate
from tests.helpers.preset_files import embedded


def test_the_record_of_an_endpoint_says_how_it_was_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("endpoint.yaml").write_text(
        "url: http://127.0.0.1:8000/v1\nmodel: m\nframes_as: video\nextra: {stream: true}\n"
    )
    config = embedded()
    entry = config.models["qwen2-vl"].model_copy(
        update={"family": "endpoint", "checkpoint": "endpoint.yaml", "splits": ["test"]}
    )
    config = config.model_copy(update={"models": {"served": entry}})
    question = {"question_id": "q", "clip_id": "c", "split": "test", "options": ["dog", "cat"], "target": 0}
    answer = {"question_id": "q", "respondent": "served", "condition": "silent_video", "choice": 0, "text": "A",
              "letter_logits": None, "seconds": None}  # fmt: skip
    for path, row, schema in (
        ("out/make_questions/questions.parquet", question, schemas.QUESTION),
        ("out/evaluate/served/test.parquet", answer, schemas.ANSWER),
    ):
        Path(path).parent.mkdir(parents=True)
        schemas.write(schemas.from_rows([row], schema, path), path, schema)
    record = evaluate.build_record(config, "served")
    assert record is not None
    parameters = record.parameters
    assert (parameters["endpoint.frames_as"], parameters["endpoint.extra.stream"]) == ("video", True)
    assert (parameters["endpoint.model"], parameters["condition"]) == ("m", "silent_video")
    assert record.metrics["accuracy.test"] == 1.0
