"""The table of kinds keeps what the rest of the world takes for granted about it."""

import pytest

from synesthesia.synthetic.audio import MAKERS as HEARD
from synesthesia.synthetic.images import MAKERS as DRAWN
from synesthesia.synthetic.labels import (
    AUDIOSET_ROWS,
    BETTER_HEARD,
    BETTER_SEEN,
    HEARD_AND_SEEN,
    KINDS,
    MAIN,
    OTHERS,
    SEVERAL,
)


@pytest.mark.parametrize("regime", [HEARD_AND_SEEN, BETTER_HEARD, BETTER_SEEN])
def test_each_regime_has_ten_main_labels(regime):
    assert sum(kind.regime == regime for kind in MAIN) == 10


def test_only_the_several_name_labels_contain_a_comma():
    assert not [kind.name for kind in MAIN if "," in kind.name]
    assert all("," in kind.name for kind in SEVERAL) and len(SEVERAL) == 3


def test_every_kind_can_be_heard_and_seen_and_nothing_else_can():
    assert set(KINDS) == set(HEARD) == set(DRAWN)
    assert len(KINDS) == len(MAIN) + len(SEVERAL) + len(OTHERS)


def test_every_audioset_name_has_its_own_row():
    assert {name for kind in KINDS.values() for name in kind.audioset} == set(AUDIOSET_ROWS)
    assert len({mid for _, mid in AUDIOSET_ROWS.values()}) == len(AUDIOSET_ROWS)


def test_audioset_only_kinds_carry_their_own_name_first():
    assert [kind.name for kind in OTHERS] == [kind.audioset[0] for kind in OTHERS]
