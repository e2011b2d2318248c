"""Authentication and authorization of the kubelet API."""

import asyncio
import ssl
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import aiohttp
import pytest

from broker.kubelet.auth import Authenticator, Authorizer, ReviewCache, certificate_user, subresources
from broker.kubernetes.client import Client
from tests.broker.apiserver import ApiServer
from tests.broker.certificates import Authority, load
from tests.broker.kubelet.conftest import Kubelet, Start

TOKEN = "token-of-alice"


def allow(api: ApiServer, *allowed: tuple[str, str]) -> None:
    """Permit users to get subresources of the node."""
    api.authorize = lambda spec: (
        (spec["user"], spec["resourceAttributes"]["subresource"]) in allowed
        and spec["resourceAttributes"]["verb"] == "get"
    )


def tokens_reviewed(api: ApiServer) -> list[str]:
    return [request.body["spec"]["token"] for request in api.requests_to("POST", "/tokenreviews$")]


def access_reviewed(api: ApiServer) -> list[dict[str, Any]]:
    return [request.body["spec"] for request in api.requests_to("POST", "/subjectaccessreviews$")]


@pytest.fixture
async def guarded(start: Start, api: ApiServer) -> Kubelet:
    """The API with its defaults: authentication and authorization."""
    api.tokens[TOKEN] = "alice"
    return await start()


@pytest.mark.parametrize(
    "path",
    [
        "/pods",
        "/runningpods/",
        "/containerLogs/shop/web/app",
        "/stats/summary",
        "/metrics",
        "/metrics/resource",
        "/healthz",
        "/exec/shop/web/app",
        "/no/such/path",
    ],
)
async def test_an_unauthenticated_request_returns_401(guarded: Kubelet, api: ApiServer, path: str) -> None:
    assert (await guarded.get(path)).status == 401
    assert (await guarded.get(path, token="made-up")).status == 401
    assert tokens_reviewed(api) == ["made-up"]
    assert access_reviewed(api) == []


@pytest.mark.parametrize("header", [f"Basic {TOKEN}", "Bearer", "Bearer ", TOKEN])
async def test_credentials_other_than_bearer_tokens_return_401(guarded: Kubelet, header: str) -> None:
    async with guarded.session.get(guarded.url + "/pods", headers={"Authorization": header}) as response:
        assert response.status == 401


@pytest.mark.parametrize(
    ("path", "subresource"),
    [
        ("/pods", "pods"),
        ("/pods", "proxy"),
        ("/runningpods/", "pods"),
        ("/runningpods/", "proxy"),
        ("/containerLogs/shop/web/app", "proxy"),
        ("/stats/summary", "stats"),
        ("/metrics", "metrics"),
        ("/metrics/resource", "metrics"),
        ("/healthz", "healthz"),
        ("/healthz", "proxy"),
    ],
)
async def test_permission_for_a_subresource_allows_its_paths(
    guarded: Kubelet, api: ApiServer, path: str, subresource: str
) -> None:
    allow(api, ("alice", subresource))
    assert (await guarded.get(path, token=TOKEN)).status == 200


@pytest.mark.parametrize(
    ("path", "subresource"),
    [
        ("/containerLogs/shop/web/app", "pods"),
        ("/stats/summary", "proxy"),
        ("/metrics", "stats"),
        ("/no/such/path", "metrics"),
    ],
)
async def test_permission_for_another_subresource_returns_403(
    guarded: Kubelet, api: ApiServer, path: str, subresource: str
) -> None:
    allow(api, ("alice", subresource))
    answer = await guarded.get(path, token=TOKEN)
    assert answer.status == 403
    assert answer.body.startswith(b"Forbidden (user=alice, verb=get, resource=nodes, subresource(s)=[")


