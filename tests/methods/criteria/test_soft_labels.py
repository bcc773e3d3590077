import pytest
import torch

from headstart.methods.criteria.soft_labels import divergence, match_statistics, soft_focal

LOGITS = torch.tensor([[0.5, -1.0], [2.0, 0.0]])
TEACHER = torch.tensor([[1.0, -2.0], [-0.5, 0.25]])
ONES = torch.ones(2)


def test_soft_focal_of_the_official_loss():
    assert soft_focal(LOGITS, TEACHER, ONES).item() == pytest.approx(0.8643323, rel=1e-6)
    assert soft_focal(LOGITS, TEACHER, torch.tensor([1.0, 0.0])).item() / 2 == pytest.approx(0.0654222, rel=1e-5)
    assert soft_focal(LOGITS, TEACHER, ONES, beta=0.0).item() == pytest.approx(3.1060057, rel=1e-6)


def test_soft_focal_is_zero_where_they_agree_and_its_gradient_passes_the_factor():
    assert soft_focal(TEACHER, TEACHER, ONES).item() == 0
    logits = LOGITS.clone().requires_grad_()
    soft_focal(logits, TEACHER, ONES).backward()
    step = 1e-3
    moved = LOGITS.clone()
    moved[0, 0] += step
    slope = (soft_focal(moved.double(), TEACHER, ONES) - soft_focal(LOGITS.double(), TEACHER, ONES)) / step
    assert logits.grad[0, 0].item() == pytest.approx(slope.item(), rel=1e-2)


def test_divergence_of_the_official_loss():
    found, goal = torch.tensor([[0.0, 1.0, 2.0, 0.5]]), torch.tensor([[1.0, 0.0, 0.5, -1.0]])
    assert divergence(found, goal).item() == pytest.approx(0.5716022, rel=1e-6)
    assert divergence(found, goal, temperature=3.0).item() == pytest.approx(0.5563976, rel=5e-6)
    assert divergence(found, goal, temperature=10.0).item() / 4 == pytest.approx(0.1350246, rel=3e-5)
    assert divergence(goal, goal).item() == 0


def test_matched_statistics_of_the_official_code():
    first = torch.arange(24.0).reshape(2, 2, 2, 3)
    second = first.square() / 10
    found = match_statistics(first, second)
    goal = [[-3.604591, -1.872679, -0.140766], [1.591146, 3.323059, 5.054971]]
    torch.testing.assert_close(found[0, 0], torch.tensor(goal), rtol=0, atol=2e-5)
    goal = [[35.132542, 38.051365, 40.970184], [43.889008, 46.807831, 49.726650]]
    torch.testing.assert_close(found[1, 1], torch.tensor(goal), rtol=0, atol=2e-5)
    torch.testing.assert_close(found.mean(dim=(0, 2, 3)), torch.tensor([11.116667, 24.916667]))


def test_matching_does_not_see_scale_and_offset_of_a_channel():
    torch.manual_seed(0)
    first, second = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 2, 2)
    moved = first * torch.tensor([0.5, 2.0, 7.0]).reshape(1, 3, 1, 1) + 3
    torch.testing.assert_close(match_statistics(first, second), match_statistics(moved, second), rtol=1e-4, atol=1e-4)


def test_a_single_cell_becomes_the_teachers_and_teaches_nothing():
    first = torch.randn(1, 3, 1, 1, requires_grad=True)
    second = torch.randn(1, 3, 1, 1)
    found = match_statistics(first, second)
    assert torch.equal(found.detach(), second)
    found.sum().backward()
    assert torch.equal(first.grad, torch.zeros_like(first))


def test_statistics_are_taken_in_float32():
    first, second = torch.randn(2, 3, 8, 8).bfloat16(), torch.randn(2, 3, 8, 8).bfloat16()
    found = match_statistics(first, second)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, match_statistics(first.float(), second.float()).bfloat16())
