"""The names and shapes of mmdetection's state dicts, and states made of them.

mmdet_state_dicts.txt.gz lists, for detectors built by mmdetection 3.0.0rc6 from its own configurations, every tensor of
the state dict; a heading has the configuration, the number of tensors and the number of parameters.
"""

import ast
import gzip
import zlib
from pathlib import Path

import torch
from torch import Tensor

FILE = Path(__file__).parent / "mmdet_state_dicts.txt.gz"


def read_sections() -> dict[str, tuple[dict[str, tuple[int, ...]], int]]:
    """Configuration -> names with shapes, and the number of parameters."""
    sections: dict = {}
    for line in gzip.decompress(FILE.read_bytes()).decode().splitlines():
        if line.startswith("#####"):
            config, _, parameters = line.removeprefix("##### ").rsplit(" ", 2)
            name = config.split("/")[-1].removesuffix(".py").removeprefix("(derived) ").replace(" ", "_")
            shapes: dict[str, tuple[int, ...]] = {}
            sections[name] = (shapes, int(parameters))
        elif line:
            key, shape = line.split(" ", 1)
            shapes[key] = ast.literal_eval(shape)
    return sections


SECTIONS = read_sections()


def make_state(name: str) -> dict[str, Tensor]:
    """A state with the names and shapes of a configuration, each tensor filled with a number made of its name."""
    return {key: fill(key, shape) for key, shape in SECTIONS[name][0].items()}


def fill(key: str, shape: tuple[int, ...]) -> Tensor:
    if key.endswith("num_batches_tracked"):
        return torch.tensor(7)
    if key.endswith("integral.project"):
        return torch.arange(float(shape[0]))
    if key.endswith("relative_position_index"):
        return relative_positions()
    # A view of one number: nothing is stored but the number.
    return torch.tensor(zlib.crc32(key.encode()) / 2**32).expand(shape)


def relative_positions(window: int = 7) -> Tensor:
    """As mmdetection makes them: sums of two sequences, the second turned round."""
    sequence = torch.tensor([row * (2 * window - 1) + column for row in range(window) for column in range(window)])
    return (sequence[:, None] + sequence[None, :]).flip(1)
