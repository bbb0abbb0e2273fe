"""Who asks (tokens, tickets, sessions) and what they may read (roles)."""

from .principal import Principal, Unauthenticated
from .roles import Forbidden, UnknownOrganization, authorize
from .sessions import SessionService
from .tickets import TicketService
from .tokens import TokenService

__all__ = [
    "Forbidden",
    "Principal",
    "SessionService",
    "TicketService",
    "TokenService",
    "Unauthenticated",
    "UnknownOrganization",
    "authorize",
]