@pytest.mark.parametrize(
    "path", ["/exec/shop/web/app", "/attach/shop/web/app", "/portForward/shop/web", "/run/a/b/c"]
)
async def test_a_stream_requires_create_by_any_method(guarded: Kubelet, api: ApiServer, path: str) -> None:
    allow(api, ("alice", "proxy"))
    for method in ("GET", "POST"):
        answer = await guarded.get(path, token=TOKEN, method=method, output="1")
        assert answer.status == 403
        assert answer.json() == {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": "Forbidden (user=alice, verb=create, resource=nodes, subresource(s)=[proxy])",
            "reason": "Forbidden",
            "code": 403,
        }


async def test_the_access_review_names_this_node(guarded: Kubelet, api: ApiServer) -> None:
    await guarded.get("/metrics", token=TOKEN)
    (review,) = access_reviewed(api)
    assert (review["user"], review["groups"]) == ("alice", ["system:authenticated"])
    assert review["resourceAttributes"] == {
        "verb": "get",
        "version": "v1",
        "resource": "nodes",
        "subresource": "metrics",
        "name": "node-1",
    }


async def test_the_access_review_contains_all_user_fields() -> None:
    api = create_autospec(Client)
    fields = {"username": "alice", "uid": "7", "groups": ["dev"], "extra": {"scope": ["a", "b"]}}
    api.create.return_value = {"status": {"authenticated": True, "allowed": True, "user": fields}}
    request = create_autospec(aiohttp.web.Request, headers={"Authorization": f"Bearer {TOKEN}"})
    request.get_extra_info.return_value = None
    user = await Authenticator(api, lambda: 0.0).user(request)
    assert user is not None
    assert await Authorizer(api, lambda: 0.0).allows(user, "get", "stats", node="node-1")
    spec = api.create.call_args.args[1]["spec"]
    assert (spec["user"], spec["uid"], spec["groups"], spec["extra"]) == tuple(fields.values())


@pytest.mark.parametrize("path", ["/", "*", "", "/metricsandmore", "//metrics", "/podsandmore", "/logs/"])
def test_an_unknown_path_requires_the_proxy_subresource(path: str) -> None:
    assert subresources(path) == ("proxy",)


@pytest.mark.parametrize("status", [200, 403])
async def test_a_review_is_requested_once(guarded: Kubelet, api: ApiServer, status: int) -> None:
    allow(api, ("alice", "metrics" if status == 200 else "stats"))
    assert (await guarded.get("/metrics", token=TOKEN)).status == status
    assert (await guarded.get("/metrics", token=TOKEN)).status == status
    assert (len(tokens_reviewed(api)), len(access_reviewed(api))) == (1, 1)


async def test_cached_reviews_are_per_user_and_subresource(guarded: Kubelet, api: ApiServer) -> None:
    api.tokens["token-of-bob"] = "bob"
    allow(api, ("alice", "metrics"))
    assert (await guarded.get("/metrics", token=TOKEN)).status == 200
    assert (await guarded.get("/metrics", token="token-of-bob")).status == 403
    assert (await guarded.get("/metrics", token="made-up")).status == 401
    assert (await guarded.get("/stats/summary", token=TOKEN)).status == 403
    assert (await guarded.get("/metrics", token=TOKEN)).status == 200


@pytest.mark.parametrize("review", ["tokenreviews", "subjectaccessreviews"])
async def test_a_failed_review_denies_and_is_repeated(guarded: Kubelet, api: ApiServer, review: str) -> None:
    allow(api, ("alice", "stats"))
    with api.failing(500, path=review):
        assert (await guarded.get("/stats/summary", token=TOKEN)).status == 500
    assert (await guarded.get("/stats/summary", token=TOKEN)).status == 200


async def test_probes_need_no_credentials(guarded: Kubelet, api: ApiServer) -> None:
    assert (await guarded.get("/livez")).status == 200
    assert (await guarded.get("/readyz")).status == 200
    assert access_reviewed(api) == []


