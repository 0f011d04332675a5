"""What was calibrated: lines for people, fields for the rig file, pictures."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from sartm_core.calibrate.estimate import Alignment, Refusal
from sartm_core.calibrate.picture import Comparison, clear_share, image_over, points_over
from sartm_core.calibrate.rig_text import with_fields
from sartm_ros.bag.rig_calibrate import Calibrated

LEAST_OFF_PX, LEAST_LATE_S = 2.0, 0.01
"""Less is no remark of `sartm rig check`."""


def line(one: Calibrated) -> str:
    """One line: what was found and how well it is known, or why nothing was."""
    if isinstance(one.estimate, Refusal):
        return f"{one.name}: not calibrated: {one.estimate.reason}"
    known = one.estimate
    pose = f"lies {one.moved_px:.1f} px off, known within {one.uncertainty_px:.1f} px"
    if one.moved_px <= one.uncertainty_px:
        pose = f"lies as the rig file says, within {one.uncertainty_px:.1f} px"
    return f"{one.name}: {pose}; {_time(known)}; {known.frames} frames"


def remark(one: Calibrated) -> str | None:
    """What `sartm rig check` says of a sensor that does not lie, or is not stamped, as the rig file has it."""
    if isinstance(one.estimate, Refusal):
        return None
    known = one.estimate
    late = known.offset_s is not None and abs(known.offset_s) > max(known.offset_uncertainty_s, LEAST_LATE_S)
    if not late and one.moved_px <= max(one.uncertainty_px, LEAST_OFF_PX):
        return None
    return f"{line(one)}. `sartm rig calibrate` corrects it."


def _time(known: Alignment) -> str:
    if known.offset_s is None:
        return f"time not known ({known.no_offset or 'single frames'})"
    side = "late" if known.offset_s < 0 else "early"
    return f"{abs(known.offset_s) * 1e3:.0f} ms {side}, known within {known.offset_uncertainty_s * 1e3:.0f} ms"


def summary(one: Calibrated) -> dict[str, Any]:
    """The same as JSON."""
    if isinstance(one.estimate, Refusal):
        return {"modality": one.name, "refused": one.estimate.reason}
    known = one.estimate
    return {
        "modality": one.name,
        "moved_px": round(one.moved_px, 2),
        "uncertainty_px": round(one.uncertainty_px, 2),
        "offset_ms": None if known.offset_s is None else round(known.offset_s * 1e3, 1),
        "offset_uncertainty_ms": round(known.offset_uncertainty_s * 1e3, 1),
        "no_offset": known.no_offset,
        "frames": known.frames,
        "fields": one.fields,
    }


def written(text: str, found: Sequence[Calibrated], recording: str, source: str) -> str:
    """The text of the rig file with what was found.

    Args:
        text: as it is.
        recording: its name, for the comments.
        source: names the file in errors.
    """
    for one in found:
        if one.fields and isinstance(one.estimate, Alignment):
            time = f", {one.estimate.offset_uncertainty_s * 1e3:.0f} ms" if "offset_s" in one.fields else ""
            known = f"within {one.uncertainty_px:.1f} px{time}"
            name = "".join(character if character.isprintable() else " " for character in recording)
            remark = f"{date.today().isoformat()} from {name}: {one.estimate.frames} frames, {known}"
            text = with_fields(text, one.name, one.fields, remark, source)
    return text


def comparisons(found: Sequence[Calibrated]) -> list[Comparison]:
    """A picture for each, of the moment at which the reference saw most clearly."""
    rows = []
    for one in found:
        assert one.seen is not None
        assert one.before is not None
        assert one.after is not None
        assert isinstance(one.estimate, Alignment)
        clearness = [clear_share(moment.nearest(0.0)) for moment in one.seen.moments]
        best = clearness.index(max(clearness))
        moment, measured = one.seen.moments[best], one.seen.measurements[best]
        then, now = moment.nearest(0.0), moment.nearest(one.estimate.offset_s or 0.0)
        if not moment.is_still and one.estimate.offset_s is not None:
            now = moment.seen(one.estimate.offset_s)[0]
        if one.k is None:
            before, after = image_over(then, measured, one.before), image_over(now, measured, one.after)
        else:
            before = points_over(then, measured, one.k, one.before)
            after = points_over(now, measured, one.k, one.after)
        rows.append(Comparison(one.name, f"moved by {one.moved_px:.1f} px", before, after))
    return rows
