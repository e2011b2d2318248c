"""A label selector as a condition of SQL."""

import orjson
from sqlalchemy import ColumnElement, Numeric, and_, case, cast, func, not_, or_

from app.db.json_text import JsonText
from app.db.models import Pod
from app.db.text_search import Contains
from app.kubernetes.label_selector import LabelSelector, Requirement

_DIGITS = "0123456789"
_MAX_DIGITS = 18


def has_labels(selector: LabelSelector) -> ColumnElement[bool]:
    """Return the condition that selects the pods whose labels match a selector."""
    return and_(True, *map(_matches, selector))


def _matches(requirement: Requirement) -> ColumnElement[bool]:
    value = JsonText(Pod.labels, requirement.key)
    if requirement.operator in ("exists", "does not exist"):
        exists = and_(_has_text(requirement.key), value.is_not(None))
        return exists if requirement.operator == "exists" else not_(exists)
    if requirement.operator in ("in", "not in"):
        texts = or_(False, *(_has_text(requirement.key, wanted) for wanted in requirement.values))
        is_in = and_(texts, value.is_not(None), value.in_(requirement.values))
        return is_in if requirement.operator == "in" else not_(is_in)
    # A label value has no sign. The CASE keeps a database from converting a value that is no number.
    is_number = and_(value != "", func.rtrim(value, _DIGITS) == "", func.length(value) <= _MAX_DIGITS)
    number = case((is_number, cast(value, Numeric)))
    limit = int(requirement.values[0])
    return number > limit if requirement.operator == "greater than" else number < limit


def _has_text(key: str, value: str = "") -> ColumnElement[bool]:
    """Return whether the JSON of the labels has the text of a label: few do, and only these are decoded."""
    text = f"{orjson.dumps(key).decode()}:{orjson.dumps(value).decode() if value else ''}"
    return Contains(func.coalesce(Pod.labels, ""), text)
