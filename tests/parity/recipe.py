"""The weights that the HEAD fixture was computed with.

Its arrays `w/student/*` and `w/adapt/*` were saved after the four training steps (they share memory with the model
that was trained): `train/loss_values` ends at them, everything else was computed before. The weights before are a
function of each parameter's name, the recipe of the fixtures' README; parameters that are frozen prove it.
"""

import zlib

import numpy as np

# word in the name, gain of the variance of weights, mean and spread of the bias; the first that fits
GAINS = [
    ("backbone.conv1", 2.0, 0.0, 0.1),
    ("backbone.", 0.64, 0.0, 0.1),
    ("neck.", 0.49, 0.0, 0.1),
    ("retina_cls", 0.25, -3.0, 0.5),
    ("retina_reg", 0.09, 0.0, 0.1),
    ("fc_cls", 1.0, 0.0, 0.5),
    ("fc_reg", 0.09, 0.0, 0.1),
    ("shared_fcs", 0.64, 0.0, 0.1),
    ("_convs.", 2.0, 0.0, 0.1),
    ("_adapts.", 2.0, 0.0, 0.1),
]


def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The value of parameter or buffer `name` before training."""
    adapter = name.startswith("_distiller.")
    word, key = ("head-adapts", name.removeprefix("_distiller.")) if adapter else ("head-student", name)
    x = np.random.RandomState(zlib.crc32(f"{word}|{key}".encode())).standard_normal(shape)
    gain, mean, spread = next(row[1:] for row in GAINS if row[0] in name)
    if name.endswith("running_mean"):
        x = 0.1 * x
    elif name.endswith("running_var"):
        x = 1 + 0.2 * np.abs(x)
    elif name.endswith("bias"):
        x = mean + spread * x
    elif len(shape) > 1:
        x = x * np.sqrt(gain / np.prod(shape[1:]))
    else:
        x = 1 + 0.1 * x
    return x.astype(np.float32)


def untrained(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`arrays` with the student's weights as they were before training, if they follow the recipe; else unchanged."""
    student = {key: value for key, value in arrays.items() if key.startswith("w/student/") and value.ndim}
    before = {key: drawn(key.removeprefix("w/student/"), value.shape) for key, value in student.items()}
    frozen = [key for key in student if "backbone.layer1." in key or "backbone.conv1." in key]
    if not all(np.allclose(before[key], student[key], rtol=0, atol=1e-6) for key in frozen):
        return arrays
    return arrays | before
