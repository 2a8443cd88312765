"""JSON payload of a session: the current step as the page shows it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from synesthesia.human_study.db.sessions import SessionState
from synesthesia.human_study.web.app_state import AppState
from synesthesia.questions.prompt import format_prompt
from synesthesia.schemas import LETTERS


def step_payload(app_state: AppState, participant: str, session_state: SessionState) -> dict:
    """Build what the page needs to show the current step; reveals no target, label, or clip id.

    Args:
        app_state: State of the server process.
        participant: Participant id.
        session_state: State of the participant's session.

    Returns:
        A JSON object with `state`, and `step` while active, or the completion code once finished.
    """
    if session_state.state == "finished":
        code = app_state.config.completion_code
        code = code or app_state.signer.hmac_digest("completion", participant).hex()[:8].upper()
        return {"state": "finished", "completion_code": code, "completion_link": app_state.config.completion_link}
    step = session_state.step
    if step is None:
        return {"state": session_state.state}
    payload: dict = {"number": step.number, "kind": step.kind, "condition": step.condition}
    if step.block is not None:
        layout = app_state.block_layout(participant)
        n_block_trials, first_position = layout[step.block]
        position = first_position if step.position is None else step.position
        payload |= {"block": step.block, "n_blocks": len(layout), "n_block_trials": n_block_trials,
                    "n_trials": sum(n for n, _ in layout.values()), "position": position,
                    "position_in_block": position - first_position}  # fmt: skip
    if step.kind in ("trial", "practice"):
        question = app_state.questions[step.question_id]
        payload |= {"question": _question_payload(question.options), "max_replays": app_state.config.max_replays,
                    "stimulus": app_state.stimulus_names.filename(question.clip_id, step.condition)}  # fmt: skip
        if step.kind == "practice":
            payload |= {"position_in_block": question.practice_position,
                        "n_block_trials": len(app_state.practice_questions)}  # fmt: skip
    elif step.kind == "attention_check":
        detail = json.loads(step.detail)
        payload["question"] = _question_payload(detail["options"])
        payload["required_option"] = f"{LETTERS[detail['target']]}. {detail['options'][detail['target']]}"
    elif step.kind == "sound_check":
        payload["stimulus"] = app_state.stimulus_names.sound_check(json.loads(step.detail)["n_tones"])
    elif step.kind == "headphone_check":
        payload |= {"stimuli": app_state.stimulus_names.headphone_check(), "is_retry": bool(step.replays)}
    return {"state": "active", "step": payload}


def _question_payload(options: Sequence[str]) -> dict:
    """Split the models' prompt into its lines."""
    head, *lines, tail = format_prompt(options).splitlines()
    return {"head": head, "options": lines, "tail": tail}
