"""The store of the pods of Kubernetes."""

import json
import tracemalloc
from typing import Any

from broker.kubernetes.objects import RawObject
from broker.pods.store import PodStore
from tests.pods import a_pod

Object = dict[str, Any]


def raw(version: str = "1", *, uid: str = "uid-1", status: Object | None = None, **metadata: Any) -> RawObject:
    made = a_pod(uid=uid, metadata={"resourceVersion": version, "managedFields": [{}], **metadata})
    return RawObject.parse(json.dumps({**made, "status": status or {}}).encode())


def test_a_pod_is_stored_without_managed_fields() -> None:
    store = PodStore()
    assert store.put(raw())
    kept = store.find("default", "web-0")
    assert kept is not None
    assert "managedFields" not in json.loads(kept)["metadata"]
    assert store.all() == [kept]


def test_a_stored_pod_needs_little_memory() -> None:
    store = PodStore()
    pods = [raw(name=f"web-{number}") for number in range(100)]
    tracemalloc.start()
    try:
        for pod in pods:
            store.put(pod)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    besides_json = taken - sum(map(len, store.all()))
    assert besides_json < 350 * len(pods)


def test_an_own_write_is_not_a_change() -> None:
    store = PodStore()
    store.put(raw("1"))
    base = store.get("default/web-0")
    assert base is not None
    store.put_written(base, raw("2", status={"phase": "Running"}).decode())
    assert not store.put(raw("2", status={"phase": "Running"}))
    assert store.put(raw("3"))
    now = store.get("default/web-0")
    assert now is not None
    assert (now.version, now.phase) == ("3", "Pending")


def test_a_response_older_than_the_watch_is_ignored() -> None:
    store = PodStore()
    store.put(raw("1"))
    base = store.get("default/web-0")
    assert base is not None
    store.put(raw("3", deletionTimestamp="2026-11-22T08:46:38Z"))
    store.put_written(base, raw("2").decode())
    now = store.get("default/web-0")
    assert now is not None
    assert now.is_terminating
    store.put(raw("1", uid="uid-2"))
    store.put_written(base, raw("2").decode())
    assert (now := store.get("default/web-0")) is not None
    assert now.uid == "uid-2"


def test_a_mirror_pod_is_not_stored() -> None:
    store = PodStore()
    assert not store.put(raw(annotations={"kubernetes.io/config.mirror": "abc"}))
    assert len(store) == 0


def test_a_daemon_set_is_detected_by_the_controller() -> None:
    store = PodStore()
    store.put(raw(ownerReferences=[{"kind": "DaemonSet", "name": "d", "controller": True}]))
    assert (pod := store.get("default/web-0")) is not None
    assert pod.of_daemon_set
