"""The shim: one small process a pod, which runs the pod's containers and outlives the server.

It is started as a program of its own (`python -m shim`, with this folder's parent on the path), not through the
`app` package: a node has as many shims as pods, so each has the standard library in memory and nothing else. That
is why these modules import each other relatively.
"""
