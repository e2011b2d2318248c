"""All checks: one function each; its docstring states the rule of the contract and the reason for it."""

from conformance.check import Check
from conformance.checks import (
    access,
    batches,
    changes,
    deletion,
    environments,
    errors,
    extensions,
    http,
    logs,
    node,
    reads,
    statuses,
    streams,
    usage,
    volumes,
    writes,
)

ALL: tuple[Check, ...] = tuple(
    found
    for module in (
        node,
        reads,
        writes,
        statuses,
        logs,
        http,
        errors,
        access,
        extensions,
        changes,
        deletion,
        environments,
        batches,
        usage,
        volumes,
        streams,
    )
    for found in vars(module).values()
    if isinstance(found, Check)
)
"""In the order in which they run and are reported."""
