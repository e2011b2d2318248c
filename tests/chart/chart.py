"""The chart, rendered by Helm and validated by the schemas of Kubernetes."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import helm_python
import kubernetes_validate
import yaml

from tests.server import ROOT

CHART = ROOT / "helm"
VERSIONS = ("1.28", "1.32", kubernetes_validate.latest_version())
"""Versions of Kubernetes: the oldest that the chart supports, one between, the newest with a schema."""
FOREIGN = {"Certificate", "ServiceMonitor"}
"""Kinds that are not in the schemas of Kubernetes."""

Object = dict[str, Any]
Values = Mapping[str, Any]


class Rendered:
    """A rendered release.

    Attributes:
        objects: the objects that `helm install` creates, and the hooks.
        notes: the text that `helm install` prints.
    """

    def __init__(self, documents: Mapping[str, str]) -> None:
        self.notes = next(text for path, text in documents.items() if path.endswith("NOTES.txt"))
        self.objects: list[Object] = [
            document
            for path, text in sorted(documents.items())
            if not path.endswith("NOTES.txt")
            for document in yaml.load_all(text, yaml.CSafeLoader)
            if document
        ]

    def all(self, kind: str) -> list[Object]:
        """Return the objects of a kind."""
        return [found for found in self.objects if found["kind"] == kind]

    def one(self, kind: str, namespace: str | None = None) -> Object:
        """Return the only object of a kind, optionally in a namespace."""
        (found,) = (o for o in self.all(kind) if namespace in (None, o["metadata"].get("namespace")))
        return found

    @property
    def pod(self) -> Object:
        """The spec of the node's pods."""
        spec: Object = self.one("StatefulSet")["spec"]["template"]["spec"]
        return spec

    def container(self, name: str) -> Object:
        """Return a container of the node's pods."""
        (found,) = (c for c in [*self.pod.get("initContainers", ()), *self.pod["containers"]] if c["name"] == name)
        return dict(found)

    def pods(self) -> Iterator[Object]:
        """Yield the spec of every pod, including the hook's."""
        yield self.pod
        for pod in self.all("Pod"):
            yield pod["spec"]


def render(values: Values, *, name: str = "virtual-kubelet-web", namespace: str = "default") -> Rendered:
    """Render the chart.

    Raises:
        helm_python.HelmError: the values are invalid.
    """
    return Rendered(_render(json.dumps(values), name, namespace))


@cache
def _render(values: str, name: str, namespace: str) -> dict[str, str]:
    """Return the documents by path; many tests look at the same release."""
    with helm_python.Chart.load(CHART) as chart:
        return dict(chart.render(json.loads(values), name=name, namespace=namespace))


def refusal(values: Values) -> str:
    """Render invalid values; return the error message of Helm."""
    try:
        rendered = render(values)
    except helm_python.HelmError as exc:
        return exc.detail
    raise AssertionError(f"rendered {len(rendered.objects)} objects")


def complaints(values: Values) -> list[str]:
    """Return the messages of `helm lint --strict` for the chart with these values."""
    report = helm_python.lint(CHART, dict(values), strict=True)
    return [f"{m['path']}: {m['error']}" for m in report["messages"] if m["error"] != "icon is recommended"]


def validate(obj: Object, version: str) -> None:
    """Validate an object by the schema of a version of Kubernetes; unknown fields are errors.

    Raises:
        kubernetes_validate.ValidationError: the object is invalid.
    """
    _validate(json.dumps(obj, sort_keys=True), version)


@cache
def _validate(text: str, version: str) -> None:
    """Validate an object once, of which most are the same for many values of the chart."""
    kubernetes_validate.validate(json.loads(text), version, strict=True)


def environment(container: Object) -> dict[str, str]:
    """Return the environment variables of a container, with their value or its source."""
    return {each["name"]: each.get("value", str(each.get("valueFrom"))) for each in container.get("env", ())}
