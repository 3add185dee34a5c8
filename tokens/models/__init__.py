"""API tokens: the stored data, and which of the tokens are valid."""

from tokens.models.bulk import BulkChange
from tokens.models.exchange import TokenExchange
from tokens.models.leak import Leak, LeakReport
from tokens.models.notice import TokenNotice
from tokens.models.policy import TokenPolicy, TokenPreferences, TokenRequest
from tokens.models.rate import TokenRate
from tokens.models.token import (
    AUTOMATIC,
    ENDED_KEPT,
    SOON,
    APIToken,
    APITokenQuerySet,
    CreatedVia,
    PreviousSecret,
    Purpose,
)
from tokens.models.usage import TokenDay, TokenOperation, TokenUse

__all__ = [
    "AUTOMATIC",
    "ENDED_KEPT",
    "SOON",
    "APIToken",
    "APITokenQuerySet",
    "BulkChange",
    "CreatedVia",
    "Leak",
    "LeakReport",
    "PreviousSecret",
    "Purpose",
    "TokenDay",
    "TokenExchange",
    "TokenNotice",
    "TokenOperation",
    "TokenPolicy",
    "TokenPreferences",
    "TokenRate",
    "TokenRequest",
    "TokenUse",
]
