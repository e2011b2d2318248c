"""Every status has the shape of `PodStatus` in the Kubernetes API reference."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.kubernetes.status import encode_status
from app.runtimes.base import Placement
from tests.app.runtimes.status_shape import check_shape
from tests.app.runtimes.synthetic.generated import pods
from tests.app.simulation import bounded, transitions_of

ips = st.ip_addresses().map(str)
placements = st.builds(
    Placement, host_ips=st.lists(ips, min_size=1, max_size=2).map(tuple), pod_ip=st.none() | ips
)


@bounded
@given(pods(), placements, st.sampled_from([0, 0.5, 3600]))
def test_every_status_has_the_reference_shape(
    pod: dict[str, Any], placement: Placement, start_delay: float
) -> None:
    for _, status in transitions_of(pod, placement=placement, start_delay=start_delay):
        check_shape(encode_status(status))
