"""Gradients in one buffer are the gradients that autograd would have made by itself."""

import pytest
import torch

from synesthesia.acceleration.gradient_buffer import FlatGradBuffer

pytestmark = pytest.mark.torch


def learnt() -> list[torch.nn.Parameter]:
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(*shape)) for shape in ((3, 5), (5, 7), (7,), (7, 1))]


def loss(a, b, c, d) -> torch.Tensor:
    return (torch.tanh(torch.ones(2, 3) @ a @ b + c) @ d).sum()


def test_two_backward_passes_add_up_as_by_themselves_and_clear_forgets_them():
    alone, together = learnt(), learnt()
    gradients = FlatGradBuffer(together)
    for _ in range(2):
        loss(*alone).backward()
        loss(*together).backward()
    gradients.losses += 3.0
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one.grad, other.grad)
    places = [parameter.grad.data_ptr() for parameter in together]
    gradients.zero_()
    assert not any(parameter.grad.any() for parameter in together) and not gradients.losses.any()
    loss(*together).backward()
    assert [parameter.grad.data_ptr() for parameter in together] == places  # a recorded CUDA graph writes there


def test_each_gradient_begins_where_a_tensor_of_its_own_would():
    together = learnt()
    FlatGradBuffer(together)
    first = together[0].grad.data_ptr()
    assert all((parameter.grad.data_ptr() - first) % 64 == 0 for parameter in together)


def test_all_of_it_is_summed_over_the_processes_losses_too():
    class Three:
        """Three processes that have the same."""

        @staticmethod
        def reduce(tensor, reduction):
            assert reduction == "sum"
            return 3 * tensor

    together = learnt()
    gradients = FlatGradBuffer(together)
    loss(*together).backward()
    gradients.losses += torch.tensor([1.0, 2.0])
    before = [parameter.grad.clone() for parameter in together]
    gradients.all_reduce(Three)
    assert gradients.losses.tolist() == [3.0, 6.0]
    assert all(torch.equal(parameter.grad, 3 * one) for parameter, one in zip(together, before, strict=True))
