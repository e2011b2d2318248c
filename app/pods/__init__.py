"""The pods of a fleet: services that read and write them, their addresses, logs and history."""
