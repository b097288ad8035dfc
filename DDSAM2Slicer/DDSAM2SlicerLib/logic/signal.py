"""The smallest way to be told that something happened (layer: logic)."""

from __future__ import annotations

from collections.abc import Callable


class Signal:
    """Calls every connected function, in the order in which they were connected."""

    def __init__(self) -> None:
        """Nobody listens yet."""
        self._slots: list[Callable[..., object]] = []

    def connect(self, slot: Callable[..., object]) -> Callable[[], None]:
        """Call a function on every ``emit`` from now on; returns a function that ends this."""
        self._slots.append(slot)

        def disconnect() -> None:
            if slot in self._slots:
                self._slots.remove(slot)

        return disconnect

    def emit(self, *values: object) -> None:
        """Tell everybody who listens; those who connect or leave meanwhile count from the next time."""
        for slot in tuple(self._slots):
            slot(*values)
