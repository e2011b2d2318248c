"""The record of every write request: what was asked, by whom, and what came of it."""

from app.audit.record import Caller, Event, Verb, record

__all__ = ["Caller", "Event", "Verb", "record"]
