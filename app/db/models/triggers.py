"""Triggers: those that keep the audit log append-only, and one that notifies waiting readers of new revisions.

The audit log rejects updates and deletions of events.
An event can be deleted if a later `prune` event covers its ID, so that each deletion is recorded.
`app.audit.retention` inserts these events; a user who deletes events in SQL has to insert one as well.
"""

GUARDS = {
    "sqlite": [
        """CREATE TRIGGER audit_events_no_update BEFORE UPDATE ON audit_events
BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END""",
        """CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events
WHEN NOT EXISTS (SELECT 1 FROM audit_events WHERE fleet = OLD.fleet AND pruned_through >= OLD.id)
BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END""",
        # INSERT OR REPLACE deletes rows without firing the delete trigger.
        """CREATE TRIGGER audit_events_no_replace BEFORE INSERT ON audit_events
WHEN EXISTS (SELECT 1 FROM audit_events WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END""",
    ],
    "postgresql": [
        """CREATE FUNCTION audit_events_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    IF EXISTS (SELECT FROM audit_events WHERE fleet = OLD.fleet AND pruned_through >= OLD.id) THEN
      RETURN OLD;
    END IF;
  END IF;
  RAISE EXCEPTION 'audit_events is append-only';
END $$""",
        """CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR TRUNCATE ON audit_events
FOR EACH STATEMENT EXECUTE FUNCTION audit_events_refuse()""",
        """CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events
FOR EACH ROW EXECUTE FUNCTION audit_events_refuse()""",
    ],
}
"""The statements by dialect, in the order of execution."""

NOTIFICATIONS = {
    "sqlite": [],
    "postgresql": [
        """CREATE FUNCTION fleets_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('fleet_' || md5(NEW.name), '');
  RETURN NULL;
END $$""",
        """CREATE TRIGGER fleets_notify AFTER UPDATE OF revision ON fleets
FOR EACH ROW EXECUTE FUNCTION fleets_notify()""",
    ],
}
"""The statements by dialect; SQLite has no notifications. See :mod:`app.db.changes`."""
