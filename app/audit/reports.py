"""The reports on the audit log: questions with their SQL, which is the same for both databases.

`docs/audit.md` lists them for SQL users; a test compares it with this module and runs each report on a recorded
history. The parameter `:fleet` is the fleet of the settings, `:node` a node of it, or null for all; the user
gives the others.
"""

from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, Text, bindparam, text

from app.db.models import UtcDateTime

Parameter = Literal["at", "since", "until", "namespace", "name"]

TIMES: frozenset[Parameter] = frozenset({"at", "since", "until"})
_TIME_COLUMNS = ("at", "since", "until", "created_at", "deleted_at", "ready_at")


class Report(msgspec.Struct, frozen=True):
    """A report.

    Attributes:
        asks: the question in English.
        parameters: the parameters of the query besides `fleet` and `node`.
    """

    asks: str
    parameters: tuple[Parameter, ...]
    sql: str


class ReportResult(msgspec.Struct, frozen=True):
    """The rows of a report and the names of their columns."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def run_report(
    connection: Connection, report: Report, *, fleet: str, node: str | None = None, **values: object
) -> ReportResult:
    """Run a report on a node, or on all nodes of a fleet, with a value for each parameter; times are aware."""
    times = [bindparam(name, type_=UtcDateTime()) for name in TIMES & set(report.parameters)]
    query = text(report.sql).bindparams(bindparam("node", type_=Text()), *times)
    query_with_times = query.columns(**{name: UtcDateTime() for name in _TIME_COLUMNS})
    result = connection.execute(query_with_times, {"fleet": fleet, "node": node, **values})
    return ReportResult(tuple(result.keys()), [tuple(row) for row in result])


REPORTS = {
    "ran": Report(
        "Which pods ran on this node between two times?",
        ("since", "until"),
        """\
SELECT namespace, name, uid, min(since) AS since,
       CASE WHEN count(until) = count(*) THEN max(until) END AS until, max(node_name) AS node_name
FROM pod_timeline
WHERE fleet = :fleet AND node_name = coalesce(:node, node_name)
  AND phase = 'Running' AND since < :until AND (until IS NULL OR until > :since)
GROUP BY namespace, name, uid
ORDER BY since, namespace, name""",
    ),
    "status": Report(
        "What was the status of a pod at a time?",
        ("namespace", "name", "at"),
        """\
SELECT uid, phase, reason, since, until, status, node_name
FROM pod_timeline
WHERE fleet = :fleet AND node_name = coalesce(:node, node_name)
  AND namespace = :namespace AND name = :name
  AND since <= :at AND (until IS NULL OR until > :at)
  AND (deleted_at IS NULL OR deleted_at > :at)
ORDER BY since""",
    ),
    "node": Report(
        "Which pods did the node have at a time?",
        ("at",),
        """\
SELECT namespace, name, uid, phase, reason, since, node_name
FROM pod_timeline
WHERE fleet = :fleet AND node_name = coalesce(:node, node_name)
  AND since <= :at AND (until IS NULL OR until > :at)
  AND (deleted_at IS NULL OR deleted_at > :at)
ORDER BY namespace, name""",
    ),
    "promised": Report(
        "How much of each node's capacity was promised at a time?",
        ("at",),
        """\
SELECT node_name, count(*) AS pods, CAST(sum(cpu_millicores) AS bigint) AS cpu_millicores,
       CAST(sum(memory_bytes) AS bigint) AS memory_bytes
FROM pod_timeline
WHERE fleet = :fleet AND node_name = coalesce(:node, node_name)
  AND since <= :at AND (until IS NULL OR until > :at)
  AND (deleted_at IS NULL OR deleted_at > :at) AND phase NOT IN ('Succeeded', 'Failed')
GROUP BY node_name
ORDER BY node_name""",
    ),
    "time-to-ready": Report(
        "How long did pods take from their arrival to Ready?",
        ("since", "until"),
        """\
SELECT namespace, count(*) AS pods, min(CASE WHEN part >= 0.5 THEN seconds_to_ready END) AS p50,
       min(CASE WHEN part >= 0.99 THEN seconds_to_ready END) AS p99
FROM (SELECT namespace, seconds_to_ready,
             cume_dist() OVER (PARTITION BY namespace ORDER BY seconds_to_ready) AS part
      FROM pod_startups
      WHERE fleet = :fleet AND node_name = coalesce(:node, node_name)
        AND created_at >= :since AND created_at < :until AND ready_at <= :until) s
GROUP BY namespace
ORDER BY namespace""",
    ),
    "never-ready": Report(
        "Which pods had never become ready by a time?",
        ("at",),
        """\
SELECT namespace, name, uid, created_at, deleted_at, node_name
FROM pod_startups
WHERE fleet = :fleet AND node_name = coalesce(:node, node_name)
  AND created_at <= :at AND (ready_at IS NULL OR ready_at > :at)
ORDER BY created_at, namespace, name""",
    ),
    "restarts": Report(
        "Which images were restarted, and how often?",
        ("since", "until"),
        """\
