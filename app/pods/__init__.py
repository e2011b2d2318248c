"""The pods of a node: the services that read and write them, and what they are made of."""
