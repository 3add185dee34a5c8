"""The requests that a token with a rate limit made in the present minute."""

from __future__ import annotations

from django.db import models

from tokens.models.token import APIToken


class TokenRate(models.Model):
    """The count of one token in one minute, which all web processes share.

    `minute` is the number of minutes since 1970. The row of a token is used again for
    each minute. There is no constraint in the database, so that a count waits for
    nobody who has locked the token.
    """

    token = models.OneToOneField(
        APIToken,
        models.CASCADE,
        primary_key=True,
        related_name="rate",
        db_constraint=False,
    )
    minute = models.BigIntegerField()
    count = models.PositiveBigIntegerField(default=0)

    class Meta:
        verbose_name = "count of requests"

    def __str__(self) -> str:
        return f"requests of a{self.token_id}"
