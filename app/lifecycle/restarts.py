"""Whether a container is restarted once it has ended.

Source: `ContainerShouldRestart` in `k8s.io/kubernetes/pkg/api/v1/pod`, "Container restart policy" in the
Kubernetes documentation.
"""

from app.lifecycle.manifest import Container, ContainerRestartRule, PodSpec


def restarts(container: Container, spec: PodSpec, *, exit_code: int) -> bool:
    """Decide by the container's rules, else by its own policy, else by the pod's, whose default is Always.

    The rules count only where the container has a policy of its own. `RestartAllContainers` restarts the
    container that has it, and no other.
    """
    policy = container.restart_policy or spec.restart_policy
    rules = container.restart_policy_rules if container.restart_policy else None
    if rules and any(_applies(rule, exit_code) for rule in rules):
        return True
    return exit_code != 0 if policy == "OnFailure" else policy != "Never"


def _applies(rule: ContainerRestartRule, exit_code: int) -> bool:
    if rule.exit_codes is None or rule.action not in ("Restart", "RestartAllContainers"):
        return False
    is_listed = exit_code in (rule.exit_codes.values or ())
    return is_listed if rule.exit_codes.operator == "In" else rule.exit_codes.operator == "NotIn" and not is_listed
