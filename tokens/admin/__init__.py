"""Tokens in the admin; Django imports this package at its start."""

from tokens.admin import tokens

__all__ = ["tokens"]
