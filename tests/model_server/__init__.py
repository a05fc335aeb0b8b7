"""A server on the loopback address that speaks the Messages and Batches APIs as documented."""

from tests.model_server.replies import (
    Asked,
    Reply,
    Script,
    cut,
    dropped,
    error,
    expired,
    garbles,
    late,
    overloaded,
    rate_limited,
    refuses,
    says,
    unprocessed,
)
from tests.model_server.server import ModelServer

__all__ = [
    "Asked",
    "ModelServer",
    "Reply",
    "Script",
    "cut",
    "dropped",
    "error",
    "expired",
    "garbles",
    "late",
    "overloaded",
    "rate_limited",
    "refuses",
    "says",
    "unprocessed",
]
