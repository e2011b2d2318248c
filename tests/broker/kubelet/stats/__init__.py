"""Resource usage, as clients of the kubelet API read it."""
