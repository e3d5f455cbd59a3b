"""Arrays and bytes that may be made again, the last used ones kept up to a number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class ByteCache(Generic[Value]):
    """Values by key, of which the ones that were not used for longest go first. Safe in threads."""

    def __init__(self, limit_bytes: int) -> None:
        """Of at most so many bytes, or of one value that is larger."""
        self._limit_bytes = limit_bytes
        self._values: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._lock = threading.Lock()
        self.size_bytes = 0

    def get(self, key: Hashable) -> Value | None:
        """The value, if it is there still."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: Hashable, value: Value, size_bytes: int) -> None:
        """Keep a value in place of the key's former one."""
        with self._lock:
            self._remove(key)
            self._values[key] = value, size_bytes
            self.size_bytes += size_bytes
            while self.size_bytes > self._limit_bytes and len(self._values) > 1:
                self._remove(next(iter(self._values)))

    def _remove(self, key: Hashable) -> None:
        _, size_bytes = self._values.pop(key, (None, 0))
        self.size_bytes -= size_bytes
