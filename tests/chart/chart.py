"""The chart, rendered by Helm and held to the schemas of Kubernetes; both libraries are used here alone."""

from collections.abc import Iterator, Mapping
from typing import Any

import helm_python
import kubernetes_validate  # type: ignore[import-untyped]  # it has no types
import yaml

from tests.server import ROOT

CHART = ROOT / "helm"
VERSIONS = ("1.28", "1.32", kubernetes_validate.latest_version())
"""Of Kubernetes: the oldest that the chart is for, one between, the newest that there is a schema of."""
FOREIGN = {"Certificate", "ServiceMonitor"}
"""Kinds of other projects."""

Object = dict[str, Any]
Values = Mapping[str, Any]


class Rendered:
    """What a release consists of.

    Attributes:
        objects: what `helm install` sends, and the hooks.
        notes: what it prints.
    """

    def __init__(self, documents: Mapping[str, str]) -> None:
        self.notes = next(text for path, text in documents.items() if path.endswith("NOTES.txt"))
        self.objects: list[Object] = [
            document
            for path, text in sorted(documents.items())
            if not path.endswith("NOTES.txt")
            for document in yaml.safe_load_all(text)
            if document
        ]

    def all(self, kind: str) -> list[Object]:
        """Give the objects of a kind."""
        return [found for found in self.objects if found["kind"] == kind]

    def one(self, kind: str, namespace: str | None = None) -> Object:
        """Give the only object of a kind, of those in a namespace where one is given."""
        (found,) = (o for o in self.all(kind) if namespace in (None, o["metadata"].get("namespace")))
        return found

    @property
    def pod(self) -> Object:
        """The spec of the node's pods."""
        spec: Object = self.one("StatefulSet")["spec"]["template"]["spec"]
        return spec

    def container(self, name: str) -> Object:
        """Give a container of the node's pods."""
        (found,) = (c for c in [*self.pod.get("initContainers", ()), *self.pod["containers"]] if c["name"] == name)
        return dict(found)

    def pods(self) -> Iterator[Object]:
        """Give the spec of every pod, the hook's too."""
        yield self.pod
        for pod in self.all("Pod"):
            yield pod["spec"]


def render(values: Values, *, name: str = "virtual-kubelet-web", namespace: str = "default") -> Rendered:
    """Render the chart.

    Raises:
        helm_python.HelmError: the values are refused.
    """
    with helm_python.Chart.load(CHART) as chart:
        return Rendered(chart.render(dict(values), name=name, namespace=namespace))


def refusal(values: Values) -> str:
    """Render what must not be, and give what Helm says of it."""
    try:
        rendered = render(values)
    except helm_python.HelmError as exc:
        return exc.detail
    raise AssertionError(f"rendered {len(rendered.objects)} objects")


def complaints(values: Values) -> list[str]:
    """Give what `helm lint --strict` has against the chart with these values."""
    report = helm_python.lint(CHART, dict(values), strict=True)
    return [f"{m['path']}: {m['error']}" for m in report["messages"] if m["error"] != "icon is recommended"]


def validate(obj: Object, version: str) -> None:
    """Hold an object to the schema of a version of Kubernetes, fields that it does not know included.

    Raises:
        kubernetes_validate.ValidationError: it is not valid.
    """
    kubernetes_validate.validate(obj, version, strict=True)


def environment(container: Object) -> dict[str, str]:
    """Give the variables of a container that have a value of their own; of the others, where it comes from."""
    return {each["name"]: each.get("value", str(each.get("valueFrom"))) for each in container.get("env", ())}
