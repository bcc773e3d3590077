"""RoIAlign against torchvision's kernel: values, gradients, and boxes of every kind."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import roi_align

from headstart.heads import pooling
from headstart.heads.pooling import read_regions

STRIDES = [8, 16, 32]
SIDE = (96, 160)
KINDS = {
    "ordinary": [[10.3, 20.7, 60.1, 75.9], [31.4, 5.2, 140.6, 90.3]],
    "tiny": [[50.13, 40.27, 50.31, 40.45], [7.9, 7.9, 8.2, 8.3]],
    "huge": [[-900.3, -700.1, 1100.7, 950.2], [-3.3, -3.3, 170.9, 100.4]],
    "outside": [[-80.2, -70.3, -20.1, -15.7], [200.3, 10.2, 260.9, 80.4], [10.7, 130.2, 80.1, 190.3]],
    "across the border": [[-20.3, 10.2, 40.7, 60.9], [130.1, 70.3, 190.9, 130.2]],
    "on the border": [[0.0, 0.0, 160.0, 96.0], [152.0, 88.0, 160.0, 96.0], [0.0, 0.0, 8.0, 8.0]],
    "without area": [[40.0, 30.0, 40.0, 30.0], [40.0, 30.0, 90.0, 30.0], [40.0, 30.0, 40.0, 70.0]],
}


def maps(dtype=torch.float32, channels=5):
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, channels, SIDE[0] // s, SIDE[1] // s) for s in STRIDES]
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]


def expected(pyramid, image, boxes, level, grid, *, aligned=True, sampling_ratio=0):
    """One region at a time, by torchvision."""
    crops = []
    for i, box, at in zip(image.tolist(), boxes, level.tolist()):
        rois = torch.cat([torch.tensor([float(i)]), box])[None].to(pyramid[at].dtype)
        crops.append(roi_align(pyramid[at], rois, grid, 1 / STRIDES[at], sampling_ratio or -1, aligned))
    return torch.cat(crops)


def check(boxes, image, level, grid=7, tolerance=1e-4, **how):
    ours, theirs = maps(), maps()
    found = read_regions(ours, STRIDES, image, boxes, level, grid, **how)
    goal = expected(theirs, image, boxes, level, grid, **how)
    torch.testing.assert_close(found, goal, rtol=tolerance, atol=tolerance)
    weight = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    (found * weight).sum().backward()
    (goal * weight).sum().backward()
    for mine, other in zip(ours, theirs):
        grad = torch.zeros_like(other) if other.grad is None else other.grad
        torch.testing.assert_close(mine.grad, grad, rtol=tolerance, atol=tolerance * 10)


def everywhere(kind):
    """Each box of a kind in both images and on all levels: boxes, images, levels."""
    boxes = torch.tensor(KINDS[kind])
    each = torch.arange(len(boxes) * 6)
    return boxes.repeat_interleave(6, dim=0), each % 2, each // 2 % 3


@pytest.mark.parametrize("grid", [7, 1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients(kind, grid):
    check(*everywhere(kind), grid)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", [{"sampling_ratio": 2}, {"aligned": False}, {"aligned": False, "sampling_ratio": 2}])
def test_the_other_conventions(kind, how):
    """torchvision's detectors count from the corner and take two samples; on other devices its kernel does it."""
    check(*everywhere(kind), **how)
    boxes, image, level = everywhere(kind)
    read = pooling._read_kernel(maps(), STRIDES, image, boxes, level, 7, **how)
    torch.testing.assert_close(read, expected(maps(), image, boxes, level, 7, **how))


def test_a_box_inside_out_reads_nothing():
    """torchvision's kernel for CPUs dies of it."""
    boxes = torch.tensor([[60.0, 50.0, 20.0, 10.0], [60.0, 10.0, 20.0, 50.0]])
    zero = torch.zeros(2, dtype=torch.int64)
    assert not read_regions(maps(), STRIDES, zero, boxes, zero, 7).any()


def test_all_kinds_together():
    """Regions of very different reach side by side, in no order."""
    boxes = torch.tensor([box for kind in KINDS.values() for box in kind])
    order = torch.randperm(len(boxes), generator=torch.Generator().manual_seed(2))
    check(boxes[order], torch.arange(len(boxes)) % 2, torch.arange(len(boxes)) % 3)


# Odd fractions keep samples off the lines on which the kernel jumps, where rounding decides.
coordinate = st.integers(-400, 2200).map(lambda n: n / 10 + 0.0371)
box = st.tuples(coordinate, coordinate, st.integers(0, 1500), st.integers(0, 1500)).map(
    lambda b: [b[0], b[1], b[0] + b[2] / 9.7, b[1] + b[3] / 9.7]
)
region = st.tuples(box, st.integers(0, 1), st.integers(0, 2))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(region, min_size=1, max_size=8), st.integers(1, 8))
def test_any_boxes(regions, grid):
    boxes = torch.tensor([box for box, _, _ in regions])
    image, level = (torch.tensor([region[i] for region in regions]) for i in (1, 2))
    check(boxes, image, level, grid, tolerance=1e-3)


