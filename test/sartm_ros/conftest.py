import pytest

pytest.register_assert_rewrite("fuzzing", "live_nodes")

from live_nodes import drive, feed, host, middleware, node, start  # noqa: E402, F401
