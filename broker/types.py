"""Types that several parts of the broker use."""

from typing import Any

import msgspec

Object = dict[str, Any]
"""A Kubernetes object: decoded JSON."""


class PodReference(msgspec.Struct, frozen=True):
    """Namespace, name and UID of a pod."""

    namespace: str
    name: str
    uid: str = ""
