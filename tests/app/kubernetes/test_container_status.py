import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kubernetes import container_status
from app.kubernetes.container_status import container_id, image_id
from app.kubernetes.pod import Container
from app.kubernetes.status import ContainerStatus
from tests.app.simulation import decoded

AT = "2026-11-22T08:46:38Z"
LATER = "2026-11-22T09:00:00Z"
WEB = Container(name="web", image="nginx:1.27")
DIGEST = "sha256:" + "0123456789abcdef" * 4


def running(at: str = AT, *, before: ContainerStatus | None = None) -> ContainerStatus:
    return container_status.running(WEB, pod_uid="uid", at=at, before=before)


def test_a_container_that_waits_has_no_ids_yet() -> None:
    assert decoded(container_status.waiting(WEB, reason="ContainerCreating")) == {
        "name": "web",
        "state": {"waiting": {"reason": "ContainerCreating"}},
        "lastState": {},
        "ready": False,
        "restartCount": 0,
        "image": "nginx:1.27",
        "imageID": "",
        "started": False,
    }


def test_a_running_container_has_its_start_time() -> None:
    assert decoded(running()) == {
        "name": "web",
        "state": {"running": {"startedAt": AT}},
        "lastState": {},
        "ready": True,
        "restartCount": 0,
        "image": "nginx:1.27",
        "imageID": image_id("nginx:1.27"),
        "containerID": container_id("uid", "web"),
        "started": True,
    }


def test_a_terminated_container_is_not_ready() -> None:
    assert decoded(container_status.terminated(running(), at=LATER, exit_code=3)) == {
        "name": "web",
        "state": {
            "terminated": {
                "exitCode": 3,
                "reason": "Error",
                "startedAt": AT,
                "finishedAt": LATER,
                "containerID": container_id("uid", "web"),
            }
        },
        "lastState": {},
        "ready": False,
        "restartCount": 0,
        "image": "nginx:1.27",
        "imageID": image_id("nginx:1.27"),
        "containerID": container_id("uid", "web"),
        "started": False,
    }


def test_a_restart_sets_count_and_last_state() -> None:
    ended = container_status.terminated(running(), at=LATER, exit_code=0)
    again = running(LATER, before=ended)
    assert again.restart_count == 1
    assert again.last_state == ended.state
    assert again.container_id == container_id("uid", "web", restart_count=1)


def test_a_container_in_back_off_keeps_its_id() -> None:
    ended = container_status.terminated(running(), at=LATER, exit_code=1)
    waiting = container_status.waiting(WEB, reason="CrashLoopBackOff", message="later", before=ended)
    assert decoded(waiting.state) == {"waiting": {"reason": "CrashLoopBackOff", "message": "later"}}
    assert waiting.last_state == ended.state
    assert (waiting.restart_count, waiting.container_id) == (0, ended.container_id)
    assert running(LATER, before=waiting).last_state == ended.state


def test_a_lost_container_has_exit_code_137() -> None:
    state = decoded(container_status.lost(running()).state)["terminated"]
    assert (state["exitCode"], state["reason"]) == (137, "ContainerStatusUnknown")
    assert state.keys().isdisjoint({"startedAt", "finishedAt", "containerID"})


def test_a_container_without_image_has_no_image_id() -> None:
    status = container_status.running(Container(name="web"), pod_uid="uid", at=AT)
    assert (status.image, status.image_id) == ("", "")


def test_a_container_id_is_stable_across_versions() -> None:
    expected = "synthetic://b3edbcc59ce49abb92820b34c599206606ef87d6b648d76c7991df0c0225c669"
    assert container_id("2b0fba1b-6627-4b32-9948-9f415a2c5ecb", "web") == expected


def test_container_ids_differ_by_pod_container_and_restart() -> None:
    ids = [
        container_id(uid, name, restart_count=restarts)
        for uid, name, restarts in product(("a", "aa", "b"), ("a", "aa", "b"), (0, 1, 10))
    ]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("image", "repository"),
    [
        ("nginx", "docker.io/library/nginx"),
        ("nginx:1.27", "docker.io/library/nginx"),
        ("library/nginx", "docker.io/library/nginx"),
        ("example/api:2", "docker.io/example/api"),
        ("example/team/api", "docker.io/example/team/api"),
        ("docker.io/example/api", "docker.io/example/api"),
        ("ghcr.io/example/api:2", "ghcr.io/example/api"),
        ("localhost/api", "localhost/api"),
        ("localhost:5000/api:2", "localhost:5000/api"),
        ("registry:5000/api", "registry:5000/api"),
        ("10.0.0.5:5000/a/b:tag", "10.0.0.5:5000/a/b"),
    ],
)
def test_an_image_id_is_repository_and_digest(image: str, repository: str) -> None:
    name, _, digest = image_id(image).partition("@")
    assert name == repository
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest)


@pytest.mark.parametrize(
    ("image", "repository"),
    [
        ("nginx@" + DIGEST, "docker.io/library/nginx"),
        ("nginx:1.27@" + DIGEST, "docker.io/library/nginx"),
        ("ghcr.io/example/api:2@" + DIGEST, "ghcr.io/example/api"),
        ("localhost:5000/api@" + DIGEST, "localhost:5000/api"),
    ],
)
def test_an_image_digest_is_kept(image: str, repository: str) -> None:
    assert image_id(image) == f"{repository}@{DIGEST}"


def test_equivalent_image_names_have_the_same_id() -> None:
    assert image_id("nginx:1.27") == image_id("docker.io/library/nginx:1.27") == image_id("library/nginx:1.27")
    others = ["nginx:1.27", "nginx:1.28", "nginx", "httpd:1.27", "ghcr.io/library/nginx:1.27"]
    assert len({image_id(image) for image in others}) == len(others)


@given(st.text())
def test_any_image_has_the_same_id_every_time(image: str) -> None:
    assert image_id(image) == image_id(image)
    assert bool(image_id(image)) == bool(image)
