"""`vkweb pods` and `flask node`: text and JSON."""

import pytest
from flask import Flask

from tests.app.audit.recorded import RUNTIME, SECRET, at
from tests.app.cli.conftest import Run, objects, table
from tests.conftest import Clock, MakeApp, services_of
from tests.pods import a_pod


def test_the_pods_that_are_there_are_listed(run: Run) -> None:
    assert table(run("pods", "list").stdout) == [
        ["NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "UID"],
        ["lab", "tool-0", "0/1", "ContainerCreating", "0", "1s", "198.18.0.9", "tool-0"],
        ["shop", "slow-0", "1/1", "Running", "0", "2m51s", "198.18.0.5", "slow-0"],
        ["shop", "web-0", "1/1", "Running", "0", "81s", "198.18.0.7", "web-0-b"],
        ["shop", "worker-0", "1/1", "Running", "2 (2m53s ago)", "3m11s", "198.18.0.3", "worker-0"],
    ]


@pytest.mark.parametrize(
    ("options", "uids"),
    [
        (["--namespace", "lab"], ["tool-0"]),
        (["--phase", "Pending"], ["tool-0"]),
        (["--phase", "Failed"], []),
        (["--deleted"], ["job-0", "tool-0", "slow-0", "web-0-a", "web-0-b", "worker-0"]),
        (["--at", at(100).isoformat()], ["job-0", "slow-0", "web-0-a", "worker-0"]),
        (["--at", "2026-11-22T08:46:40"], ["web-0-a"]),
        (["--at", "60s"], ["job-0", "slow-0", "web-0-b", "worker-0"]),
        (["--at", at(-1).isoformat()], []),
        (["--at", at(190).isoformat(), "--deleted", "-n", "lab"], ["job-0"]),
    ],
)
def test_a_list_is_of_what_was_asked_for(run: Run, options: list[str], uids: list[str]) -> None:
    assert [pod["uid"] for pod in objects(run("pods", "list", "--json", *options).stdout)] == uids


def test_a_recreated_pod_is_absent_in_between(run: Run, recorded: Flask, clock: Clock) -> None:
    client = recorded.test_client()
    [tool] = [pod for pod in client.get("/getPods").get_json() if pod["metadata"]["name"] == "tool-0"]
    for seconds, method, path in ((300, "DELETE", "/deletePod"), (400, "POST", "/createPod")):
        clock.now = at(seconds)
        assert client.open(path, method=method, json=tool).status_code == 200

    def listed(seconds: float) -> list[str]:
        options = ("--json", "-n", "lab", "--at", at(seconds).isoformat())
        return [pod["uid"] for pod in objects(run("pods", "list", *options).stdout)]

    assert [listed(seconds) for seconds in (299, 300, 399, 400)] == [["tool-0"], [], [], ["tool-0"]]
    assert (
        "It was deleted at 2026-11-22T08:51:38Z."
        in run("pods", "explain", "tool-0", "--at", at(350).isoformat()).stdout
    )


def test_top_shows_the_usage_of_running_pods(run: Run) -> None:
    assert table(run("pods", "top").stdout) == [
        ["NAMESPACE", "NAME", "CPU(cores)", "MEMORY(bytes)"],
        ["shop", "slow-0", "10m", "6Mi"],
        ["shop", "web-0", "75m", "25Mi"],
        ["shop", "worker-0", "100m", "102Mi"],
    ]
    [row] = table(run("pods", "top", "--containers", "--at", "2026-11-22T08:46:45").stdout)[1:]
    assert row == ["shop", "web-0", "web", "50m", "25Mi"]
    [pod] = objects(run("pods", "top", "--json", "--at", "2026-11-22T08:46:45").stdout)
    assert pod["pod_ref"] == {"name": "web-0", "namespace": "shop", "uid": "web-0-a"}
    assert (pod["cpu"], pod["memory"]) == (pod["containers"][0]["cpu"], pod["containers"][0]["memory"])
    assert (pod["cpu"]["usage_nano_cores"], pod["memory"]["working_set_bytes"]) == (50_000_000, 26_843_546)


def test_show_lists_names_of_environment_variables(run: Run) -> None:
    shown = run("pods", "show", "shop/worker-0").stdout
    fields, containers, conditions = shown.split("\n\n")
    assert table(fields)[0] == ["Pod:", "shop/worker-0"]
    assert "Running, 1/1 ready, 2 restarts, since 2026-11-22T08:47:26Z" in fields
    assert table(containers)[1] == ["web", "crash:1", "True", "running", "2", "PASSWORD"]
    assert ["PodScheduled", "True", "2026-11-22T08:46:48Z", "-"] in table(conditions)


def test_a_pod_is_shown_as_it_was(run: Run) -> None:
    shown = run("pods", "show", "shop/worker-0", "--at", at(16).isoformat()).stdout
    assert "Running, CrashLoopBackOff, 0/1 ready, since 2026-11-22T08:46:53Z (1s)" in shown
    assert "waiting CrashLoopBackOff" in shown


def test_show_json_is_a_kubernetes_pod(run: Run) -> None:
    [pod] = objects(run("pods", "show", "shop/web-0", "--json").stdout)
    assert pod["metadata"]["uid"] == "web-0-b"
    assert pod["status"]["phase"] == "Running"
    assert pod["spec"]["containers"][0]["env"] == [{"name": "PASSWORD", "value": "…"}]


def test_history_orders_requests_and_statuses(run: Run) -> None:
    by = "Go-http-client/1.1 from 127.0.0.1"
    fields = "spec.containers[web].image, spec.containers[web].resources.requests.cpu"
    assert table(run("pods", "history", "web-0-a").stdout) == [
        ["TIME", "EVENT"],
        ["2026-11-22T08:46:38Z", f"create by {by}"],
        ["2026-11-22T08:46:38Z", "Pending, ContainerCreating, 0/1 ready"],
        ["2026-11-22T08:46:40Z", "Running, 1/1 ready"],
        ["2026-11-22T08:47:38Z", f"update by curl/8.5.0 from 127.0.0.1: {fields}"],
        ["2026-11-22T08:47:38Z", "Running, 1/1 ready"],
        ["2026-11-22T08:48:38Z", f"create by {by}, which put web-0-b in its place"],
    ]


def test_history_marks_scheduled_statuses(run: Run) -> None:
    assert table(run("pods", "history", "lab/tool-0").stdout)[-1] == [
        "2026-11-22T08:50:00Z", "scheduled", "Running, 1/1 ready",
    ]  # fmt: skip
    assert (
        objects(run("pods", "history", "lab/tool-0", "--json").stdout)[-1]["at"] == "2026-11-22T08:50:00.123456Z"
    )


EXPLANATIONS = {
    "starts": (
        ["lab/tool-0"],
        [
            "It is Pending, ContainerCreating, 0/1 ready, since 2026-11-22T08:49:58Z (1s).",
            "Container web waits, ContainerCreating: words.",
            "At 2026-11-22T08:50:00Z, in 1s, it becomes Running, 1/1 ready.",
            "Then it stays so until it is changed or deleted.",
        ],
    ),
    "runs": (
        ["shop/web-0"],
        [
            "It is Running, 1/1 ready, since 2026-11-22T08:48:40Z (79s).",
            "All of its containers run and are ready.",
            "It stays so until it is changed or deleted.",
            "Its containers use 75m of CPU and 25Mi of memory at that time.",
        ],
    ),
    "crashes": (
        ["shop/worker-0", "--at", at(30).isoformat()],
        [
            "It is Running, CrashLoopBackOff, 0/1 ready, 1 restart, since 2026-11-22T08:47:06Z (2s).",
            "Container web waits, CrashLoopBackOff: words; it was restarted 1 time; its last run ended at "
            "2026-11-22T08:47:06Z with exit code 137 (Error).",
            "At 2026-11-22T08:47:26Z, in 18s, it becomes Running, 1/1 ready, 2 restarts.",
            "Then it stays so until it is changed or deleted.",
        ],
    ),
    "was_deleted": (
        ["lab/job-0"],
        [
            "It was last Pending, ImagePullBackOff, 0/1 ready, since 2026-11-22T08:47:01Z (2m58s).",
            "Container web waits, ImagePullBackOff: words.",
            "It was deleted at 2026-11-22T08:49:38Z.",
            "What deleted it: delete by curl/8.5.0 from 127.0.0.1.",
        ],
    ),
    "is_to_come": (
        ["web-0-b", "--at", at(0).isoformat()],
        ["It is not there yet: it comes at 2026-11-22T08:48:38Z."],
    ),
}


@pytest.mark.parametrize(("arguments", "sentences"), EXPLANATIONS.values(), ids=EXPLANATIONS)
def test_a_pod_is_explained_in_words(run: Run, arguments: list[str], sentences: list[str]) -> None:
    [explained] = objects(run("pods", "explain", "--json", *arguments).stdout)
    assert explained["explanation"] == sentences

    first, *printed = run("pods", "explain", *arguments).stdout.splitlines()
    assert first == "{namespace}/{name} (UID {uid}) on node {node_name}".format(**explained)
    assert [line.strip() for line in printed] == sentences


def test_node_shows_requested_resources(run: Run) -> None:
    shown = run("node", "show").stdout
    assert ["cpu", "100", "1.9", "1.9 %"] in table(shown)
    assert ["memory", "1Ti", "1.34Gi", "0.1 %"] in table(shown)
    assert ["pods", "1,000", "4", "0.4 %"] in table(shown)
    assert "1 Pending, 3 Running" in shown
    [node] = objects(run("node", "show", "--at", at(61).isoformat(), "--json").stdout)
    assert node["requested"] == {"cpu": "2100m", "memory": str((256 + 1024 + 128 + 64) * 2**20), "pods": "4"}
    assert node["revision"] == 8


@pytest.mark.parametrize("command", ["show", "history", "explain"])
@pytest.mark.parametrize("pod", ["shop/nobody", "no-such-uid"])
def test_an_unknown_pod_is_an_error(run: Run, command: str, pod: str) -> None:
    result = run("pods", command, pod, code=1)
    assert result.stdout == ""
    assert pod.partition("/")[2] or pod in result.stderr


@pytest.mark.parametrize("command", [["pods", "list"], ["attention"]], ids=" ".join)
@pytest.mark.parametrize("time", ["yesterday", "0001-01-01T00:00:00+01:00", "0001-01-01T00:00:00Z"])
def test_an_invalid_time_is_a_usage_error(run: Run, command: list[str], time: str) -> None:
    assert "not a time such as" in run(*command, "--at", time, code=2).stderr


def test_an_unreachable_database_exits_with_3(run: Run, recorded: Flask) -> None:
    database = services_of(recorded).database
    database.path.rename(database.path.with_suffix(".gone"))
    for command in (["pods", "list"], ["node", "show"], ["audit", "tail"], ["audit", "verify"]):
        assert "there is no database" in run(*command, code=3).stderr


def test_no_command_prints_a_value_of_an_environment(run: Run, recorded: Flask) -> None:
    copied = a_pod("copied", uid="copied", metadata={"annotations": {
        "kubectl.kubernetes.io/last-applied-configuration": f'{{"env": "{SECRET}"}}'
    }})  # fmt: skip
    recorded.test_client().post("/createPod", json=copied)
    for pod in ("shop/web-0", "web-0-a", "shop/worker-0", "default/copied"):
        for command in ("show", "history", "explain"):
            for options in ([], ["--json"]):
                assert SECRET not in run("pods", command, pod, *options).output
    for whole in (["pods", "list", "--deleted"], ["node", "show"], ["audit", "tail", "-n", "99"]):
        for options in ([], ["--json"]):
            assert SECRET not in run(*whole, *options).output
    assert SECRET not in run("audit", "export").output


@pytest.mark.parametrize(
    "command", [("pods", "list"), ("audit", "query", "ran"), ("node", "show"), ("pods", "show", "shop/web-0")]
)
def test_an_unknown_node_is_pointed_out(recorded: Flask, make_app: MakeApp, command: tuple[str, ...]) -> None:
    warning = "Warning: the database has no node other; set NODE_NAME to one of virtual-kubelet-web"
    assert warning in make_app(node_name="other", runtime=RUNTIME).test_cli_runner().invoke(args=command).stderr
    assert "Warning" not in recorded.test_cli_runner().invoke(args=command).stderr


def test_an_empty_database_is_no_reason_for_a_warning(make_app: MakeApp) -> None:
    assert make_app().test_cli_runner().invoke(args=["pods", "list"]).stderr == ""