async def test_a_client_certificate_identifies_the_user(
    *, start: Start, api: ApiServer, authority: Authority, files: Path, trust: ssl.SSLContext
) -> None:
    allow(api, ("kube-apiserver", "proxy"))
    load(trust, authority.client("kube-apiserver", "system:masters", "admins"))
    kubelet = await start(client_ca_file=files / "ca.crt")
    assert (await kubelet.get("/containerLogs/shop/web/app")).status == 200
    assert tokens_reviewed(api) == []
    assert access_reviewed(api)[0]["groups"] == ["system:masters", "admins", "system:authenticated"]


async def test_a_client_certificate_of_another_ca_is_rejected(
    start: Start, other_authority: Authority, files: Path, trust: ssl.SSLContext
) -> None:
    load(trust, other_authority.client("kube-apiserver"))
    kubelet = await start(client_ca_file=files / "ca.crt")
    with pytest.raises(aiohttp.ClientError):
        await kubelet.get("/readyz")


async def test_the_client_ca_is_read_from_the_cluster(
    start: Start, api: ApiServer, authority: Authority, trust: ssl.SSLContext
) -> None:
    published = {
        "metadata": {"name": "extension-apiserver-authentication"},
        "data": {"client-ca-file": authority.pem},
    }
    api.store.create("configmaps", published, "kube-system")
    allow(api, ("kube-apiserver", "pods"))
    load(trust, authority.client("kube-apiserver"))
    kubelet = await start()
    async with asyncio.timeout(30):
        while (answer := await kubelet.get("/pods")).status == 401:
            pass  # the file is read again while the API runs
    assert answer.status == 200


async def test_without_authentication_no_review_is_requested(start: Start, api: ApiServer) -> None:
    kubelet = await start(authentication=False, authorization=False)
    assert (await kubelet.get("/pods", token=TOKEN)).status == 200
    assert api.requests == []


async def test_without_authorization_every_authenticated_user_is_allowed(start: Start, api: ApiServer) -> None:
    api.tokens[TOKEN] = "alice"
    kubelet = await start(authorization=False)
    assert (await kubelet.get("/pods")).status == 401
    assert (await kubelet.get("/pods", token=TOKEN)).status == 200
    assert access_reviewed(api) == []


@pytest.mark.parametrize(
    ("subject", "user"),
    [
        ((("commonName", "kubectl"),), ("kubectl", ("system:authenticated",))),
        ((("organizationName", "a"), ("commonName", "x")), ("x", ("a", "system:authenticated"))),
        ((("organizationName", "a"),), None),
        ((("commonName", ""),), None),
    ],
)
def test_a_certificate_without_common_name_identifies_no_user(
    subject: tuple[tuple[str, str], ...], user: tuple[str, tuple[str, ...]] | None
) -> None:
    found = certificate_user({"subject": tuple((field,) for field in subject)})
    assert (found and (found.name, found.groups)) == user


class TestReviewCache:
    """Reviews are cached for their time to live."""

    @pytest.fixture
    def now(self) -> list[float]:
        return [100.0]

    @pytest.fixture
    def cache(self, now: list[float]) -> ReviewCache[int, int]:
        return ReviewCache(lambda: now[0])

    async def test_a_review_is_cached_until_it_expires(
        self, cache: ReviewCache[int, int], now: list[float]
    ) -> None:
        numbers = iter(range(10))

        async def review() -> tuple[int, float]:
            return next(numbers), 30.0

        assert [await cache.get(1, review), await cache.get(1, review)] == [0, 0]
        now[0] += 29.9
        assert await cache.get(1, review) == 0
        now[0] += 0.1
        assert await cache.get(1, review) == 1

    async def test_the_oldest_reviews_are_evicted(self, cache: ReviewCache[int, int]) -> None:
        reviews = []

        async def review() -> tuple[int, float]:
            reviews.append(1)
            return 0, 30.0

        for key in [*range(ReviewCache.SIZE + 1), ReviewCache.SIZE, 1, 0]:
            await cache.get(key, review)
        assert len(reviews) == ReviewCache.SIZE + 2
