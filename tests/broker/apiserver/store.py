"""The objects of a cluster and the history of their changes, as in etcd and the watch cache."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, NamedTuple
from uuid import uuid4

from tests.broker.apiserver import pods
from tests.broker.apiserver.errors import Refusal, bad_request, conflict, gone, not_found

Object = dict[str, Any]
Selector = Callable[[Object], bool]

RESOURCES = {
    "nodes": ("v1", "Node"),
    "pods": ("v1", "Pod"),
    "services": ("v1", "Service"),
    "secrets": ("v1", "Secret"),
    "configmaps": ("v1", "ConfigMap"),
    "persistentvolumeclaims": ("v1", "PersistentVolumeClaim"),
    "serviceaccounts": ("v1", "ServiceAccount"),
    "events": ("v1", "Event"),
    "namespaces": ("v1", "Namespace"),
    "leases": ("coordination.k8s.io/v1", "Lease"),
    "poddisruptionbudgets": ("policy/v1", "PodDisruptionBudget"),
    "clustertrustbundles": ("certificates.k8s.io/v1beta1", "ClusterTrustBundle"),
}
"""The known resources: plural → apiVersion and kind."""
_CLUSTER_WIDE = ("nodes", "namespaces", "clustertrustbundles")
_WITH_GENERATION = ("pods",)


class Change(NamedTuple):
    """A write: the object before and after it; None where it does not exist."""

    version: int
    resource: str
    before: Object | None
    after: Object | None


def select(text: str) -> Selector:
    """Parse a field selector; any field with a string value can be selected.

    Raises:
        Refusal: 400.
    """
    wanted = []
    for term in filter(None, text.split(",")):
        path, equals, value = term.partition("=")
        if not equals:
            raise bad_request(f"invalid field selector: {term}")
        wanted.append((path.rstrip("!"), value.removeprefix("="), not path.endswith("!")))

    def matches(obj: Object) -> bool:
        return all((_field(obj, path) == value) is equal for path, value, equal in wanted)

    return matches


def _field(obj: Any, path: str) -> str:
    for name in path.split("."):
        obj = obj.get(name) if isinstance(obj, dict) else None
    return obj or ""


class Store:
    """Objects by resource, namespace and name. Arguments and results are copied.

    Tests write with these methods as `kubectl` does by requests.
    """

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._objects: dict[tuple[str, str, str], Object] = {}
        self._versions = count(100)
        self._history: list[Change] = []
        self._forgotten = 0
        self.version = next(self._versions)
        self._listeners: list[Callable[[Change], None]] = []

    def get(self, resource: str, name: str, namespace: str = "") -> Object:
        """Read an object.

        Raises:
            Refusal: 404.
        """
        return deepcopy(self._find(resource, name, namespace))

    def find(self, resource: str, name: str, namespace: str = "") -> Object | None:
        """Return an object; None if it does not exist."""
        return deepcopy(self._objects.get((resource, namespace, name)))

    def list(self, resource: str, namespace: str = "", selector: Selector = lambda _: True) -> list[Object]:
        """Return the objects of a resource, of one namespace or of all, in the order of their keys."""
        return [
            deepcopy(obj)
            for (kind, there, _), obj in sorted(self._objects.items(), key=lambda item: item[0])
            if kind == resource and namespace in ("", there) and selector(obj)
        ]

    def create(self, resource: str, obj: Object, namespace: str = "") -> Object:
        """Create an object.

        Raises:
            Refusal: 409 if the name exists; 400 without a name.
        """
        obj = deepcopy(obj)
        metadata = obj.setdefault("metadata", {})
        namespace = "" if resource in _CLUSTER_WIDE else metadata.setdefault("namespace", namespace or "default")
        if not metadata.get("name"):
            if not metadata.get("generateName"):
                raise bad_request("metadata.name: Required value: name or generateName is required")
            metadata["name"] = metadata["generateName"] + uuid4().hex[:5]
        if (resource, namespace, metadata["name"]) in self._objects:
            raise Refusal(409, "AlreadyExists", f'{resource} "{metadata["name"]}" already exists')
        obj["apiVersion"], obj["kind"] = RESOURCES[resource]
        metadata["uid"] = str(uuid4())
        metadata["creationTimestamp"] = self._time()
        if resource in _WITH_GENERATION:
            metadata["generation"] = 1
        if resource == "pods":
            pods.set_defaults(obj)
        return self._put(resource, None, obj)

    def update(self, resource: str, new: Object, *, subresource: str = "") -> Object:
        """Replace an object: either its status, or everything else.

        Raises:
            Refusal: 404; 409 if `metadata.resourceVersion` is set and not the latest; 422.
        """
        new = deepcopy(new)
        metadata = new["metadata"]
        old = self._find(resource, metadata["name"], metadata.get("namespace", ""))
        given = metadata.get("resourceVersion")
        if given and given != old["metadata"]["resourceVersion"]:
            raise conflict(
                f'Operation cannot be fulfilled on {resource} "{metadata["name"]}": the object has been modified; '
                "please apply your changes to the latest version and try again"
            )
        metadata["resourceVersion"] = old["metadata"]["resourceVersion"]
        for kept in ("deletionTimestamp", "deletionGracePeriodSeconds", "generation", "creationTimestamp"):
            metadata.pop(kept, None)
            if kept in old["metadata"]:
                metadata[kept] = old["metadata"][kept]
        new["apiVersion"], new["kind"] = RESOURCES[resource]
        if resource == "pods":
            if subresource == "status":
                pods.validate_status(old, new)
            elif metadata.get("uid", old["metadata"]["uid"]) != old["metadata"]["uid"]:
                raise conflict(f"Precondition failed: UID in precondition: {metadata['uid']}")
            else:
                pods.validate_spec(old, new, subresource=subresource)
                if subresource == "resize" and new["spec"] != old["spec"]:
                    pods.admit_resize(new, self.find("nodes", new["spec"].get("nodeName", "")))
        metadata["uid"] = old["metadata"]["uid"]
        if resource in ("pods", "nodes"):
            kept = "spec" if subresource == "status" else "status"
            new.pop(kept, None)
            if kept in old:
                new[kept] = deepcopy(old[kept])
        if new == old:
            return new  # as in etcd, a write without a change has no version
        if resource in _WITH_GENERATION and new["spec"] != old["spec"]:
            metadata["generation"] = old["metadata"].get("generation", 0) + 1
        return self._put(resource, old, new)

    def delete(self, resource: str, name: str, namespace: str = "", options: Object | None = None) -> Object:
        """Delete an object; mark a pod of a node for deletion with its grace period.

        Args:
            options: a `DeleteOptions`.

        Raises:
            Refusal: 404; 409 if a precondition fails.
        """
        options = options or {}
        old = self._find(resource, name, namespace)
        for field in ("uid", "resourceVersion"):
            wanted = (options.get("preconditions") or {}).get(field)
            if wanted and wanted != old["metadata"][field]:
                raise conflict(
                    f"Precondition failed: {field} in precondition: {wanted}, "
                    f"{field} in object meta: {old['metadata'][field]}"
                )
        if resource == "pods":
            grace = pods.grace_of(old, options.get("gracePeriodSeconds"))
            if grace > 0 or old["metadata"].get("finalizers"):
                return self._begin_deletion(old, grace)
            if old["metadata"].get("deletionTimestamp"):  # its grace period is shortened before it is removed
                old = self._begin_deletion(old, grace)
        return self._remove(resource, old)

    def _begin_deletion(self, old: Object, grace: int) -> Object:
        so_far = old["metadata"].get("deletionGracePeriodSeconds")
        if so_far is not None and so_far <= grace:
            return deepcopy(old)
        new = deepcopy(old)
        new["metadata"]["deletionTimestamp"] = self._time(grace)
        new["metadata"]["deletionGracePeriodSeconds"] = grace
        new["metadata"]["generation"] = old["metadata"]["generation"] + 1
        return self._write("pods", old, new)

    def history(self, resource: str, after: int) -> Iterator[Change]:
        """Return the changes of a resource since a version.

        Raises:
            Refusal: 410 if they are no longer stored.
        """
        if after < self._forgotten:
            raise gone(f"too old resource version: {after} ({self._forgotten})")
        return (change for change in self._history if change.version > after and change.resource == resource)

    def listen(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Call a function after each change; return a function that ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def compact(self) -> None:
        """Drop the history of changes."""
        self._forgotten = self.version = next(self._versions)
        self._history.clear()

    def _find(self, resource: str, name: str, namespace: str) -> Object:
        obj = self._objects.get((resource, namespace, name))
        if obj is None:
            raise not_found(resource, name)
        return obj

    def _put(self, resource: str, old: Object | None, new: Object) -> Object:
        metadata = new["metadata"]
        dying = metadata.get("deletionGracePeriodSeconds") == 0
        if old is not None and dying and not metadata.get("finalizers"):
            return self._remove(resource, new)
        return self._write(resource, old, new)

    def _write(self, resource: str, old: Object | None, new: Object) -> Object:
        metadata = new["metadata"]
        self.version = next(self._versions)
        metadata["resourceVersion"] = str(self.version)
        self._objects[resource, metadata.get("namespace", ""), metadata["name"]] = new
        self._record(Change(self.version, resource, old, new))
        return deepcopy(new)

    def _remove(self, resource: str, old: Object) -> Object:
        del self._objects[resource, old["metadata"].get("namespace", ""), old["metadata"]["name"]]
        self.version = next(self._versions)
        last = deepcopy(old)
        last["metadata"]["resourceVersion"] = str(self.version)
        self._record(Change(self.version, resource, last, None))
        return deepcopy(last)

    def _record(self, change: Change) -> None:
        self._history.append(change)
        for listener in list(self._listeners):
            listener(change)

    def _time(self, seconds: float = 0) -> str:
        return (self._now() + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
