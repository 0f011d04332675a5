"""The stand-in of CUDA's runtime, compiled."""

import shutil
import subprocess
from pathlib import Path

import pytest


def compiled_cudart(out: Path, version: int = 12090) -> Path:
    """Writes a library that calls itself CUDA's runtime of a version; skips the test where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler (cc, gcc) for the stand-in of CUDA's runtime: apt install gcc")
    out.parent.mkdir(parents=True, exist_ok=True)
    source = Path(__file__).with_suffix(".c")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", f"-DRUNTIME={version}", source, "-o", out], check=True)
    return out
