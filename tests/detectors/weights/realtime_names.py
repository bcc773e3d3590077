"""The names and shapes of RTMDet's and YOLOX's state dicts, and states made of them.

realtime_state_dicts.txt.gz lists them for mmdetection 3.3.0 and YOLOX 6ddff48, with 80 classes; a heading has library,
configuration, the number of tensors and the number of parameters. `NAME BN C` is a batch norm of C channels.
"""

import ast
import gzip
import re
from pathlib import Path

from torch import Tensor

from detectors.weights.official_names import fill

FILE = Path(__file__).parent / "realtime_state_dicts.txt.gz"
NORM = ("weight", "bias", "running_mean", "running_var")


def read_sections() -> dict[str, tuple[dict[str, tuple[int, ...]], int]]:
    """`mmdetection rtmdet_tiny`, `megvii yolox_s` ... -> names with shapes, and the number of parameters."""
    sections: dict = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for line in gzip.decompress(FILE.read_bytes()).decode().splitlines():
        if line.startswith("#####"):
            _, library, config, count, parameters = line.split()
            shapes = {}
            name = re.search(r"(rtmdet|yolox)_(nano|tiny|s|m)", config)[0]
            sections[f"{library} {name}"] = (shapes, int(parameters), int(count))
        elif " BN " in line:
            key, _, channels = line.split()
            shapes |= {f"{key}.{part}": (int(channels),) for part in NORM} | {f"{key}.num_batches_tracked": ()}
        elif line:
            key, shape = line.split()
            shapes[key] = ast.literal_eval(shape)
    assert all(len(shapes) == count for shapes, _, count in sections.values())
    return {name: (shapes, parameters) for name, (shapes, parameters, _) in sections.items()}


SECTIONS = read_sections()


def make_state(name: str) -> dict[str, Tensor]:
    """A state with these names and shapes, filled with a number for each tensor; what levels share is equal."""
    shared = re.compile(r"(bbox_head\.(?:cls|reg)_convs\.)\d+(\.\d+\.conv\.weight)")
    return {key: fill(shared.sub(r"\g<1>0\2", key), shape) for key, shape in SECTIONS[name][0].items()}
