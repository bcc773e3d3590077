"""Decodes many picture files once, in parallel, to learn their sizes, what is wrong with them, and their checksums.

On Linux this is done by forked processes: whatever a decoder does to one of them, the file is named and the rest goes
on; and what libjpeg complains about while it passes over damage is read from their standard error. Elsewhere threads do
it, without these two.
"""

from __future__ import annotations

import faulthandler
import gc
import hashlib
import os
import re
import selectors
import signal
import struct
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from headstart.data.decode import decode
from headstart.data.images import read_bytes
from headstart.data.unreadable import UnreadableError

Progress = Callable[[int, int], None]
"""Called with how many files are done, and how many there are."""

FORKS = sys.platform.startswith("linux")

MOST_PROCESSES = 32

FILES_EACH = 64
"""With fewer files than this for each process, fewer processes are started."""

FATAL = ("premature end of data segment", "bad Huffman code")
"""Of libjpeg's complaints about damage those after which a part of the picture is wrong."""

COMPLAINT = re.compile(r"Corrupt JPEG data: (.*)")

RECORD = struct.Struct("=qiiQ?HH")
"""Number of the file, height, width, checksum, `Finding.lasting`, and the lengths of the two texts that follow."""


class Finding(NamedTuple):
    """What was found out about a file.

    height, width  of the upright picture, 0 where there is none
    digest         64-bit checksum of the bytes of the file (BLAKE2b), 0 if they could not be read
    error          why it gives no picture, "" if it does;  remark: what is remarkable about one that is used
    lasting        whether this is so until the file changes
    """

    height: int = 0
    width: int = 0
    digest: int = 0
    error: str = ""
    remark: str = ""
    lasting: bool = True


@dataclass
class Findings:
    """`Finding`s of N files, packed: sizes (N, 2) int32 height, width; digests (N,) uint64; texts by number of file.

    fleeting  the numbers of those that may be otherwise the next time, though the file is the same
    """

    sizes: np.ndarray
    digests: np.ndarray
    errors: dict[int, str] = field(default_factory=dict)
    remarks: dict[int, str] = field(default_factory=dict)
    fleeting: set[int] = field(default_factory=set)

    @classmethod
    def blank(cls, count: int) -> Findings:
        """Of files about which nothing is known."""
        return cls(np.zeros((count, 2), np.int32), np.zeros(count, np.uint64))

    def put(self, number: int, found: Finding) -> None:
        """Writes down what was found out about a file."""
        self.sizes[number] = found.height, found.width
        self.digests[number] = found.digest
        for texts, text in ((self.errors, found.error), (self.remarks, found.remark)):
            if text:
                texts[number] = text
        if not found.lasting:
            self.fleeting.add(number)


def inspect_files(files: Sequence[str], progress: Progress | None = None) -> Findings:
    """Decodes each file once; `progress` is called after every few."""
    findings = Findings.blank(len(files))
    inspect = _by_processes if FORKS else _by_threads
    for done, (number, found) in enumerate(inspect(files), 1):
        findings.put(number, found)
        if progress is not None and (done % 64 == 0 or done == len(files)):
            progress(done, len(files))
    return findings


def inspect_file(file: str, complaints: Callable[[], str] = str) -> Finding:
    """Reads and decodes one file. `complaints` gives what libjpeg has printed since it was last called."""
    digest = 0
    try:
        data = read_bytes(Path(file))
        digest = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
        picture = decode(data)
        remark = picture.remark
        said = COMPLAINT.findall(complaints())
        if said and not remark:
            worst = next((line for line in said if line in FATAL), None)
            if worst is not None:
                raise UnreadableError(f"damaged (JPEG: {worst})")
            remark = f"bytes were passed over (JPEG: {said[0]})"
    except UnreadableError as reason:
        return Finding(0, 0, digest, str(reason), lasting=reason.lasting)
    height, width = picture.pixels.shape[1:]
    return Finding(height, width, digest, remark=remark)


