"""Makes rsa.json: RSA ciphertexts of PINs, by the Python package cryptography (OpenSSL underneath), not by Pinion.

    python3 tests/vectors/make_rsa.py > tests/vectors/rsa.json

The keys are made anew each time; ciphertexts are random. Each was decrypted again by the same package, except those
that must fail. The key named "demo" may be used in demo installations: it is published, and protects nothing.
"""
import json
import hashlib
from cryptography.hazmat.primitives import hashes, serialization as ser
from cryptography.hazmat.primitives.asymmetric import padding, rsa


def oaep(digest):
    return padding.OAEP(mgf=padding.MGF1(digest), algorithm=digest, label=None)


PADDINGS = {
    "oaep-sha256": oaep(hashes.SHA256()),
    "oaep-sha1": oaep(hashes.SHA1()),
    "pkcs1-v1_5": padding.PKCS1v15(),
}


def key(bits):
    private = rsa.generate_private_key(65537, bits)
    pkcs8 = private.private_bytes(ser.Encoding.DER, ser.PrivateFormat.PKCS8, ser.NoEncryption())
    pem = private.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.PKCS8, ser.NoEncryption())
    public = private.public_key().public_bytes(ser.Encoding.DER, ser.PublicFormat.SubjectPublicKeyInfo)
    public_pem = private.public_key().public_bytes(ser.Encoding.PEM, ser.PublicFormat.SubjectPublicKeyInfo)
    entry = {
        "bits": bits,
        "pkcs8": pkcs8.hex(),
        "pem": pem.decode(),
        "public_pem": public_pem.decode(),
        "public_sha256": hashlib.sha256(public).hexdigest(),
        "modulus": f"{private.public_key().public_numbers().n:x}",
    }
    return private, entry


def main():
    cases = []
    keys = {}
    for name, bits in [("demo", 2048), ("rsa3072", 3072), ("rsa4096", 4096)]:
        private, keys[name] = key(bits)
        public = private.public_key()
        for label, pad in PADDINGS.items():
            good = [("31323334", "1234"), ("303030303030", "000000"), ("393837363534333231303938", "987654321098")]
            # Plain digits are taken, too; three in hexadecimal are six of those.
            good += [("1234", "1234"), ("98765", "98765"), ("31323", "31323"), ("313233", "313233")]
            bad = ["", "123", "1234567890123", "31323334353637383930313233", "3132333A", "12a4"]
            bad += ["313233G4", " 1234", "x" * 60]
            for text, pin in good:
                cipher = public.encrypt(text.encode(), pad)
                assert private.decrypt(cipher, pad) == text.encode()
                cases.append({"key": name, "padding": label, "cipher": cipher.hex(), "pin": pin})
            for text in bad:
                cipher = public.encrypt(text.encode(), pad)
                cases.append({"key": name, "padding": label, "cipher": cipher.hex(), "why": f"content {text!r}"})
            cipher = public.encrypt(b"31323334", pad)
            size = bits // 8
            n = private.public_key().public_numbers().n
            other = PADDINGS["oaep-sha1" if label != "oaep-sha1" else "oaep-sha256"]
            wrong = {
                "no bytes": b"",
                "one byte short": cipher[1:],
                "one byte long": b"\x00" + cipher,
                "the modulus": n.to_bytes(size),
                "all ones": b"\xff" * size,
                "zero": bytes(size),
                "another padding": public.encrypt(b"31323334", other),
                "another key": rsa.generate_private_key(65537, 2048).public_key().encrypt(b"31323334", pad),
                "a changed bit": cipher[:-1] + bytes([cipher[-1] ^ 1]),
            }
            for why, cipher in wrong.items():
                cases.append({"key": name, "padding": label, "cipher": cipher.hex(), "why": why})
    print(json.dumps({"keys": keys, "cases": cases}, indent=1))


main()
