"""Errors of the SPDY codec."""


class ProtocolError(Exception):
    """The peer has sent what SPDY/3.1 does not allow, or more than the limits allow."""


class LocalProtocolError(Exception):
    """The caller has asked for a frame that the state of the stream does not allow."""
