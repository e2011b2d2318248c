import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.lifecycle import containers
from app.lifecycle.containers import container_id, image_id
from app.lifecycle.manifest import Container
from app.lifecycle.status import ContainerStatus
from tests.lifecycle import unhurried, wire

AT = "2026-11-22T08:46:38Z"
LATER = "2026-11-22T09:00:00Z"
WEB = Container(name="web", image="nginx:1.27")
DIGEST = "sha256:" + "0123456789abcdef" * 4


def running(at: str = AT, *, previous: ContainerStatus | None = None) -> ContainerStatus:
    return containers.running(WEB, pod_uid="uid", at=at, previous=previous)


def completed(at: str = AT, *, previous: ContainerStatus | None = None) -> ContainerStatus:
    return containers.completed(WEB, pod_uid="uid", at=at, previous=previous)


def test_a_container_that_waits_has_no_ids_yet() -> None:
    assert wire(containers.waiting(WEB, reason="ContainerCreating")) == {
        "name": "web",
        "state": {"waiting": {"reason": "ContainerCreating"}},
        "lastState": {},
        "ready": False,
        "restartCount": 0,
        "image": "nginx:1.27",
        "imageID": "",
        "started": False,
    }


def test_a_container_that_runs_says_since_when() -> None:
    assert wire(running()) == {
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


def test_an_init_container_that_has_completed_is_ready_and_not_started() -> None:
    assert wire(completed()) == {
        "name": "web",
        "state": {
            "terminated": {
                "exitCode": 0,
                "reason": "Completed",
                "startedAt": AT,
                "finishedAt": AT,
                "containerID": container_id("uid", "web"),
            }
        },
        "lastState": {},
        "ready": True,
        "restartCount": 0,
        "image": "nginx:1.27",
        "imageID": image_id("nginx:1.27"),
        "containerID": container_id("uid", "web"),
        "started": False,
    }


def test_what_ran_before_keeps_its_times() -> None:
    assert running(LATER, previous=running()) == running()
    assert completed(LATER, previous=completed()) == completed()


def test_what_waited_before_starts_now() -> None:
    waiting = containers.waiting(WEB, reason="PodInitializing")
    assert running(LATER, previous=waiting) == running(LATER)
    assert completed(LATER, previous=waiting) == completed(LATER)


def test_a_container_without_an_image_has_no_image_id() -> None:
    status = containers.running(Container(name="web"), pod_uid="uid", at=AT, previous=None)
    assert (status.image, status.image_id) == ("", "")


def test_a_container_id_is_the_same_in_every_process_and_version() -> None:
    expected = "synthetic://b3edbcc59ce49abb92820b34c599206606ef87d6b648d76c7991df0c0225c669"
    assert container_id("2b0fba1b-6627-4b32-9948-9f415a2c5ecb", "web") == expected


def test_a_container_id_is_another_for_every_pod_container_and_restart() -> None:
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
def test_an_image_id_is_the_whole_name_of_the_repository_and_a_digest(image: str, repository: str) -> None:
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
def test_the_digest_of_an_image_that_has_one_is_its_own(image: str, repository: str) -> None:
    assert image_id(image) == f"{repository}@{DIGEST}"


def test_two_names_of_one_image_have_one_id_and_another_image_another() -> None:
    assert image_id("nginx:1.27") == image_id("docker.io/library/nginx:1.27") == image_id("library/nginx:1.27")
    others = ["nginx:1.27", "nginx:1.28", "nginx", "httpd:1.27", "ghcr.io/library/nginx:1.27"]
    assert len({image_id(image) for image in others}) == len(others)


@unhurried
@given(st.text())
def test_any_image_has_the_same_id_every_time(image: str) -> None:
    assert image_id(image) == image_id(image)
    assert bool(image_id(image)) == bool(image)
