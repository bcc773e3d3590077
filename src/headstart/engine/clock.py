"""How long each lane computes, also where calculations run on after the call that started them."""

from __future__ import annotations

import time
from collections.abc import Generator, Hashable
from contextlib import contextmanager

import torch


class Stopwatch:
    """Adds up the seconds inside `running()`. On a GPU they are measured by its own events, without waiting."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def running(self, device: torch.device) -> Generator[None]:
        """A context whose computing time on `device` is added; it must not be entered twice at once."""
        if device.type == "cuda":
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            yield
            end.record()
            self._events.append((begin, end))
        else:
            started = time.perf_counter()
            yield
            self._seconds += time.perf_counter() - started

    def add(self, other: Stopwatch) -> None:
        """The other's time as well, without waiting for it."""
        self._seconds += other._seconds
        self._events += other._events

    @property
    def seconds(self) -> float:
        """Reading waits for what is still running on the GPU."""
        if self._events:
            self._events[-1][1].synchronize()
            self._seconds += sum(begin.elapsed_time(end) for begin, end in self._events) / 1000
            self._events = []
        return self._seconds


class SharedCosts:
    """Of one teacher: what it computed for a batch, how long each part took, and which lanes were given it.

    The first lane that asks waits for the computation, so that its clock has it already; `settle` adds it to the clock
    of every later one. Then the seconds of a lane are those that it would take alone, whichever lanes run beside it.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.clear()

    def clear(self) -> None:
        """The batch is over."""
        self._took: dict[Hashable, Stopwatch] = {}
        self._made_inside: dict[Hashable, set[Hashable]] = {}
        self._needed: dict[Hashable, set[Hashable]] = {}
        self._open: list[Hashable] = []
        self._asked: set[Hashable] = set()
        self._made: set[Hashable] = set()

    @contextmanager
    def making(self, what: Hashable) -> Generator[None]:
        """Times what is computed inside as `what`, with what it needs and is computed inside as well."""
        for outer in self._open:
            self._made_inside[outer].add(what)
        self._took[what], self._made_inside[what], self._needed[what] = Stopwatch(), set(), set()
        self._made.add(what)
        self._open.append(what)
        with self._took[what].running(self.device):
            yield
        self._open.pop()

    def ask(self, what: Hashable) -> None:
        """`what` was given to the lane whose turn it is, or is needed by what is being computed."""
        (self._needed[self._open[-1]] if self._open else self._asked).add(what)

    def settle(self, clock: Stopwatch) -> None:
        """Ends a lane's turn: what it was given and did not wait for is added to its clock."""
        given: set[Hashable] = set()
        left = list(self._asked)
        while left:
            what = left.pop()
            if what not in given:
                given.add(what)
                left += self._needed[what]
        given -= self._made
        for what in given.difference(*(self._made_inside[outer] for outer in given)):
            clock.add(self._took[what])
        self._asked, self._made = set(), set()
