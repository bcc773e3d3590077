"""The measures: what each is worth, entry by entry, and what must not matter to it."""

from typing import get_args

import pytest
import torch

from headstart.methods.allstage.measures import Measure, masked_mean, measure_errors
from headstart.methods.criteria.channel_divergence import channel_divergence
from headstart.methods.criteria.pearson import pearson

MEASURES = get_args(Measure)


def maps(seed=0, shape=(2, 5, 6, 7)):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator), 2 * torch.randn(shape, generator=generator) + 1


def full(x):
    return torch.ones_like(x[:, :1])


def measured(measure, own, goal, mask=None, **options):
    mask = full(own) if mask is None else mask
    return masked_mean(measure_errors(measure, own, goal, mask, **options), mask).mean()


@pytest.mark.parametrize("measure", MEASURES)
def test_it_is_zero_with_zero_gradient_where_both_agree(measure):
    own = maps()[0].requires_grad_()
    value = measured(measure, own, own.detach().clone())
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-6) and own.grad.abs().max() < 1e-5


@pytest.mark.parametrize("measure", MEASURES)
def test_errors_are_not_negative_and_can_be_weighted(measure):
    own, goal = maps()
    errors = measure_errors(measure, own, goal, full(own))
    assert errors.shape in (own.shape, own[:, :1].shape) and errors.min() >= -1e-6 and errors.max() > 0.01


@pytest.mark.parametrize("measure", MEASURES)
def test_what_is_masked_changes_nothing(measure):
    """A padded batch has the errors of the unpadded one."""
    own, goal = maps()
    mask = full(own)
    mask[:, :, 4:] = 0
    mask[:, :, :, 5:] = 0
    noise = torch.where(mask > 0, 0.0, 1000 * torch.randn(own.shape))
    cut = (slice(None), slice(None), slice(0, 4), slice(0, 5))
    found = measured(measure, own + noise, goal - noise, mask)
    torch.testing.assert_close(found, measured(measure, own[cut], goal[cut]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("measure", MEASURES)
def test_precision_is_the_same_under_autocast(measure):
    own, goal = maps()
    plain = measured(measure, own, goal)
    with torch.autocast("cpu", torch.bfloat16):
        assert measured(measure, own, goal) == plain
    assert measured(measure, own.bfloat16(), goal.bfloat16()).dtype == torch.float32


def test_pearson_is_one_less_the_mean_correlation():
    own, goal = maps()
    channels = [torch.corrcoef(torch.stack([own[:, c].flatten(), goal[:, c].flatten()]))[0, 1] for c in range(5)]
    torch.testing.assert_close(measured("pearson", own, goal), 1 - torch.stack(channels).mean(), atol=1e-5, rtol=1e-5)


def test_pearson_with_the_sample_deviation_is_that_of_pkd():
    own, goal = maps()
    found = measured("pearson", own, goal, sample=True)
    torch.testing.assert_close(found, pearson(own, goal))
    cells = 2 * 6 * 7
    torch.testing.assert_close(found, measured("pearson", own, goal) * (cells - 1) / cells, rtol=1e-4, atol=0)


@pytest.mark.parametrize("measure", ["pearson", "ssim"])
def test_size_and_offset_of_a_channel_do_not_matter(measure):
    own, goal = maps()
    scale, shift = torch.tensor([0.1, 1, 10, 3, 7]), torch.tensor([5.0, -3, 0, 100, 1])
    other = goal * scale[:, None, None] + shift[:, None, None]
    torch.testing.assert_close(measured(measure, own, other), measured(measure, own, goal), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_channel_kl_is_cwd(temperature):
    own, goal = maps()
    found = measured("channel_kl", own, goal, temperature=temperature)
    torch.testing.assert_close(found, channel_divergence(own, goal, temperature=temperature), rtol=1e-4, atol=1e-6)


def test_a_map_of_one_cell_or_a_constant_channel_gives_numbers():
    for shape in ((1, 3, 1, 1), (2, 3, 4, 4)):
        own, goal = torch.ones(shape, requires_grad=True), torch.randn(shape)
        for measure in MEASURES:
            own.grad = None
            value = measured(measure, own, goal)
            value.backward()
            assert value.isfinite() and own.grad.isfinite().all(), measure


def test_other_known_values():
    own, goal = torch.zeros(1, 2, 1, 2), torch.zeros(1, 2, 1, 2)
    own[0, :, 0, 0], goal[0, :, 0, 0] = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 3.0])
    assert measure_errors("mse", own, goal, full(own))[0, :, 0, 0].tolist() == [1, 9]
    assert measure_errors("smooth_l1", own, goal, full(own))[0, :, 0, 0].tolist() == [0.5, 2.5]
    assert measure_errors("cosine", own, goal, full(own))[0, 0, 0, 0] == 1
    checks = torch.arange(144.0).reshape(1, 1, 12, 12) % 2
    assert measured("ssim", checks, 1 - checks) > 0.9  # the opposite is nearly as far as can be


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"student's features are \(1, 2, 3, 4\), teacher's \(1, 2, 3, 3\)"):
        measure_errors("mse", torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 3), torch.ones(1, 1, 3, 4))
