"""The Node object: registered, kept alive by a lease, and told the truth about its provider."""
