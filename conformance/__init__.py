"""The conformance kit: is this a web provider that Virtual Kubelet can use?

`python -m conformance http://host:port` asks any provider of the contract, in any language, from outside. It needs
Python and nothing else, and knows neither the provider nor the broker of this repository.

Each check is a small function in :mod:`conformance.checks`; :mod:`conformance.run` calls it and turns what happens
into data, :mod:`conformance.report` renders the data.
"""
