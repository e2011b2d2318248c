"""The shim: one small process per pod, which runs the pod's containers and survives the server.

A node has as many shims as pods, so a shim must be small. It is started as a separate program (`python -m shim`,
with the parent of this directory on the path), without the `app` package, and loads the standard library only.
Therefore these modules import each other relatively.
"""
