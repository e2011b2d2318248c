"""The pods of a node: services that read and write them, their addresses, logs and history."""