SELECT image, CAST(sum(restarts) AS bigint) AS restarts, count(*) AS containers
FROM (SELECT image, max(restarts) - min(restarts) AS restarts
      FROM pod_containers
      WHERE fleet = :fleet AND node_name = coalesce(:node, node_name)
        AND since < :until AND (until IS NULL OR until > :since)
      GROUP BY uid, container, image) c
WHERE restarts > 0
GROUP BY image
ORDER BY restarts DESC, image""",
    ),
    "failures": Report(
        "Which images failed, with which exit codes?",
        ("since", "until"),
        """\
SELECT image, exit_code, count(*) AS failures
FROM (SELECT DISTINCT uid, container, image, exit_code, finished_at
      FROM pod_containers
      WHERE fleet = :fleet AND node_name = coalesce(:node, node_name)
        AND exit_code <> 0 AND finished_at >= :since AND finished_at < :until) f
GROUP BY image, exit_code
ORDER BY failures DESC, image, exit_code""",
    ),
    "oom-kills": Report(
        "Which containers were killed because of their memory?",
        ("since", "until"),
        """\
SELECT min(since) AS at, namespace, name, uid, container, image, max(node_name) AS node_name
FROM pod_containers
WHERE fleet = :fleet AND node_name = coalesce(:node, node_name)
  AND state = 'terminated' AND reason = 'OOMKilled'
  AND since >= :since AND since < :until
GROUP BY namespace, name, uid, container, image, restarts
ORDER BY at, namespace, name, container""",
    ),
    "who-deleted": Report(
        "Who deleted the pods of a name, or put others in their place?",
        ("namespace", "name"),
        """\
SELECT at, verb, coalesce(replaced_uid, uid) AS uid, user_agent, address, request_id, node_name
FROM audit_log
WHERE fleet = :fleet AND node_name = coalesce(:node, node_name)
  AND namespace = :namespace AND name = :name AND outcome = 'done'
  AND (verb = 'delete' OR replaced_uid IS NOT NULL)
ORDER BY at, id""",
    ),
    "what-changed": Report(
        "What did updates change in the pods of a name?",
        ("namespace", "name"),
        """\
SELECT at, field, image_before, image_after, user_agent, request_id, node_name
FROM audit_changes
WHERE fleet = :fleet AND node_name = coalesce(:node, node_name)
  AND namespace = :namespace AND name = :name
ORDER BY at, id, field""",
    ),
    "refused": Report(
        "Which write requests failed, and why?",
        ("since", "until"),
        """\
SELECT at, verb, namespace, name, code, refusal, user_agent, request_id, node_name
FROM audit_log
WHERE fleet = :fleet AND node_name = coalesce(:node, node_name)
  AND outcome = 'refused' AND at >= :since AND at < :until
  AND verb IN ('create', 'update', 'delete', 'mount')
ORDER BY at, id""",
    ),
    "streams": Report(
        "Who executed commands in the pods of a name, attached to them or reached their ports?",
        ("namespace", "name"),
        """\
SELECT at, verb, uid, code, change, user_agent, address, request_id, node_name
FROM audit_log
WHERE fleet = :fleet AND node_name = coalesce(:node, node_name)
  AND namespace = :namespace AND name = :name
  AND verb IN ('exec', 'attach', 'port-forward')
ORDER BY at, id""",
    ),
    "mounts": Report(
        "Which versions of ConfigMaps, Secrets and other objects were pods of a name given to mount?",
        ("namespace", "name"),
        """\
SELECT at, uid, volume, volume_version, kind, source, source_version, user_agent, request_id,
       node_name
FROM audit_mounts
WHERE fleet = :fleet AND node_name = coalesce(:node, node_name)
  AND namespace = :namespace AND name = :name
ORDER BY at, id, volume, kind, source""",
    ),
    "writers": Report(
        "Who writes to this node, and how much?",
        ("since", "until"),
        """\
SELECT user_agent, address, sum(CASE WHEN verb = 'create' THEN 1 ELSE 0 END) AS creates,
       sum(CASE WHEN verb = 'update' THEN 1 ELSE 0 END) AS updates,
       sum(CASE WHEN verb = 'delete' THEN 1 ELSE 0 END) AS deletes,
       sum(CASE WHEN outcome = 'refused' THEN 1 ELSE 0 END) AS refused
FROM audit_log
WHERE fleet = :fleet AND node_name = coalesce(:node, node_name)
  AND at >= :since AND at < :until AND verb IN ('create', 'update', 'delete')
GROUP BY user_agent, address
ORDER BY count(*) DESC, user_agent, address""",
    ),
    "to-come": Report(
        "What was still to come at a time, as far as it was known?",
        ("at",),
        """\
SELECT since, namespace, name, phase, reason, node_name
FROM pod_timeline
WHERE fleet = :fleet AND node_name = coalesce(:node, node_name)
  AND since > :at AND (deleted_at IS NULL OR deleted_at > :at)
ORDER BY since, namespace, name""",
    ),
}
"""The reports by their names in `vkweb audit query`."""
