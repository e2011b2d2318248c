"""The life of a pod between Kubernetes and a provider, in good order."""

from tests.broker.apiserver import ApiServer
from tests.broker.pods.conftest import Controlling, bound, events, phase
from tests.broker.providers import StubProvider


async def test_a_pod_is_created_and_runs(api: ApiServer, stub: StubProvider, controlling: Controlling) -> None:
    api.store.create("pods", bound())
    async with controlling(stub):
        await api.until(lambda: phase(api) == "Running")
        await api.until(lambda: events(api, "ProviderCreateSuccess"))
    assert [request.path for request in stub.requests] == []
