"""Gradients in a flat buffer equal the gradients that autograd allocates."""

import pytest
import torch

from synesthesia.acceleration.gradient_buffer import FlatGradBuffer

pytestmark = pytest.mark.torch


def make_parameters() -> list[torch.nn.Parameter]:
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(*shape)) for shape in ((3, 5), (5, 7), (7,), (7, 1))]


def compute_loss(a, b, c, d) -> torch.Tensor:
    return (torch.tanh(torch.ones(2, 3) @ a @ b + c) @ d).sum()


def test_gradients_accumulate_and_zero_resets_them_in_place():
    reference_params, params = make_parameters(), make_parameters()
    buffer = FlatGradBuffer(params)
    for _ in range(2):
        compute_loss(*reference_params).backward()
        compute_loss(*params).backward()
    buffer.losses += 3.0
    for reference, parameter in zip(reference_params, params, strict=True):
        assert torch.equal(reference.grad, parameter.grad)
    addresses = [parameter.grad.data_ptr() for parameter in params]
    buffer.zero_()
    assert not any(parameter.grad.any() for parameter in params) and not buffer.losses.any()
    compute_loss(*params).backward()
    assert [parameter.grad.data_ptr() for parameter in params] == addresses  # a CUDA graph writes to these addresses


def test_gradients_are_aligned_to_64_bytes():
    params = make_parameters()
    FlatGradBuffer(params)
    first_address = params[0].grad.data_ptr()
    assert all((parameter.grad.data_ptr() - first_address) % 64 == 0 for parameter in params)


def test_all_reduce_sums_gradients_and_losses():
    class ThreeProcessAccelerator:
        """Accelerator of three processes with identical tensors."""

        @staticmethod
        def reduce(tensor, reduction):
            assert reduction == "sum"
            return 3 * tensor

    params = make_parameters()
    buffer = FlatGradBuffer(params)
    compute_loss(*params).backward()
    buffer.losses += torch.tensor([1.0, 2.0])
    local_grads = [parameter.grad.clone() for parameter in params]
    buffer.all_reduce(ThreeProcessAccelerator)
    assert buffer.losses.tolist() == [3.0, 6.0]
    assert all(torch.equal(parameter.grad, 3 * grad) for parameter, grad in zip(params, local_grads, strict=True))
