"""The nodes of a broker: one, or the pools of a fleet, that come and go."""
