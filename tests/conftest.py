"""What every test gets: eight CPU devices, a generator seeded by the test's name, reproducible hypothesis."""

import importlib.util
import os
import tempfile
import zlib

# All must be set before the first `import jax`. A user's own settings win. Programs run once or twice here,
# so LLVM's optimisations cost more than they save; XLA's own, which decide the program's form, stay.
_FLAGS = {
    "--xla_force_host_platform_device_count": 8,
    "--xla_backend_optimization_level": 0,
    "--xla_llvm_disable_expensive_passes": "true",
}
for _flag, _value in _FLAGS.items():
    if _flag not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_flag}={_value}".strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import hypothesis  # noqa: E402  (after the environment)
import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

from tests.programs import remembered  # noqa: E402

# A failure must be the same failure on the next run, and a compilation may take longer than any deadline.
hypothesis.settings.register_profile("jaxconv", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.load_profile("jaxconv")


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """A generator whose seed is the test's own id: stable between runs, different between tests."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture(autouse=True, scope="session")
def _remember_programs():
    """What was compiled once is read from a file: small operations, above all, occur in many tests.

    The folder is a process's own, since JAX writes to it without a lock. Programs for devices that are not
    there can be written, but not read: none where their compilers are.
    """
    if importlib.util.find_spec("libtpu"):
        yield
        return
    with tempfile.TemporaryDirectory() as folder, remembered(folder):
        yield


@pytest.fixture(autouse=True, scope="module")
def _forget_programs():
    """Thousands of loaded programs fill the memory."""
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
