"""Files of what a teacher said to a view of an image, within a limit of bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from headstart.atomic import alone, atomically, remove_partials
from headstart.structures import ImageBatch

LOCK, LEDGER = ".lock", ".bytes"

Part = dict[str, Tensor]
"""What is kept of one image under one name."""

LAYOUT = "|channels_last"
"""The end of a tensor's name in a file, where it is kept as (1, H, W, C) and read as (1, C, H, W) of that layout."""


class Store:
    """A folder of files, one per teacher, view and part: `TEACHER/KE/KEY.PART.safetensors`.

    Nothing is ever taken out: a run asks for every image once per epoch, so that to drop what was not used for the
    longest time would drop just what is asked for next. What no longer fits is not stored. Of several processes one
    writes at a time, so that all of them together stay within the limit (without locks, each does for itself).

    folder   of all teachers;  teacher  the name of this one's folder in it
    limit    bytes that the files of the folder may have together
    report   told once when the limit is reached, or nothing can be written
    """

    def __init__(self, folder: Path, teacher: str, limit: int, report: Callable[[str], None]) -> None:
        self.folder, self.teacher, self.limit, self.report = folder, teacher, limit, report
        self.writes = True

    def open(self) -> int:
        """Counts what is there, which another run may have left; gives the bytes."""
        with alone(self.folder / LOCK):
            used = 0
            for place in [self.folder, *(path for path in self.folder.glob("*/*") if path.is_dir())]:
                remove_partials(place)  # of processes that were killed: whoever writes holds the lock
                used += sum(file.stat().st_size for file in place.glob("*.safetensors"))
            with self._trouble():
                self._note(used)
        return used

    def get(self, key: str, part: str) -> Part | None:
        """What was stored, to the bit and in its layout; None where there is nothing that can be read."""
        try:
            found = load_file(self._file(key, part))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, SafetensorError):
            return None  # damaged: it is made and written again
        return dict(_unpack(name, value) for name, value in found.items())

    def put(self, key: str, part: str, values: Mapping[str, Tensor]) -> None:
        """Stores the tensors, on any device, unless that would exceed the limit."""
        if not self.writes:
            return
        packed = dict(_pack(name, value) for name, value in values.items())
        file = self._file(key, part)
        with alone(self.folder / LOCK), self._trouble():
            before = file.stat().st_size if file.exists() else 0
            used = int((self.folder / LEDGER).read_text()) - before
            with atomically(file) as partial:
                save_file(packed, partial)
                size = partial.stat().st_size
                if used + size > self.limit:
                    raise _FullError
                self._note(used + size)

    def _note(self, used: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / LEDGER).write_text(str(used))

    def _trouble(self) -> _Trouble:
        return _Trouble(self)

    def _file(self, key: str, part: str) -> Path:
        return self.folder / self.teacher / key[:2] / f"{key}.{part.replace('/', '-')}.safetensors"


class _FullError(Exception):
    """One file more would exceed the limit."""


class _Trouble:
    """Inside it a store that is full, or cannot be written, says so once and goes on without writing."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        store = self.store
        if isinstance(error, _FullError):
            store.report(
                f"The teacher's cache has reached its limit of {store.limit / 1e9:g} GB (teacher.cache_limit): what "
                "is not in it is computed anew."
            )
        elif isinstance(error, OSError):
            store.report(
                f"The teacher's cache cannot be written ({error.strerror or error}: {store.folder}): what is not in "
                "it is computed anew."
            )
        else:
            return False
        store.writes = False
        return True


def view_keys(view: ImageBatch) -> list[str]:
    """What names the view of each image of a batch: 32 hexadecimal digits of its pixels, their size and the padded one.

    The pixels hold whatever was done to the image: size, mirror, colours. The padded size counts, because layers see
    what lies beyond the border. So does whether an image is the only one of its batch: processors convolve a single
    image in another order of summation, and several ones in the same, however many.
    """
    pixels = view.pixels.cpu()
    keys = []
    for image, (height, width) in zip(pixels, view.sizes):
        found = hashlib.blake2b(image[:, :height, :width].contiguous().numpy().tobytes(), digest_size=16)
        found.update(repr((height, width, tuple(pixels.shape[-2:]), pixels.dtype, len(view) == 1)).encode())
        keys.append(found.hexdigest())
    return keys


def _pack(name: str, value: Tensor) -> tuple[str, Tensor]:
    value = value.detach().cpu()
    if value.ndim == 4 and not value.is_contiguous() and value.is_contiguous(memory_format=torch.channels_last):
        return f"{name}{LAYOUT}", value.permute(0, 2, 3, 1).contiguous()
    return name, value.contiguous()


def _unpack(name: str, value: Tensor) -> tuple[str, Tensor]:
    if name.endswith(LAYOUT):
        return name.removesuffix(LAYOUT), value.permute(0, 3, 1, 2)
    return name, value
