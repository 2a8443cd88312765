"""Order of training clips over epochs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synesthesia.distillation.dataset import make_sample_order
from tests.helpers.tiny_checkpoints import training_config

pytestmark = pytest.mark.torch


@settings(max_examples=60)
@given(num_clips=st.integers(1, 60), epochs=st.sampled_from([0.5, 1.0, 1.5, 3.0]), seed=st.integers(0, 999))
def test_each_epoch_is_a_new_permutation(num_clips, epochs, seed):
    if round(num_clips * epochs) == 0:
        return
    order = make_sample_order(num_clips, training_config(epochs=epochs, seed=seed))
    assert len(order) == round(num_clips * epochs)
    epochs_indices = [order[i : i + num_clips] for i in range(0, len(order), num_clips)]
    for indices in epochs_indices:
        assert len(set(indices)) == len(indices)
        assert set(indices) <= set(range(num_clips))
    if epochs == 3 and num_clips > 8:
        assert not np.array_equal(epochs_indices[0], epochs_indices[1])
    assert np.array_equal(order, make_sample_order(num_clips, training_config(epochs=epochs, seed=seed)))
    longer = make_sample_order(num_clips, training_config(epochs=epochs + 1, seed=seed))
    assert np.array_equal(order, longer[: len(order)])
