"""Virtual Kubelet: Web as one command: `vkweb`.

The product's packages are `app` (the provider), `broker` (the node), `conformance` and `migrations`. In a checkout
they are beside this package. In a wheel they are in `vkweb/lib`, because packages named `app` or `migrations` in
site-packages would collide with those of other projects. Importing `vkweb` puts the folder that contains them
first on the import path of this process, so that they have the same names everywhere: a user's runtime imports
`app.runtimes` in a checkout, in a wheel and in the image.

The version is defined here and nowhere else.
"""

import sys
from pathlib import Path

__version__ = "0.2.0"

_HERE = Path(__file__).resolve().parent

LIBRARY = _HERE / "lib" if (_HERE / "lib").is_dir() else _HERE.parent
"""The folder that contains `app`, `broker`, `conformance`, `migrations`, `wsgi.py` and `gunicorn.conf.py`."""

if str(LIBRARY) in sys.path:
    sys.path.remove(str(LIBRARY))
sys.path.insert(0, str(LIBRARY))
