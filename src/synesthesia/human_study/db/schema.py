"""What the study keeps: the tables, and nothing else.

What a participant does is a row of `step` that is filled once: an answer is one UPDATE of a row that is still empty,
so two tabs, double clicks and repeated requests cannot count twice, and of two servers only one succeeds.

No table holds a name, a network address or an external id: only a keyed hash of the latter, where there is one.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Table, Text

SCHEMA_VERSION = 1  # of these tables; a database of another one is refused

METADATA = MetaData()
STUDY = Table(
    "study",
    METADATA,
    Column("id", Integer, primary_key=True),  # one row
    Column("format", Integer, nullable=False),
    Column("plan", String(64), nullable=False),  # fingerprint of parameters, questions and clips
    Column("about", Text, nullable=False),  # the same in words, for people
    Column("state", String(8), nullable=False),  # open, paused, closed
    Column("simulated", Boolean, nullable=False),
    Column("withdrawn", Integer, nullable=False),
    Column("made_at", Integer, nullable=False),
)
QUESTION = Table(
    "question",
    METADATA,
    Column("question_id", String(200), primary_key=True),
    Column("clip_id", String(200), nullable=False),
    Column("label", String(200), nullable=False),
    Column("options", Text, nullable=False),  # JSON, in the order of the letters
    Column("answer", Integer, nullable=False),
    Column("shard", Integer, nullable=False),
    Column("row", Integer, nullable=False),
    Column("practice", String(16)),  # the condition in which it is practised; null: part of the plan
    Column("practice_place", Integer),
)
PARTICIPANT = Table(
    "participant",
    METADATA,
    Column("id", String(20), primary_key=True),  # random
    Column("session", LargeBinary(32), nullable=False, unique=True),  # SHA-256 of the cookie's random number
    Column("external", LargeBinary(32), unique=True),  # keyed hash of an external id, null without
    Column("state", String(8), nullable=False),  # active, finished, late
    Column("consent", String(64), nullable=False),  # SHA-256 of the consent text agreed to
    Column("began_at", Integer, nullable=False),
    Column("seen_at", Integer, nullable=False, index=True),
)
TRIAL = Table(
    "trial",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("seat", Integer, nullable=False, index=True),
    Column("place", Integer, nullable=False),
    Column("condition", String(16), nullable=False),
    Column("question_id", ForeignKey("question.question_id"), nullable=False),
    Column("taken", Boolean, nullable=False, index=True),  # given to somebody who may still answer, or has
)
SLOT = Table(
    "seat",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("taken", Boolean, nullable=False, index=True),
)
STEP = Table(
    "step",
    METADATA,
    Column("participant", ForeignKey("participant.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(12), nullable=False),  # expect, sound, headphones, practice, block, trial, check, comments
    Column("block", Integer),
    Column("place", Integer),  # of a trial: how many trials of the session come before it
    Column("trial", ForeignKey("trial.id")),
    Column("question_id", ForeignKey("question.question_id")),
    Column("condition", String(16)),
    Column("detail", Text),  # JSON: a check's options and letter
    Column("released", Boolean, nullable=False),  # given back unanswered
    Column("key", String(36)),  # the answer's idempotency key
    Column("choice", Integer),
    Column("seconds", Float),
    Column("replays", Integer),
    Column("focus_lost", Integer),
    Column("load_failures", Integer),
    Column("said", Text),  # JSON: comments, tones counted, headphone picks
    Column("answered_at", Integer),
)
# The last line of defence: no trial has two answers, whatever the code above it does.
Index(
    "one_holder_a_trial",
    STEP.c.trial,
    unique=True,
    sqlite_where=(STEP.c.released.is_(False)) & (STEP.c.trial.is_not(None)),
    postgresql_where=(STEP.c.released.is_(False)) & (STEP.c.trial.is_not(None)),
)
