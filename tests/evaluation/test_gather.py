"""Two processes give the score of one."""

import multiprocessing
import socket

import numpy as np
import pytest
import torch.distributed as dist

from evaluation.scoring_cases import batch_of, random_scene
from headstart.evaluation.coco import CocoScorer
from headstart.evaluation.gather import DetectionTable, gather, join
from headstart.evaluation.voc import VocScorer


def table(images, owners):
    count = len(owners)
    return DetectionTable(
        np.array(images), np.array(owners), np.arange(4.0 * count).reshape(-1, 4), np.ones(count), np.zeros(count, int)
    )


def test_the_first_copy_of_an_image_wins():
    joined = join([table([4, 1], [4, 4, 1]), table([1, 2], [1, 1, 2]), table([2, 3], [2])])
    assert joined.images.tolist() == [1, 2, 3, 4]
    assert joined.owners.tolist() == [1, 2, 4, 4]
    assert joined.boxes[:, 0].tolist() == [8, 8, 0, 4]


def test_an_image_without_detections_is_not_detected_by_its_copy():
    joined = join([table([1], []), table([1], [1])])
    assert joined.images.tolist() == [1] and len(joined) == 0


def test_one_process_keeps_its_table():
    mine = gather(table([2, 1], [2, 1]))
    assert mine.images.tolist() == [1, 2] and mine.owners.tolist() == [1, 2]


def score(rank, world):
    """Both scores of the images rank, rank + world ..., the shorter share padded with the first image."""
    dataset, detections = random_scene(0, images=5)
    shares = [dataset.ids[k::world] for k in range(world)]
    share = shares[rank] + dataset.ids[:1] * (len(shares[0]) - len(shares[rank]))
    scorers = [CocoScorer(dataset), VocScorer(dataset)]
    for scorer in scorers:
        for image in share:
            scorer.update(batch_of([image]), [detections[image]])
    return [scorer.compute() for scorer in scorers]


def process(rank, world, port, results):
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    results.put(score(rank, world))
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork to be quick")
def test_two_processes_score_like_one():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    processes = [context.Process(target=process, args=(rank, 2, port, results), daemon=True) for rank in range(2)]
    for one in processes:
        one.start()
    for one in processes:
        one.join(60)
    assert [one.exitcode for one in processes] == [0, 0]
    expected = score(0, 1)
    assert expected[0]["AP"] > 5
    assert results.get() == expected and results.get() == expected
