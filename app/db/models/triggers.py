"""What keeps the audit append-only: triggers that refuse to change a row, and to let one go.

A row may go once a later one says that it was pruned, so none goes without a word. That word is for the
retention (`app.audit.retention`) to say; who says it by hand leaves a row as well.
"""

GUARDS = {
    "sqlite": [
        """CREATE TRIGGER audit_events_no_update BEFORE UPDATE ON audit_events
BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END""",
        """CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events
WHEN NOT EXISTS (SELECT 1 FROM audit_events WHERE node_name = OLD.node_name AND pruned_through >= OLD.id)
BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END""",
        # INSERT OR REPLACE deletes without a word to the trigger for deletes.
        """CREATE TRIGGER audit_events_no_replace BEFORE INSERT ON audit_events
WHEN EXISTS (SELECT 1 FROM audit_events WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END""",
    ],
    "postgresql": [
        """CREATE FUNCTION audit_events_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    IF EXISTS (SELECT FROM audit_events WHERE node_name = OLD.node_name AND pruned_through >= OLD.id) THEN
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
"""By dialect: statements, in the order in which they are to be executed."""
