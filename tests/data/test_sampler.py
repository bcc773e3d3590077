"""Every image, every process, every position: what a batch sampler promises."""

import numpy as np
import pytest

from headstart.data.sampler import EachOnceBatchSampler, GroupedBatchSampler
from headstart.errors import UserError


def sizes(landscape, portrait):
    return np.array([[30, 40]] * landscape + [[40, 30]] * portrait).reshape(-1, 2)


def batches(count=23, portrait=9, batch_size=4, **options):
    return GroupedBatchSampler(sizes(count - portrait, portrait), batch_size, **options)


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize(
    ("count", "portrait", "batch_size"), [(23, 9, 4), (24, 0, 4), (24, 24, 3), (3, 0, 1), (7, 3, 2)]
)
def test_every_image_and_equally_many_full_batches_on_each_process(world, count, portrait, batch_size):
    shares = []
    for rank in range(world):
        sampler = batches(count, portrait, batch_size, rank=rank, world=world)
        share = list(sampler)
        assert len(share) == len(sampler) and all(len(batch) == batch_size for batch in share)
        shares.append([key[1] for batch in share for key in batch])
    joined = sorted(index for share in shares for index in share)
    assert set(joined) == set(range(count))
    assert len(joined) - count < batch_size * world or count < batch_size * world
    if count % (batch_size * world) == 0:
        assert len(set(joined)) == len(joined), "disjoint where nothing has to be filled up"


def test_at_most_the_last_round_mixes_orientations():
    rounds = batches(103, 41, 4, world=2).rounds(0)
    mixed = [(batch >= 62).any() and (batch < 62).any() for batch in rounds.reshape(-1, 8)]
    assert sum(mixed) <= 2 and not any(mixed[:-2])
    assert not all(batch.min() < 62 for batch in rounds[:6]), "the orientations come in mixed order"


def test_orientations_are_mixed_in_the_first_epochs():
    sampler, plain = (GroupedBatchSampler(sizes(62, 41), 4, seed=1, mixed=mixed) for mixed in (2, 0))
    for epoch in range(4):
        mixed = [(batch >= 62).any() and (batch < 62).any() for batch in sampler.rounds(epoch).reshape(-1, 4)]
        assert (sum(mixed) > 10) == (epoch < 2)
        assert set(sampler.rounds(epoch).flatten()) == set(range(103))
        assert np.array_equal(sampler.rounds(epoch), plain.rounds(epoch)) == (epoch >= 2)


def test_the_order_depends_on_seed_and_epoch_only():
    first = batches(seed=3)
    second = batches(seed=3)
    assert list(first) == list(second) == list(first)
    second.set_epoch(1)
    other = [[index for _, index in batch] for batch in second]
    assert other != [[index for _, index in batch] for batch in first]
    assert all(epoch == 1 for batch in second for epoch, _ in batch)
    assert list(batches(seed=4)) != list(batches(seed=3))


def test_start_in_the_middle():
    whole = batches(seed=1)
    whole.set_epoch(2)
    wanted = list(whole)
    resumed = batches(seed=1)
    resumed.start(2, 4)
    resumed.set_epoch(2)
    assert list(resumed) == wanted[4:] and len(resumed) == len(wanted)
    assert list(resumed) == wanted, "the pass after it is whole again"
    resumed.start(2, 4)
    resumed.set_epoch(3)
    assert len(list(resumed)) == len(wanted)
    resumed.start(2, len(wanted))
    assert list(resumed) == []
    with pytest.raises(UserError, match="has 6 batches"):
        resumed.start(0, 7)


@pytest.mark.parametrize("world", [1, 2, 5])
def test_validation_sees_each_image_once(world):
    seen = []
    for rank in range(world):
        sampler = EachOnceBatchSampler(sizes(4, 3), 2, rank=rank, world=world)
        assert len(list(sampler)) == len(sampler)
        seen += [index for batch in sampler for _, index in batch]
    assert sorted(seen) == list(range(7))


def test_impossible_settings():
    with pytest.raises(UserError, match="batch size"):
        batches(batch_size=0)
    with pytest.raises(UserError, match="batch size"):
        EachOnceBatchSampler(sizes(1, 1), 0)
    with pytest.raises(UserError, match="no image"):
        batches(count=0, portrait=0)
    with pytest.raises(UserError, match="seed"):
        batches(seed=-1)


def test_a_batch_larger_than_the_data():
    assert len(batches(count=8, portrait=0, batch_size=4, world=2)) == 1
    with pytest.raises(UserError, match=r"a batch of 10 images is more than the 9 training images .* 9 or fewer"):
        batches(count=9, portrait=0, batch_size=5, world=2)
    assert len(list(EachOnceBatchSampler(sizes(3, 0), 8))) == 1, "the last batch of a validation may be smaller"
