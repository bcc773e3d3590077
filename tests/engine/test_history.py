import pytest

from headstart.engine.history import History


@pytest.mark.parametrize(
    "aps, stale",
    [([], 0), ([1.0], 0), ([1.0, 1.0], 1), ([1.0, 2.0], 0), ([2.0, 1.0, 1.5], 2), ([None, None], 2), ([None, 0.0], 0)],
)
def test_evaluations_without_a_higher_ap(aps, stale):
    scores = [{"step": n, "epoch": n, "metrics": {"AP": ap}} for n, ap in enumerate(aps)]
    assert History({}, scores={"head": scores}).stale("head") == stale