@pytest.mark.parametrize("read", [pooling.read_regions, pooling._read_kernel], ids=["cpu", "kernel"])
def test_no_boxes_at_all(read):
    pyramid, none = maps(), torch.zeros(0, dtype=torch.int64)
    found = read(pyramid, STRIDES, none, torch.zeros(0, 4), none, 7)
    assert found.shape == (0, 5, 7, 7)
    if found.requires_grad:
        found.sum().backward()
        assert all(m.grad is None or not m.grad.any() for m in pyramid)


@pytest.mark.parametrize("read", [pooling.read_regions, pooling._read_kernel], ids=["cpu", "kernel"])
def test_bf16_maps_are_read_at_exact_places(read):
    """Boxes stay in float32: rounded to bf16, a side of 301 pixels would be one of 302."""
    wide = [torch.arange(512.0).repeat(1, 1, 4, 1)]
    boxes = torch.tensor([[301.0, 1.0, 302.0, 2.0], [101.0, 1.0, 103.0, 2.0]])
    zero = torch.zeros(2, dtype=torch.int64)
    goal = read([wide[0]], [1], zero, boxes, zero, 1).flatten()
    found = read([wide[0].bfloat16()], [1], zero, boxes, zero, 1).flatten()
    assert found.dtype == torch.bfloat16 and goal.tolist() == [301.0, 101.5]
    assert (found.float() - goal).abs().max() <= 1.01  # the spacing of bf16 there is 2


@pytest.mark.parametrize("read", [pooling.read_regions, pooling._read_kernel], ids=["cpu", "kernel"])
def test_bf16_values_and_gradients(read):
    boxes = torch.tensor(KINDS["ordinary"] + KINDS["across the border"])
    image, level = torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 2, 0])
    low, high = maps(torch.bfloat16), [m.detach().float().requires_grad_() for m in maps(torch.bfloat16)]
    found, goal = read(low, STRIDES, image, boxes, level, 7), expected(high, image, boxes, level, 7)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), goal, rtol=0.02, atol=0.02)
    found.float().square().sum().backward()
    goal.square().sum().backward()
    for mine, other in zip(low, high):
        assert mine.grad.dtype == torch.bfloat16
        assert (mine.grad.float() - other.grad).abs().max() <= 0.03 * other.grad.abs().max()


@pytest.mark.parametrize("kind", KINDS)
def test_both_ways_agree(kind):
    boxes = torch.tensor(KINDS[kind])
    image, level = torch.arange(len(boxes)) % 2, torch.arange(len(boxes)) % 3
    pyramid = maps()
    sparse, kernel = (
        way(pyramid, STRIDES, image, boxes, level, 7) for way in (pooling._read_sparse, pooling._read_kernel)
    )
    torch.testing.assert_close(sparse, kernel, rtol=1e-4, atol=1e-4)


def test_any_memory_layout():
    boxes = torch.tensor(KINDS["ordinary"])
    image, level = torch.tensor([0, 1]), torch.tensor([0, 1])
    plain = maps()
    last = [m.detach().to(memory_format=torch.channels_last).requires_grad_() for m in plain]
    found = [read_regions(pyramid, STRIDES, image, boxes, level, 7) for pyramid in (plain, last)]
    torch.testing.assert_close(found[0], found[1])
    for crops in found:
        crops.square().sum().backward()
    for a, b in zip(plain, last):
        torch.testing.assert_close(a.grad if a.grad is not None else torch.zeros_like(a), b.grad)


def test_levels_beyond_the_strides_are_not_read():
    """A pyramid may have more levels than the head pools from."""
    pyramid = [*maps(), torch.full((2, 5, 1, 1), torch.nan)]
    boxes = torch.tensor(KINDS["huge"])
    found = read_regions(pyramid, STRIDES, torch.tensor([0, 1]), boxes, torch.tensor([2, 2]), 7)
    assert bool(found.isfinite().all())


@pytest.mark.gpu
def test_on_the_gpu_as_on_the_cpu():
    boxes = torch.tensor([box for kind in KINDS.values() for box in kind])
    image, level = torch.arange(len(boxes)) % 2, torch.arange(len(boxes)) % 3
    there = [m.detach().cuda() for m in maps()]
    found = read_regions(there, STRIDES, image.cuda(), boxes.cuda(), level.cuda(), 7).cpu()
    torch.testing.assert_close(found, read_regions(maps(), STRIDES, image, boxes, level, 7), rtol=1e-3, atol=1e-3)
