"""From raw sensor arrays to the planes that the network takes as input.

`encode_frame` is the one way: registration to the reference camera, then `encode` for each modality.
"""

from sartm_core.sensing.encoding import EncodedFrame, encode, encode_frame, reason_of
from sartm_core.sensing.fit import Fit, FitMode
from sartm_core.sensing.registration import register
from sartm_core.sensing.windows import Windows

__all__ = ["EncodedFrame", "Fit", "FitMode", "Windows", "encode", "encode_frame", "reason_of", "register"]
