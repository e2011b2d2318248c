"""Follow the pods that match a filter: a list of them, then each change."""

from collections.abc import Generator, Iterable, Iterator
from itertools import islice

import orjson

from app.pods.history import History, PodSnapshot
from app.pods.pod_filter import EVERY_POD, PodFilter, Sort
from app.pods.watch import StatusWatch, Waiter

_LONGEST_SECONDS = 60
_UIDS_PER_QUERY = 500


def follow_pods(
    history: History, watch: StatusWatch, wanted: PodFilter, *, sort: Sort, pause: Waiter
) -> Generator[list[PodSnapshot], None, None]:
    """Yield the pods that match a filter, then lists of those that have changed, until `pause` returns False.

    A pod that no longer matches, or was deleted, is in a list once more. The changes are those since a revision;
    between two of them nothing is read but the revision.

    Args:
        sort: the order of the first list.
        pause: waits for a change.
    """
    revision = watch.revision()
    pods = list(history.pods(wanted, sort=sort))
    shown = {pod.uid: _shown(pod) for pod in pods}
    yield pods
    while True:
        changes = orjson.loads("".join(watch.since(revision, wait=_LONGEST_SECONDS, pause=pause)))
        if changes["revision"] == revision:
            if not pause(0):
                return
            continue
        revision = changes["revision"]
        uids = [pod["uid"] for kind in ("statuses", "deleted") for pod in changes[kind]]
        matching = list(_read(history, wanted, uids))
        left = (shown.keys() & set(uids)) - {pod.uid for pod in matching}
        yield [
            *(pod for pod in matching if shown.get(pod.uid) != _shown(pod)),
            *_read(history, EVERY_POD, left, deleted=True),
        ]
        shown.update({pod.uid: _shown(pod) for pod in matching})
        for uid in left:
            del shown[uid]


def _read(
    history: History, wanted: PodFilter, uids: Iterable[str], *, deleted: bool = False
) -> Iterator[PodSnapshot]:
    """Yield those of some pods that match a filter."""
    rest = iter(uids)
    while part := list(islice(rest, _UIDS_PER_QUERY)):
        yield from history.pods(wanted, uids=part, deleted=deleted)


def _shown(pod: PodSnapshot) -> tuple[object, ...]:
    """Return what a list shows of a pod, apart from times."""
    columns = pod.columns
    return columns.ready, columns.status, columns.restarts, pod.status.get("podIP"), pod.deleted_at
