"""A detector run over a loader."""

import pytest
import torch
from torch import nn

from evaluation.scoring_cases import Annotated, batch_of, found
from headstart.evaluation import CocoScorer, VocScorer, evaluate
from headstart.evaluation.evaluate import join_results

BOX = [10, 10, 60, 60]


class Oracle(nn.Module):
    """Knows the box of every image, but only in evaluation mode."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.frozen = nn.BatchNorm2d(2).eval()

    def detect(self, batch):
        self.seen = (self.training, self.layer.training, torch.is_grad_enabled(), self.layer(torch.ones(1, 2)).dtype)
        return [found([BOX], [0.9], [0]) for _ in batch.ids]


@pytest.fixture
def dataset():
    return Annotated({k: ([BOX], [0], [False]) for k in (1, 2, 3)})


@pytest.fixture
def loader():
    return [(batch_of([1, 2]), []), (batch_of([3]), [])]


def test_scores_and_restores_every_mode(dataset, loader):
    detector, steps = Oracle(), []
    numbers = evaluate(detector, loader, CocoScorer(dataset), progress=lambda done, total: steps.append((done, total)))
    assert numbers["AP"] == pytest.approx(100)
    assert detector.seen == (False, False, False, torch.float32)
    assert detector.training and detector.layer.training and not detector.frozen.training
    assert torch.is_grad_enabled()
    assert steps == [(1, 2), (2, 2)]


def test_modes_are_restored_after_an_error(dataset):
    detector = Oracle()
    with pytest.raises(ValueError, match="image id 8"):
        evaluate(detector, [(batch_of([8]), [])], CocoScorer(dataset))
    assert detector.training and not detector.frozen.training


def test_several_scorers_share_one_pass(dataset, loader):
    numbers = evaluate(Oracle(), iter(loader), [CocoScorer(dataset), VocScorer(dataset)])
    assert set(numbers["per_class"]["cat"]) == {"AP", "AP50", "VOC_AP", "VOC_AP11"}
    assert numbers["VOC_AP"] == pytest.approx(100) and numbers["images"] == 3


def test_autocast(dataset, loader):
    detector = Oracle()
    evaluate(detector, loader, CocoScorer(dataset), autocast=torch.bfloat16)
    assert detector.seen[-1] is torch.bfloat16


def test_a_scorer_can_be_used_again(dataset, loader):
    scorer = CocoScorer(dataset)
    assert evaluate(Oracle(), loader, scorer) == evaluate(Oracle(), loader, scorer)


def test_results_that_contradict_each_other():
    assert join_results([{"a": {"x": 1}}, {"a": {"y": 2}, "b": 3}]) == {"a": {"x": 1, "y": 2}, "b": 3}
    with pytest.raises(ValueError, match="'b' different values, 3 and 4"):
        join_results([{"b": 3}, {"b": 4}])
