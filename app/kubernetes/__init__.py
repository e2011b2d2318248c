"""The life of a pod as pure functions: a pod, where it runs and a time go in, statuses come out.

Nothing in here does I/O or looks at the clock. A status is computed once, when the pod arrives or
changes, and stored with the time from which it holds.
"""
