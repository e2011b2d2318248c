"""Resource usage of the node, its pods and their containers, and its formats for clients."""
