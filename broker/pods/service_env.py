"""Environment variables for the services of the cluster.

Source: `pkg/kubelet/envvars/envvars.go`, `getServiceEnvVarMap` in `pkg/kubelet/kubelet_pods.go`.
"""

from collections.abc import Iterable, Iterator

import msgspec

_DEFAULT_NAMESPACE = "default"
_MASTER_SERVICES = ("kubernetes",)


class _Port(msgspec.Struct, frozen=True):
    port: int
    name: str = ""
    protocol: str = "TCP"


class _Spec(msgspec.Struct, frozen=True, rename={"cluster_ip": "clusterIP"}):
    cluster_ip: str = ""
    ports: tuple[_Port, ...] = ()


class _Metadata(msgspec.Struct, frozen=True):
    namespace: str
    name: str


class Service(msgspec.Struct, frozen=True):
    """The fields of a Service for its environment variables."""

    metadata: _Metadata
    spec: _Spec = _Spec()

    @property
    def has_address(self) -> bool:
        """Whether the service has a cluster IP: it is neither headless nor an ExternalName."""
        return self.spec.cluster_ip not in ("", "None")


def parse_service(raw: bytes) -> Service:
    """Parse a Service."""
    return msgspec.json.decode(raw, type=Service)


def variables(services: Iterable[Service], namespace: str, *, links: bool) -> dict[str, str]:
    """Return the service variables of a pod's containers by name.

    Args:
        services: services of all namespaces.
        namespace: namespace of the pod.
        links: `enableServiceLinks` of the pod; the API server's service is included in any case.
    """
    wanted: dict[str, Service] = {}
    for service in services:
        metadata = service.metadata
        if not service.has_address:
            continue
        if metadata.namespace == _DEFAULT_NAMESPACE and metadata.name in _MASTER_SERVICES:
            wanted.setdefault(metadata.name, service)
        elif metadata.namespace == namespace and links:
            wanted[metadata.name] = service
    found = (pair for service in wanted.values() for pair in _variables(service))
    return dict(sorted(found))


def _variables(service: Service) -> Iterator[tuple[str, str]]:
    prefix, address = _variable_name(service.metadata.name), service.spec.cluster_ip
    host = f"[{address}]" if ":" in address else address
    yield f"{prefix}_SERVICE_HOST", address
    for index, port in enumerate(service.spec.ports):
        protocol = port.protocol.lower()
        url = f"{protocol}://{host}:{port.port}"
        if index == 0:
            yield f"{prefix}_SERVICE_PORT", str(port.port)
            yield f"{prefix}_PORT", url
        if port.name:
            yield f"{prefix}_SERVICE_PORT_{_variable_name(port.name)}", str(port.port)
        link = f"{prefix}_PORT_{port.port}_{protocol.upper()}"
        yield link, url
        yield f"{link}_PROTO", protocol
        yield f"{link}_PORT", str(port.port)
        yield f"{link}_ADDR", address


def _variable_name(name: str) -> str:
    return name.replace("-", "_").upper()
