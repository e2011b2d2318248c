"""The usage of simulated pods: computed from the pod, its status and the time, like everything else of them."""
