"""The schema revision of this version."""

import subprocess
import sys

from alembic.script import ScriptDirectory

from app.db.revision import MIGRATIONS, head


def test_the_head_is_that_of_alembic() -> None:
    assert head() == ScriptDirectory(str(MIGRATIONS)).get_current_head()


def test_a_process_that_serves_has_no_alembic() -> None:
    program = "import sys, wsgi; sys.exit('alembic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
