"""The browser study for humans: the same clips and questions as the models get, judged by ears, eyes and both.

materials.py   what `make` has left under out/ -> labels, clips, questions, practice clips
plan.py        who judges what
schema.py      the tables that are kept;   database.py   connections to them
stored_plan.py the one plan that a database is for
seats.py       which trials a newcomer gets;   steps.py   a session as a list of steps
answers.py     what may be answered to a step
sessions.py    a participant: joining, the current step, an answer, leaving, withdrawing
finished.py    what has been judged
rules.py       careless and slow, by stated rules
stimuli.py     sound and video files from the very samples and pixels that the models get
tones.py       the sound check and the Huggins-pitch headphone test
security.py    signed cookies, CSRF tokens, rate limits, headers, passwords
web.py         the participant's pages;   admin.py   the researcher's
export.py      finished judgements as CSV
serve.py       start-up: parameters, secrets, uvicorn
simulate.py    simulated participants, for load tests, in databases of their own
"""
