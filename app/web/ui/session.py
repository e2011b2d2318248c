"""The session of a person who has signed in to the dashboard: a signed cookie, and nothing on the server.

The key of the signature is derived from PROVIDER_TOKEN. So a session is valid at each worker and each replica,
and after a restart; another token ends all sessions. The cookie holds two times, the start of the session and
its last use, each of which has a limit. It is renewed while it is used, at most once a minute.
"""

import hashlib
from datetime import datetime, timedelta
from typing import NamedTuple

from itsdangerous import BadSignature, Signer

from app.core.settings import Settings

_RENEWAL = timedelta(minutes=1)


class SignInSession(NamedTuple):
    """A session.

    Attributes:
        started: when its owner signed in, in seconds since 1970.
        used: when it was used last, or up to a minute earlier.
    """

    started: int
    used: int


class SignInSessions:
    """Issues and reads the cookies of one node.

    Args:
        settings: the settings, with a token.
        token: the token.

    Attributes:
        cookie_name: differs from node to node, since a browser sends a cookie to every port of a host.
    """

    def __init__(self, settings: Settings, token: str) -> None:
        self._lifetime = settings.session_lifetime
        self._idle_timeout = settings.session_idle_timeout
        salt = f"dashboard of {settings.node_name}"
        self._signer = Signer(token, salt=salt, key_derivation="hmac", digest_method=hashlib.sha256)
        self.cookie_name = f"vkweb-session-{hashlib.sha256(settings.node_name.encode()).hexdigest()[:8]}"

    def start(self, now: datetime) -> SignInSession:
        """Return a session that starts now."""
        return SignInSession(_seconds(now), _seconds(now))

    def renewed(self, session: SignInSession, now: datetime) -> SignInSession | None:
        """Return a session with a later last use; None while that of the cookie is recent enough."""
        used = _seconds(now)
        is_due = used - session.used >= min(_RENEWAL, self._idle_timeout / 2).total_seconds()
        return session._replace(used=used) if is_due else None

    def seconds_left(self, session: SignInSession, now: datetime) -> int:
        """Return the seconds until the session ends if it is not used; not positive if it has ended."""
        lifetime = session.started + int(self._lifetime.total_seconds())
        return min(lifetime, session.used + int(self._idle_timeout.total_seconds())) - _seconds(now)

    def encode(self, session: SignInSession) -> str:
        """Return the value of the cookie."""
        return self._signer.sign(f"{session.started}-{session.used}").decode()

    def decode(self, cookie: str, now: datetime) -> SignInSession | None:
        """Return the session of a cookie; None if it was not signed with this token, or has ended."""
        try:
            started, _, used = self._signer.unsign(cookie).decode().partition("-")
        except BadSignature:
            return None
        session = SignInSession(int(started), int(used))
        return session if self.seconds_left(session, now) > 0 else None


def _seconds(now: datetime) -> int:
    return int(now.timestamp())
