"""Pauses between the tries of an operation that failed.

Standard library only, because the supervisor imports this module too.
"""

from __future__ import annotations

import asyncio


class Backoff:
    """A pause in seconds that grows after each failure up to a limit."""

    def __init__(self, first: float, longest: float, *, factor: float = 2.0) -> None:
        self.first, self.longest, self.factor = first, longest, factor
        self.pause = first

    def grow(self) -> None:
        """Make the next pause longer, after a failure."""
        self.pause = min(self.pause * self.factor, self.longest)

    def reset(self) -> None:
        """Begin with the first pause again, after a success."""
        self.pause = self.first

    async def sleep(self) -> None:
        """Sleep for the pause, and make the next one longer."""
        await asyncio.sleep(self.pause)
        self.grow()
