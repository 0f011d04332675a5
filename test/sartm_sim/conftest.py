import pytest

pytest.register_assert_rewrite("live_nodes")

from live_nodes import drive, host, middleware, start  # noqa: E402, F401
