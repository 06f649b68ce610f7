"""What every test gets: eight CPU devices, a generator seeded by the test's name, reproducible hypothesis."""

import os
import zlib

# All must be set before the first `import jax`. A user's own settings win. Programs run once or twice here,
# so LLVM's optimisations cost more than they save; XLA's own, which decide the program's form, stay.
_FLAGS = {"--xla_force_host_platform_device_count": 8, "--xla_backend_optimization_level": 0}
for _flag, _value in _FLAGS.items():
    if _flag not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_flag}={_value}".strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import hypothesis  # noqa: E402  (after the environment)
import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

# A failure must be the same failure on the next run, and a compilation may take longer than any deadline.
hypothesis.settings.register_profile("jaxconv", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.load_profile("jaxconv")


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """A generator whose seed is the test's own id: stable between runs, different between tests."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture(autouse=True, scope="module")
def _forget_programs():
    """Compiled programs of one file are of no use to the next, and thousands of them fill the memory."""
    yield
    jax.clear_caches()


@pytest.fixture
def every_element():
    """Precision for comparing each element: the errors of Winograd and FFT are bounded in norm only."""
    with jax.default_matmul_precision("highest"):
        yield


@pytest.fixture
def small_roofs(monkeypatch):
    """What benchmarks measure of the machine, of arrays that take no time."""
    from benchmarks import machine

    monkeypatch.setattr(machine, "_COPY_BYTES", 2**16)
    monkeypatch.setattr(machine, "_MATMUL_SIZES", (64,))
