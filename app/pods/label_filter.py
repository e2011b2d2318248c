"""A label selector as a condition of SQL."""

from sqlalchemy import ColumnElement, Numeric, and_, case, cast, func, or_

from app.db.json_text import JsonText
from app.db.models import Pod
from app.kubernetes.label_selector import LabelSelector, Requirement

_DIGITS = "0123456789"
_MAX_DIGITS = 18


def has_labels(selector: LabelSelector) -> ColumnElement[bool]:
    """Return the condition that selects the pods whose labels match a selector."""
    return and_(True, *map(_matches, selector))


def _matches(requirement: Requirement) -> ColumnElement[bool]:
    value = JsonText(Pod.labels, requirement.key)
    if requirement.operator == "exists":
        return value.is_not(None)
    if requirement.operator == "does not exist":
        return value.is_(None)
    if requirement.operator == "in":
        return value.in_(requirement.values)
    if requirement.operator == "not in":
        return or_(value.is_(None), value.not_in(requirement.values))
    # A label value has no sign. The CASE keeps a database from converting a value that is no number.
    is_number = and_(value != "", func.rtrim(value, _DIGITS) == "", func.length(value) <= _MAX_DIGITS)
    number = case((is_number, cast(value, Numeric)))
    limit = int(requirement.values[0])
    return number > limit if requirement.operator == "greater than" else number < limit
