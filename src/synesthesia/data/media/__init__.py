"""One pass over a media file: 16 kHz mono sound and one frame a second, or a short reason why not (section 3.1).

reading.py     open a file that may be hostile, read its packets, refuse what is too short or too large
needed.py      which packets have to be decoded for some frames, bit for bit
frames.py      the frame for each second
pictures.py    upright, of square pixels, small enough, as JPEG
sound.py       mono, at one rate, of exact length
decoding.py    all of it, in one call
"""

from synesthesia.data.media.decode import DecodedClip, decode
from synesthesia.data.media.errors import MediaError
from synesthesia.data.media.images import fit_size

__all__ = ["DecodedClip", "MediaError", "decode", "fit_size"]
