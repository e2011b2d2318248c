"""The record of every write request: what was asked, by whom, and what came of it."""

from app.audit.writer import Caller, Event, Verb, insert_event

__all__ = ["Caller", "Event", "Verb", "insert_event"]
