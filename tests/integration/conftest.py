"""Clients of other projects, from the extra [integration], which `.ci/integration` installs.

In an environment without them every file here is skipped with a line that names the extra. The
bundled model is used throughout: no exporter is needed.
"""

import os

# Before any of these libraries is imported: none of them is to call home from a test.
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"
os.environ["ANONYMIZED_TELEMETRY"] = "False"
os.environ["LANGSMITH_TRACING"] = "false"
