"""Answers that take a while to come; they wait for servers and stand with them."""

from servers.deferred import Deferred, Waiting

__all__ = ["Deferred", "Waiting"]
