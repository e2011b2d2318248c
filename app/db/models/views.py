r"""The views for SQL users. Their columns have the same meaning on both databases.

`docs/audit.md` describes the columns. No view has a window function, so that a condition on a pod can use the
indexes of the tables. PostgreSQL cannot convert JSON with a NUL (`\u0000`) to `jsonb`, and one such image name
would break a view, so its views replace the NUL by U+FFFD.
"""

from collections.abc import Callable

Extract = Callable[[str, str], str]
"""Returns the SQL of the member of `c.value` at a path (`state.waiting.reason`), cast to a PostgreSQL type."""


def views(dialect: str) -> dict[str, str]:
    """Return the query of each view by name, in the order of creation."""
    return _sqlite() if dialect == "sqlite" else _postgresql()


def _sqlite() -> dict[str, str]:
    return {
        "pod_timeline": _TIMELINE,
        "current_pods": _current_pods("strftime('%Y-%m-%d %H:%M:%f', 'now')"),
        "pod_containers": _containers(
            "json_each(t.status, '$.' || k.kind || 'Statuses')",
            lambda path, _: f"json_extract(c.value, '$.{path}')",
            time="strftime('%Y-%m-%d %H:%M:%f000', ",
        ),
        "pod_startups": _startups(
            """EXISTS (
    SELECT 1 FROM json_each(s.status, '$.conditions') c
    WHERE json_extract(c.value, '$.type') = 'Ready' AND json_extract(c.value, '$.status') = 'True')""",
            "round((julianday(q.ready_at) - julianday(q.created_at)) * 86400, 3)",
        ),
        "audit_log": _audit_log("json_extract(a.change, '$.replaced')", "json_extract(a.change, '$.refused')"),
        "audit_changes": _audit_changes(
            "json_each(a.change, '$.changed')", lambda path, _: f"json_extract(c.value, '$.{path}')"
        ),
        "pod_files": _pod_files("json_each(v.files)", lambda path, _: f"json_extract(c.value, '$.{path}')"),
        "audit_mounts": _audit_mounts(
            "json_each(a.change, '$.volumes') m",
            "json_each(m.value, '$.sources') c",
            lambda path, _: f"json_extract(m.value, '$.{path}')",
            lambda path, _: f"json_extract(c.value, '$.{path}')",
        ),
    }


def _postgresql() -> dict[str, str]:
    def extract(path: str, type_: str) -> str:
        value = f"c.value #>> '{{{path.replace('.', ',')}}}'"
        return f"({value})::{type_}" if type_ != "text" else value

    status, change = (rf"replace({column}, '\u0000', '\ufffd')::jsonb" for column in ("t.status", "a.change"))
    return {
        "pod_timeline": _TIMELINE,
        "current_pods": _current_pods("clock_timestamp()"),
        "pod_containers": _containers(
            f"LATERAL jsonb_array_elements(\n         {status} -> (k.kind || 'Statuses'))",
            extract,
            time="timestamptz(",
        ),
        "pod_startups": _startups(
            """replace(s.status, '\\u0000', '\\ufffd')::jsonb
    @> '{"conditions": [{"type": "Ready", "status": "True"}]}'""",
            "round(extract(epoch FROM q.ready_at - q.created_at), 3)::float8",
        ),
        "audit_log": _audit_log(f"{change} ->> 'replaced'", f"{change} ->> 'refused'"),
        "audit_changes": _audit_changes(f"LATERAL jsonb_array_elements({change} -> 'changed')", extract),
        "pod_files": _pod_files("LATERAL jsonb_array_elements(v.files::jsonb)", extract),
        "audit_mounts": _audit_mounts(
            f"LATERAL jsonb_array_elements({change} -> 'volumes') m (value)",
            "LATERAL jsonb_array_elements(m.value -> 'sources') c (value) ON true",
            lambda path, _: f"m.value ->> '{path}'",
            extract,
        ),
    }


_TIMELINE = """
SELECT p.fleet, p.node_name, p.namespace, p.name, p.uid, s.phase, s.reason, s.effective_at AS since,
       coalesce(s.left_at,
                (SELECT min(n.effective_at) FROM pod_statuses n
                 WHERE n.pod_id = s.pod_id AND n.effective_at > s.effective_at),
                CASE WHEN p.deleted_at > s.effective_at THEN p.deleted_at END) AS until,
       p.deleted_at, s.cpu_millicores, s.memory_bytes, s.status
FROM pods p JOIN pod_statuses s ON s.pod_id = p.id
"""


