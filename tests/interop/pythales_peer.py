#!/usr/bin/env python3
"""Asks pythales 0.74 and the simulated payShield the same, and compares what both must agree on.

    pinion sim payshield --listen 127.0.0.1:1500 &
    python3 tests/interop/pythales_peer.py 127.0.0.1 1500

pythales keeps keys under a plain LMK, wants even parity where DES keys have odd, takes some keys as clear (that of BU, the
destination of CA, PVKs) and drops the last digit of accounts. So it gets keys in its own form here, and PIN blocks and
PVVs are not compared. Framing, header, answer codes, check values of keys and verdicts on parity are.
"""

import socket
import struct
import sys
import threading

import pythales.hsm as pythales
from Crypto.Cipher import DES3

LMK = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
HEADER = b"HEAD"
# The same clear keys under the published variant test LMK, and under the one above.
KEYS = {
    "ZMK": ("U1457FF6ADF6250C66C368416B4C9D383", "851A0D9D0B2A1602622AD0B0E9E6B070"),
    "ZPK": ("U1EF828AA8F6B80EB83E19FBC373F3A85", "C7152C20BC2C830EA7EC9E8334ABE3FE"),
    "TPK": ("U1750CDFB0757D3B3994430636DBB281B", "0123456789ABCDEFFEDCBA9876543210"),
    "PVK": ("U8463435FC4B4DAA0C49025272C29B12C", "D3DCC7EA9BCB755D254620B376B3D007"),
}
BAD = "U00000000000000000000000000000000"


def sealed(clear, flipped=True):
    """A key as pythales takes it: of even parity, under its LMK."""
    key = bytes(byte ^ 1 if flipped else byte for byte in bytes.fromhex(clear))
    return DES3.new(LMK, DES3.MODE_ECB).encrypt(key).hex().upper()


class Peer(pythales.HSM):
    """On loopback only, and without the trace, whose arguments have changed since."""

    def init_connection(self):
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        ready.set()


def ask(address, command):
    with socket.create_connection(address, timeout=20) as stream:
        stream.sendall(struct.pack(">H", len(HEADER + command)) + HEADER + command)
        answer = b""
        while len(answer) < 2 or len(answer) < 2 + struct.unpack(">H", answer[:2])[0]:
            part = stream.recv(4096)
            assert part, f"{address} closed the connection after {command!r}"
            answer += part
    assert len(answer) == 2 + struct.unpack(">H", answer[:2])[0], "more than one frame"
    assert answer[2:6] == HEADER, answer
    return answer[6:].decode("ascii")


def cases():
    """Name, command with keys in braces, characters of the answer that must agree."""
    block, account = "7A68167FDAA0CC84", "173900101001"
    yield "diagnostics", "NC", 4
    for name in KEYS:
        code = {"ZMK": "00", "ZPK": "01", "TPK": "02", "PVK": "02"}[name]
        yield f"check value of {name}", f"BU{code}1{{{name} clear}}", 20
    yield "TPK without parity", f"CA{{BAD}}{{ZPK}}12{block}0101{account}", 4
    yield "destination without parity", f"CA{{TPK}}{{BAD}}12{block}0101{account}", 4
    blocks = {"DC": "621F91F5470F2CFE", "EC": block}
    for code, name in (("DC", "TPK"), ("EC", "ZPK")):
        block = blocks[code]
        yield f"{code}: {name} without parity", f"{code}{{BAD}}{{PVK32}}{block}01{account}11111", 4
        yield f"{code}: PVK without parity", f"{code}{{{name}}}{{BAD32}}{block}01{account}11111", 4
        yield f"{code}: wrong PVV", f"{code}{{{name}}}{{PVK32}}{block}01{account}10000", 4


def main():
    pythales.trace = lambda *_: None
    pythales.print = lambda *_: None
    server = Peer(header="HEAD", key=LMK.hex())
    threading.Thread(target=server.run, daemon=True).start()
    assert ready.wait(20)
    theirs, ours = ("127.0.0.1", server.port), (sys.argv[1], int(sys.argv[2]))
    wrong = 0
    for name, command, count in cases():
        for_them, for_us = command, command
        for key, (own, clear) in KEYS.items():
            for form in (key, f"{key}32", f"{key} clear"):
                for_us = for_us.replace(f"{{{form}}}", own)
            for_them = for_them.replace(f"{{{key}}}", "U" + sealed(clear))
            for_them = for_them.replace(f"{{{key}32}}", sealed(clear)).replace(f"{{{key} clear}}", "U" + clear)
        odd = sealed(KEYS["ZPK"][1], flipped=False)
        for_us = for_us.replace("{BAD}", BAD).replace("{BAD32}", BAD)
        for_them = for_them.replace("{BAD}", "U" + odd).replace("{BAD32}", odd)
        # pythales has pairs of PVKs without a scheme only.
        got, want = ask(ours, for_us.encode()), ask(theirs, for_them.encode())
        agree = got[:count] == want[:count] and len(got) >= count
        wrong += not agree
        print(f"{'ok  ' if agree else 'BAD '} {name}: pinion {got}, pythales {want}")
    print(f"{wrong} disagreements")
    return 1 if wrong else 0


ready = threading.Event()
if __name__ == "__main__":
    sys.exit(main())
