"""Prints the frame sizes of all chunks in a vault's closed segments, each size once: chunk_frames.py VAULT

Record headers are not encrypted (docs/format.md, section 2.2), so no key is needed.
"""

import pathlib
import struct
import sys

HEADER_BYTES, FIRST_RECORD, TRAILER_BYTES = 88, 160, 32
CHUNK, FOOTER = 1, 3

sizes = set()
for path in pathlib.Path(sys.argv[1]).glob("segments/*.seg"):
    data = path.read_bytes()
    at, kind = FIRST_RECORD, None
    while kind != FOOTER:
        magic, kind, frame_power, length, frames, payload = struct.unpack_from("<4sBxB57xIII", data, at)
        assert magic == b"VREC", f"{path}: no record at {at}"
        if kind == CHUNK:
            size = 1 << frame_power
            assert frames == -(-length // size), f"{path}: {frames} frames for {length} bytes at {at}"
            sizes.add(size)
        at += (HEADER_BYTES + payload + 16 + 7) // 8 * 8
    assert at == len(data) - TRAILER_BYTES, f"{path}: the footer is not its last record"
print(*sorted(sizes))
