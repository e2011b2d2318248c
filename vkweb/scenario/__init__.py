"""Scenarios: faults of nodes that a file describes, played at a time or a rate.

The command steers the nodes by annotations of their Node objects (`broker.faults`), so that each fault is visible
with kubectl, can be set by hand, and outlives a restart of command and broker.

`file` describes a scenario, `schedule` computes its entries without I/O, `actions` carries them out in the
cluster, `drain` evicts pods, `play` runs the schedule by a clock, and `report` reads the history of the pods from
the database.
"""
