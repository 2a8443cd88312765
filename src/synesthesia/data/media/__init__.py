"""One pass over a media file: 16 kHz mono audio and one frame per second, or a short reason why not (section 3.1).

container.py           open an untrusted file, read its packets, reject what is too short or too large
frame_dependencies.py  which packets the decoder needs for given frames, bit for bit
frames.py              the frame for each target time
images.py              orientation, square pixels, size, JPEG
audio.py               mono, one sample rate, at the place that its timestamps say
channels.py            channel layouts and sample formats
encryption.py          which file is encrypted
errors.py              reasons of rejection
decode.py              all of the above in one call
"""

from synesthesia.data.media.decode import DecodedClip, decode
from synesthesia.data.media.errors import MediaError
from synesthesia.data.media.images import fit_size

__all__ = ["DecodedClip", "MediaError", "decode", "fit_size"]
