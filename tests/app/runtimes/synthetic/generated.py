"""Strategies of pods of every kind, with all annotations."""

from typing import Any

from hypothesis import strategies as st

from app.runtimes.synthetic.annotations import DOMAIN
from tests.app.simulation import UID
from tests.pods import a_container, a_pod

_POLICIES = ["Always", "OnFailure", "Never"]
_seconds = st.integers(0, 40)
_probe = st.fixed_dictionaries(
    {},
    optional={
        "initialDelaySeconds": _seconds,
        "periodSeconds": st.integers(1, 20),
        "successThreshold": st.integers(1, 3),
        "failureThreshold": st.integers(1, 3),
        "terminationGracePeriodSeconds": st.integers(1, 10),
    },
)
_hook = st.sampled_from([{"sleep": {"seconds": 3}}, {"sleep": {"seconds": 50}}, {"exec": {"command": ["true"]}}])
_lifecycle = st.fixed_dictionaries({}, optional={"preStop": _hook, "postStart": _hook})
_env = st.sampled_from(
    [
        [{"name": "A", "value": "1"}],
        [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}],
        [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b", "optional": True}}}],
    ]
)
_rules = st.lists(
    st.fixed_dictionaries(
        {
            "action": st.just("Restart"),
            "exitCodes": st.fixed_dictionaries(
                {
                    "operator": st.sampled_from(["In", "NotIn"]),
                    "values": st.lists(st.sampled_from([0, 1, 137]), max_size=2),
                }
            ),
        }
    ),
    max_size=2,
)
_fails = st.sampled_from(
    [
        "ErrImagePull",
        "ImagePullBackOff",
        "CreateContainerConfigError",
        "CrashLoopBackOff",
        "OOMKilled",
        "StartupProbe",
        "ReadinessProbe",
        "LivenessProbe",
        "PostStartHook",
        "nonsense",
    ]
)
_durations = st.sampled_from(["0s", "500ms", "1", "3s", "20s", "700s", "2h", "soon"])
_of_one = {
    "run-for": _durations,
    "exit-code": st.sampled_from(["0", "1", "255", "300"]),
    "fail": _fails,
    "fail-after": _durations,
    "stop-after": st.sampled_from(["0s", "2s", "20s", "60s"]),
    "logs": st.just("hello\nworld"),
}


def _container(name: str, policies: list[str | None]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda fields, policy: a_container(name, **fields) | ({"restartPolicy": policy} if policy else {}),
        st.fixed_dictionaries(
            {},
            optional={
                "startupProbe": _probe,
                "readinessProbe": _probe,
                "livenessProbe": _probe,
                "restartPolicyRules": _rules,
                "resources": st.sampled_from(
                    [{"requests": {"cpu": "1"}}, {"limits": {"cpu": 2, "memory": "1Gi"}}]
                ),
                "lifecycle": _lifecycle,
                "env": _env,
                "resizePolicy": st.just([{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]),
            },
        ),
        st.sampled_from(policies),
    )


def _containers(prefix: str, policies: list[str | None], least: int, most: int) -> st.SearchStrategy[Any]:
    return st.integers(least, most).flatmap(
        lambda count: st.tuples(*(_container(f"{prefix}-{index}", policies) for index in range(count))).map(list)
    )


@st.composite
def _annotations(draw: st.DrawFn) -> dict[str, str]:
    found = {
        f"{DOMAIN}/{name}": value
        for name, value in draw(
            st.fixed_dictionaries(
                {},
                optional={
                    **_of_one,
                    "start-delay": _durations,
                    "start-delay-factor": st.sampled_from(["0", "0.5", "3", "x"]),
                    "jitter": _durations,
                    "fail": _fails | st.sampled_from(["Evicted", "NodeLost"]),
                },
            )
        ).items()
    }
    for name in draw(
        st.lists(st.sampled_from(["app-0", "app-1", "init-0", "init-1", "debug-0", "other"]), max_size=2)
    ):
        of_one = draw(st.fixed_dictionaries({}, optional=_of_one))
        found |= {f"{key}.{DOMAIN}/{name}": value for key, value in of_one.items()}
    return found


annotations: st.SearchStrategy[dict[str, str]] = st.one_of(st.just({}), _annotations())
"""Return a strategy of annotations, some of them invalid."""


@st.composite
def pods(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a pod."""
    owner = draw(st.sampled_from([None, "Job", "ReplicaSet"]))
    optional = {
        "activeDeadlineSeconds": st.integers(1, 2000),
        "readinessGates": st.just([{"conditionType": "example.com/ready"}]),
        "ephemeralContainers": _containers("debug", [None], 0, 1),
        "hostNetwork": st.booleans(),
    }
    return a_pod(
        uid=UID,
        containers=draw(_containers("app", [None, None, *_POLICIES], 1, 2)),
        initContainers=draw(_containers("init", [None, None, "Always"], 0, 2)),
        restartPolicy=draw(st.sampled_from(_POLICIES)),
        terminationGracePeriodSeconds=draw(st.sampled_from([0, 1, 30])),
        metadata={
            "annotations": draw(annotations),
            "ownerReferences": [{"kind": owner}] if owner else [],
        },
        **draw(st.fixed_dictionaries({}, optional=optional)),
    )


@st.composite
def changes(draw: st.DrawFn, pod: dict[str, Any]) -> dict[str, Any]:
    """Draw an update of a pod that an API server allows."""
    metadata, spec = dict(pod["metadata"]), dict(pod["spec"])
    metadata["generation"] += draw(st.integers(0, 1))
    what = draw(st.sampled_from(["labels", "annotations", "image", "env", "resources", "deadline", "debug"]))
    first = dict(spec["containers"][0])
    if what == "labels":
        metadata["labels"] = {"app": "another"}
    elif what == "annotations":
        metadata["annotations"] = draw(annotations)
    elif what == "image":
        first["image"] = draw(st.sampled_from(["nginx:1.27", "nginx:1.28"]))
    elif what == "env":
        first["env"] = draw(_env)
    elif what == "resources":
        first["resources"] = draw(st.sampled_from([{"requests": {"cpu": "2"}}, {"requests": {"cpu": "5000"}}]))
    elif what == "deadline":
        spec["activeDeadlineSeconds"] = draw(st.integers(1, 100))
    else:
        spec["ephemeralContainers"] = [{"name": "debug-0", "image": "busybox"}]
    spec["containers"] = [first, *spec["containers"][1:]]
    return {**pod, "metadata": metadata, "spec": spec}
