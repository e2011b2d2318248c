"""The audit log: every write request, its client and its outcome."""

from app.audit.writer import Caller, Event, Verb, insert_event

__all__ = ["Caller", "Event", "Verb", "insert_event"]
