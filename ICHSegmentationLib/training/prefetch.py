"""Batches drawn ahead in threads, so that the device does not wait for data; and how long it waited all the same."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Prefetch:
    """The batches of given numbers, in their order.

    `batch` must depend on its number alone (no global random state): threads call it at the same time and ahead of
    time. With no threads each batch is drawn when it is asked for.
    """

    def __init__(self, batch: Callable[[int], Any], numbers: Iterable[int], threads: int) -> None:
        self.batch = batch
        self.numbers: Iterator[int] = iter(numbers)
        self.waited_s = 0.0
        self.pool = ThreadPoolExecutor(threads, "batch") if threads else None
        self.ahead = 2 * threads
        self.coming: deque[Future[Any]] = deque()

    def __enter__(self) -> Prefetch:
        self.fill()
        return self

    def __exit__(self, *error: object) -> None:
        if self.pool is not None:
            self.pool.shutdown(wait=True, cancel_futures=True)

    def fill(self) -> None:
        while self.pool is not None and len(self.coming) < self.ahead:
            number = next(self.numbers, None)
            if number is None:
                return
            self.coming.append(self.pool.submit(self.batch, number))

    def next(self) -> Any:
        started = time.perf_counter()
        batch = self.coming.popleft().result() if self.coming else self.batch(next(self.numbers))
        self.waited_s += time.perf_counter() - started
        self.fill()
        return batch
