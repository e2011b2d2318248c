"""The root path: JSON for probes, a page of links for browsers."""

from flask import Blueprint, request

from app.web.responses import Response, html_response, json_response

blueprint = Blueprint("index", __name__)

_JSON, _HTML = "application/json", "text/html"
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>Virtual Kubelet: Web</title>
  <link rel="stylesheet" href="ui/static/css/tokens.css">
  <link rel="stylesheet" href="ui/static/css/layout.css">
</head>
<body>
<main>
<h1>Virtual Kubelet: Web</h1>
<p>This is a provider: the HTTP API through which a Kubernetes node runs its pods.</p>
<ul>
  <li><a href="ui/">Dashboard</a>: the node, its pods and its audit log</li>
  <li><a href="openapi.json">OpenAPI document</a>: every endpoint, with its parameters and responses</li>
  <li><a href="healthz">Liveness</a>, <a href="readyz">readiness</a> and <a href="metrics">metrics</a></li>
</ul>
<p>The commands <code>vkweb --help</code> and <code>vkweb config</code> describe its use and its settings.</p>
</main>
</body>
</html>
"""


@blueprint.get("/")
def index() -> Response:
    """Return 200: the Helm charts of the first providers probe this path, without a token."""
    if request.accept_mimetypes.best_match([_JSON, _HTML]) == _HTML:
        response = html_response(_PAGE)
    else:
        response = json_response({"name": "virtual-kubelet-web"})
    response.vary.add("Accept")
    return response
