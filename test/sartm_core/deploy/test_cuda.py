"""Which CUDA runtime is taken, and what is said where none can be used; with stand-ins, no GPU."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_cudart import compiled_cudart

from sartm_core.deploy import cuda


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for Python's path with the runtimes of CUDA 12.9 and 13.0, laid out as in NVIDIA's wheels."""
    folder = tmp_path_factory.mktemp("site-packages")
    compiled_cudart(folder / "nvidia/cuda_runtime/lib/libcudart.so.12", 12090)  # nvidia_cuda_runtime_cu12-12.9.79
    compiled_cudart(folder / "nvidia/cu13/lib/libcudart.so.13", 13000)  # nvidia_cuda_runtime-13.5.37
    return folder


@pytest.fixture(autouse=True)
def none_installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(cuda, "LIBRARIES", ("libnosuch.so.1",))
    monkeypatch.setattr("sys.path", [])
    cuda._library.cache_clear()
    yield
    cuda._library.cache_clear()


@pytest.fixture
def packaged(libraries: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", ["", str(libraries.parent / "elsewhere"), str(libraries)])


def loaded() -> str:
    return str(cuda._library()._name)


class TestWhichRuntime:
    def test_none(self) -> None:
        assert cuda.why_unusable() == (
            "the CUDA runtime was not found (libnosuch.so.1; pip install nvidia-cuda-runtime-cu12)"
        )

    @pytest.mark.parametrize(("driver", "file"), [("13000", "cu13/lib/libcudart.so.13"), ("12020", "libcudart.so.12")])
    def test_nvidias_pip_packages_are_found_and_the_one_is_taken_that_the_driver_serves(
        self, packaged: None, monkeypatch: pytest.MonkeyPatch, driver: str, file: str
    ) -> None:
        monkeypatch.setenv("FAKE_CUDA_DRIVER", driver)
        assert cuda.why_unusable() is None
        assert loaded().endswith(file)

    def test_the_systems_own_comes_first(
        self, libraries: Path, packaged: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        own = compiled_cudart(tmp_path / "libcudart.so.12")
        monkeypatch.setattr(cuda, "LIBRARIES", ("libnosuch.so.1", str(own)))
        assert cuda.why_unusable() is None
        assert loaded() == str(own)


class TestWhyUnusable:
    def test_one_gpu(self, packaged: None) -> None:
        assert cuda.why_unusable() is None

    def test_a_driver_that_is_too_old(self, packaged: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FAKE_CUDA_DRIVER", "11080")
        assert cuda.why_unusable() == (
            "the CUDA runtime is 13.0, and the NVIDIA driver serves 11.8 at most: update the driver, or install a "
            "runtime of CUDA 11 (with pip: nvidia-cuda-runtime-cu11)"
        )

    def test_no_driver(self, packaged: None, monkeypatch: pytest.MonkeyPatch) -> None:
        """NVIDIA's runtimes 12.9 and 13.5 answer cudaErrorInsufficientDriver then, too."""
        monkeypatch.setenv("FAKE_CUDA_DRIVER", "0")
        assert cuda.why_unusable() == (
            "no NVIDIA driver is loaded (a container needs --gpus all, or --runtime nvidia on a Jetson)"
        )

    def test_no_gpu(self, packaged: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FAKE_CUDA_DEVICES", "0")
        assert cuda.why_unusable() == "no NVIDIA GPU responds"

    def test_cudas_own_words_for_everything_else(self, packaged: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FAKE_CUDA_STATUS", "2")
        assert cuda.why_unusable() == "no NVIDIA GPU responds: out of memory (2)"


def test_gpus_of_one_name_are_told_apart(packaged: None, monkeypatch: pytest.MonkeyPatch) -> None:
    described = set()
    for multiprocessors, gib in (("16", "61.4"), ("16", "29.9"), ("8", "15.3")):
        monkeypatch.setenv("FAKE_CUDA_NAME", "Orin")
        monkeypatch.setenv("FAKE_CUDA_SMS", multiprocessors)
        monkeypatch.setenv("FAKE_CUDA_GIB", gib)
        described.add(cuda.Cuda().description)
    assert described == {"Orin, 8.7, 16 SMs, 61 GiB", "Orin, 8.7, 16 SMs, 30 GiB", "Orin, 8.7, 8 SMs, 15 GiB"}
