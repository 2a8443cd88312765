"""Database schema: everything that the study stores.

Each action of a participant is a row of `step` that is filled once: an answer is one UPDATE of a row that is still
open, so two tabs, double clicks, and repeated requests count once, and of two servers only one succeeds.

No table holds a name, a network address, or an external id in clear; an external id is stored as a keyed hash.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Table, Text

SCHEMA_VERSION = 2  # databases of another version are refused

METADATA = MetaData()
STUDY = Table(
    "study",
    METADATA,
    Column("id", Integer, primary_key=True),  # one row
    Column("schema_version", Integer, nullable=False),
    Column("plan_fingerprint", String(64), nullable=False),  # of parameters, questions, and clips
    Column("description", Text, nullable=False),  # the plan in words
    Column("state", String(8), nullable=False),  # open, paused, closed
    Column("is_simulated", Boolean, nullable=False),
    Column("n_withdrawn", Integer, nullable=False),
    Column("created_at", Integer, nullable=False),
)
QUESTION = Table(
    "question",
    METADATA,
    Column("question_id", String(200), primary_key=True),
    Column("clip_id", String(200), nullable=False),
    Column("label", String(200), nullable=False),
    Column("options", Text, nullable=False),  # JSON, in the order of the letters
    Column("target", Integer, nullable=False),
    Column("shard", Integer, nullable=False),
    Column("row", Integer, nullable=False),
    Column("practice_condition", String(16)),  # null: a question of the plan
    Column("practice_position", Integer),
)
PARTICIPANT = Table(
    "participant",
    METADATA,
    Column("id", String(20), primary_key=True),  # random
    Column("session_hash", LargeBinary(32), nullable=False, unique=True),  # SHA-256 of the cookie's random number
    Column("external_id_hash", LargeBinary(32), unique=True),  # keyed; null without an external id
    Column("state", String(16), nullable=False),  # active, finished, timed_out, screened_out
    Column("consent_sha256", String(64), nullable=False),  # of the consent text agreed to
    Column("started_at", Integer, nullable=False),
    Column("last_active_at", Integer, nullable=False, index=True),
)
TRIAL = Table(
    "trial",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("slot", Integer, nullable=False, index=True),
    Column("position", Integer, nullable=False),
    Column("condition", String(16), nullable=False),
    Column("question_id", ForeignKey("question.question_id"), nullable=False),
    Column("is_assigned", Boolean, nullable=False, index=True),  # to a participant who has answered it or still may
)
SLOT = Table(
    "slot",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("is_assigned", Boolean, nullable=False, index=True),
)
STEP = Table(
    "step",
    METADATA,
    Column("participant", ForeignKey("participant.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    # instructions, sound_check, headphone_check, practice, block_intro, trial, attention_check, comments
    Column("kind", String(16), nullable=False),
    Column("block", Integer),
    Column("position", Integer),  # number of trials of the session before this step
    Column("trial", ForeignKey("trial.id")),
    Column("question_id", ForeignKey("question.question_id")),
    Column("condition", String(16)),
    Column("detail", Text),  # JSON: options and target of an attention check, number of tones of a sound check
    Column("is_released", Boolean, nullable=False),  # given up unanswered
    Column("idempotency_key", String(36)),  # of the answer
    Column("choice", Integer),
    Column("seconds", Float),
    Column("replays", Integer),
    Column("focus_lost", Integer),
    Column("load_failures", Integer),
    Column("response", Text),  # JSON: comment, or headphone picks
    Column("answered_at", Integer),
)
# Last line of defense: no trial has two answers, whatever the code does.
Index(
    "one_holder_per_trial",
    STEP.c.trial,
    unique=True,
    sqlite_where=(STEP.c.is_released.is_(False)) & (STEP.c.trial.is_not(None)),
    postgresql_where=(STEP.c.is_released.is_(False)) & (STEP.c.trial.is_not(None)),
)
