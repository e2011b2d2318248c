"""The audit log: every write request, its client and its outcome."""

from app.audit.writer import Caller, Event, Outcome, Verb, append_events, insert_events

__all__ = ["Caller", "Event", "Outcome", "Verb", "append_events", "insert_events"]
