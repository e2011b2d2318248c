"""Reads pages of the dashboard."""

import re
from html import unescape
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse


def get(client: FlaskClient, path: str, code: int = 200, **query: str) -> str:
    """Return the text of a page."""
    answer = client.get(path, query_string=query)
    assert answer.status_code == code, answer.text
    assert answer.content_type == "text/html; charset=utf-8"
    return text(answer)


def text(answer: TestResponse) -> str:
    """Return the text of the body of a page, in one line."""
    body = re.sub(r"<head>.*?</head>|<header.*?</header>|<wbr>", "", answer.text, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", body)))


def uid(pod: dict[str, Any]) -> str:
    """Return the UID of a pod."""
    found: str = pod["metadata"]["uid"]
    return found
