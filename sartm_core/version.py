"""The version; `setup.py`, `package.xml` and `CITATION.cff` repeat it, a test compares."""

__version__ = "0.1.0"
