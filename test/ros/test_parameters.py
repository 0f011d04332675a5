from pathlib import Path

from sartm_ros.parameters import TABLE

DOCS = Path(__file__).parents[2] / "docs" / "node.md"


def test_the_documentation_lists_every_parameter() -> None:
    text = DOCS.read_text()
    for spec in TABLE:
        values = (
            ", ".join(spec.choices)
            if spec.choices
            else f"{spec.low:g} to {spec.high:g}"
            if spec.low is not None
            else ""
        )
        assert f"| `{spec.name}` | `{spec.default}` | {values} | {spec.doc} |" in text
