import pytest
import torch
from torch.nn import functional

from headstart.methods.criteria.channel_divergence import ChannelDivergence, channel_divergence


def maps(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_it_is_the_mean_divergence_of_the_places(temperature):
    student, teacher = maps(2, 3, 4, 5), maps(2, 3, 4, 5, seed=1)
    rows = [x.reshape(6, 20) / temperature for x in (student, teacher)]
    goal = functional.kl_div(rows[0].log_softmax(1), rows[1].log_softmax(1), log_target=True, reduction="sum")
    found = channel_divergence(student, teacher, temperature=temperature)
    assert found.item() == pytest.approx(goal.item() * temperature**2 / 6, rel=1e-5)


def test_an_offset_does_not_count_and_with_the_norm_a_size_neither():
    student = maps(2, 3, 4, 5)
    assert channel_divergence(student, student + 3).item() == pytest.approx(0, abs=1e-6)
    assert channel_divergence(student, student * 3).item() > 0.1
    found = ChannelDivergence()([student], [student * 3 - 1], None)[""]
    assert found.item() == pytest.approx(0, abs=1e-5)


def test_levels_are_summed():
    pairs = [(maps(2, 3, n, n), maps(2, 3, n, n, seed=1)) for n in (4, 2)]
    found = ChannelDivergence(2.0, normalise=False)([s for s, _ in pairs], [t for _, t in pairs], None)[""]
    goal = sum(channel_divergence(s, t, temperature=2.0) for s, t in pairs)
    assert found.item() == pytest.approx(goal.item(), rel=1e-6)


def test_a_single_cell_gives_zero_and_other_shapes_are_refused():
    one = [maps(1, 3, 1, 1)]
    assert ChannelDivergence()(one, [maps(1, 3, 1, 1, seed=1)], None)[""].item() == 0
    with pytest.raises(ValueError, match="student's features are"):
        channel_divergence(maps(1, 3, 2, 2), maps(1, 4, 2, 2))