def _by_threads(files: Sequence[str]) -> Iterator[tuple[int, Finding]]:
    with warnings.catch_warnings(), ThreadPoolExecutor(_processors()) as pool:
        warnings.simplefilter("ignore")
        for first in range(0, len(files), 1024):  # a few at a time: no list of futures as long as the data set
            yield from enumerate(pool.map(inspect_file, files[first : first + 1024]), first)


def _by_processes(files: Sequence[str]) -> Iterator[tuple[int, Finding]]:
    count = max(1, min(_processors(), MOST_PROCESSES, -(-len(files) // FILES_EACH)))
    children: dict[int, _Child] = {}
    try:
        with selectors.DefaultSelector() as ready:

            def start(numbers: range) -> None:
                if len(numbers):
                    child = _Child(files, numbers, close=list(children))
                    children[child.pipe] = child
                    ready.register(child.pipe, selectors.EVENT_READ)

            for k in range(count):
                start(range(k, len(files), count))
            while children:
                for key, _ in ready.select():
                    child = children[key.fd]
                    block = os.read(child.pipe, 1 << 16)
                    yield from child.take(block)
                    if not block:
                        ready.unregister(child.pipe)
                        del children[child.pipe]
                        ended = child.end()
                        if child.left:
                            # Records come in order, so the first that is missing is the one it died of.
                            yield child.left[0], _crash(ended)
                            start(child.left[1:])
    finally:
        for child in children.values():
            child.kill()


def _crash(status: int) -> Finding:
    if status == -signal.SIGKILL:
        return Finding(error="its decoder was killed (not enough memory?)", lasting=False)
    return Finding(error=f"damaged (it ends the decoder: {_signal_name(status)})")


def _signal_name(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"


class _Child:
    """A forked process that inspects the files of these numbers and sends a record of each through a pipe."""

    def __init__(self, files: Sequence[str], numbers: range, close: Iterable[int]) -> None:
        self.left = numbers
        self.rest = b""
        self.pipe, writing = os.pipe()
        with warnings.catch_warnings():
            # Python warns of forks beside threads; the child only reads files, decodes and writes to its pipe.
            warnings.simplefilter("ignore")
            self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                for other in (*close, self.pipe):
                    os.close(other)
                _serve(files, numbers, writing)
                status = 0
            finally:
                os._exit(status)
        os.close(writing)

    def take(self, block: bytes) -> Iterator[tuple[int, Finding]]:
        """The records that are complete with these bytes."""
        data, position = self.rest + block, 0
        while len(data) - position >= RECORD.size:
            number, height, width, digest, lasting, *lengths = RECORD.unpack_from(data, position)
            texts = position + RECORD.size
            middle, end = texts + lengths[0], texts + sum(lengths)
            if end > len(data):
                break
            error, remark = data[texts:middle].decode(), data[middle:end].decode()
            yield number, Finding(height, width, digest, error, remark, lasting)
            self.left, position = self.left[1:], end
        self.rest = data[position:]

    def end(self) -> int:
        """Waits for the end; its exit status, or minus the number of the signal that ended it."""
        os.close(self.pipe)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def kill(self) -> None:
        """Ends it at once."""
        os.kill(self.pid, signal.SIGKILL)
        self.end()


def _serve(files: Sequence[str], numbers: range, pipe: int) -> None:
    """What the child does. It must not use what other threads of its parent may have held when it was forked."""
    faulthandler.disable()
    gc.freeze()  # what the parent owns is its own to give back: tensors of an accelerator, files
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)  # the parent's threads are not here
    warnings.simplefilter("ignore")
    heard = os.memfd_create("libjpeg")
    os.dup2(heard, 2)

    def complaints() -> str:
        length = os.fstat(heard).st_size
        text = os.pread(heard, min(length, 4096), 0).decode("ascii", "replace")
        if length:
            os.ftruncate(heard, 0)
            os.lseek(heard, 0, os.SEEK_SET)
        return text

    for number in numbers:
        complaints()
        found = inspect_file(files[number], complaints)
        texts = [text.encode()[:1000].decode("utf-8", "ignore").encode() for text in (found.error, found.remark)]
        record = RECORD.pack(number, *found[:3], found.lasting, *map(len, texts)) + b"".join(texts)
        while record:
            record = record[os.write(pipe, record) :]


def _processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
