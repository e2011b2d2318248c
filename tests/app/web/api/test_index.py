"""The root path: JSON for probes and clients, links for browsers."""

import re

import pytest
from flask.testing import FlaskClient

from tests.conftest import MakeApp

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
TOKEN = "a-token"


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "application/json, text/html;q=0.9"])
def test_probes_and_clients_receive_json(client: FlaskClient, accept: str | None) -> None:
    answer = client.get("/", headers={"Accept": accept} if accept else {})
    assert (answer.status_code, answer.get_json()) == (200, {"name": "virtual-kubelet-web"})
    assert "Accept" in answer.headers["Vary"]


def test_a_browser_receives_links_that_work(client: FlaskClient) -> None:
    page = client.get("/", headers={"Accept": BROWSER})
    assert (page.status_code, page.mimetype) == (200, "text/html")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    links = re.findall(r'href="([^"]*)"', page.text)
    assert {"ui/", "ui/static/css/tokens.css", "openapi.json", "metrics"} <= set(links)
    for link in links:
        with client.get(f"/{link}") as answer:
            assert answer.status_code == 200, link


def test_with_a_token_the_link_leads_to_a_form(make_app: MakeApp) -> None:
    client = make_app(provider_token=TOKEN).test_client()
    assert '"ui/"' in client.get("/", headers={"Accept": BROWSER}).text
    assert client.get("/ui/", headers={"Accept": BROWSER}).headers["Location"] == "/ui/sign-in?next=%2Fui%2F"
