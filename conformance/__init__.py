"""Conformance kit: check whether Virtual Kubelet can use a web provider.

`python -m conformance http://host:port` sends requests to a running provider of the contract, in any language. It
needs only Python, and imports neither the provider nor the broker of this repository.

Each check is a function in :mod:`conformance.checks`; :mod:`conformance.run` calls it and returns the result as
data, :mod:`conformance.report` formats the results.
"""