def _current_pods(now: str) -> str:
    return f"""
SELECT p.fleet, p.node_name, p.namespace, p.name, p.uid, s.phase, s.reason, s.effective_at AS since, p.pod_ip,
       p.created_at, p.updated_at, p.revision, s.cpu_millicores, s.memory_bytes, s.status,
       p.deletion_requested_at, p.grace_ends_at
FROM fleets n JOIN pods p ON p.fleet = n.name JOIN pod_statuses s ON s.pod_id = p.id
WHERE p.deleted_at IS NULL AND s.effective_at = (
    SELECT max(c.effective_at) FROM pod_statuses c
    WHERE c.pod_id = p.id
          AND (c.effective_at <= p.updated_at OR c.effective_at <= n.settled_at OR c.effective_at <= {now}))
"""  # noqa: S608 - from the constants above


def _containers(statuses: str, extract: Extract, *, time: str) -> str:
    return f"""
SELECT t.fleet, t.node_name, t.namespace, t.name, t.uid, t.since, t.until, k.kind,
       {extract("name", "text")} AS container,
       {extract("image", "text")} AS image,
       {extract("ready", "boolean")} AS ready,
       {extract("restartCount", "bigint")} AS restarts,
       CASE WHEN {extract("state.running", "text")} IS NOT NULL THEN 'running'
            WHEN {extract("state.terminated", "text")} IS NOT NULL THEN 'terminated'
            ELSE 'waiting' END AS state,
       coalesce({extract("state.waiting.reason", "text")},
                {extract("state.terminated.reason", "text")}) AS reason,
       coalesce({extract("state.terminated.exitCode", "bigint")},
                {extract("lastState.terminated.exitCode", "bigint")}) AS exit_code,
       {time}coalesce({extract("state.terminated.finishedAt", "text")},
                {extract("lastState.terminated.finishedAt", "text")})) AS finished_at
FROM pod_timeline t
     CROSS JOIN (SELECT 'initContainer' AS kind UNION ALL SELECT 'container'
                 UNION ALL SELECT 'ephemeralContainer') k
     CROSS JOIN {statuses} c
"""  # noqa: S608 - from the constants above


def _startups(is_ready: str, seconds: str) -> str:
    return f"""
SELECT q.fleet, q.node_name, q.namespace, q.name, q.uid, q.created_at, q.deleted_at, q.ready_at,
       {seconds} AS seconds_to_ready
FROM (SELECT p.fleet, p.node_name, p.namespace, p.name, p.uid, p.created_at, p.deleted_at,
             (SELECT min(s.effective_at) FROM pod_statuses s
              WHERE s.pod_id = p.id AND s.effective_at >= p.created_at
                    AND {is_ready}) AS ready_at
      FROM pods p JOIN pod_statuses f ON f.pod_id = p.id AND f.effective_at = p.created_at) q
"""  # noqa: S608 - from the constants above


def _audit_log(replaced: str, refused: str) -> str:
    return f"""
SELECT a.id, a.at, a.fleet, coalesce(a.node_name, a.fleet) AS node_name, a.verb, a.namespace, a.name, a.uid,
       a.code,
       CASE WHEN a.code < 400 THEN 'done' ELSE 'refused' END AS outcome,
       {replaced} AS replaced_uid,
       {refused} AS refusal,
       a.change, a.address, a.user_agent, a.request_id, a.revision, p.created_at AS pod_created_at,
       p.deleted_at AS pod_deleted_at
FROM audit_events a LEFT JOIN pods p ON p.fleet = a.fleet AND p.uid = a.uid
"""  # noqa: S608 - from the constants above


def _audit_changes(changes: str, extract: Extract) -> str:
    return f"""
SELECT a.id, a.at, a.fleet, coalesce(a.node_name, a.fleet) AS node_name, a.namespace, a.name, a.uid,
       a.request_id, a.user_agent,
       {extract("field", "text")} AS field, {extract("from", "text")} AS image_before,
       {extract("to", "text")} AS image_after
FROM audit_events a
     CROSS JOIN {changes} c
"""  # noqa: S608 - from the constants above


def _pod_files(files: str, extract: Extract) -> str:
    return f"""
SELECT v.fleet, p.node_name, v.namespace, v.name, v.uid, v.volume,
       {extract("path", "text")} AS path,
       {extract("mode", "bigint")} AS mode,
       {extract("bytes", "bigint")} AS bytes,
       v.received_at, v.resource_version
FROM pod_volumes v LEFT JOIN pods p ON p.fleet = v.fleet AND p.uid = v.uid
     CROSS JOIN {files} c
"""  # noqa: S608 - from the constants above


def _audit_mounts(volumes: str, sources: str, of_volume: Extract, of_source: Extract) -> str:
    return f"""
SELECT a.id, a.at, a.fleet, coalesce(a.node_name, a.fleet) AS node_name, a.namespace, a.name, a.uid,
       {of_volume("name", "text")} AS volume,
       {of_volume("resourceVersion", "text")} AS volume_version,
       {of_source("kind", "text")} AS kind,
       {of_source("name", "text")} AS source,
       {of_source("resourceVersion", "text")} AS source_version,
       a.user_agent, a.request_id
FROM audit_events a
     CROSS JOIN {volumes}
     LEFT JOIN {sources}
"""  # noqa: S608 - from the constants above
