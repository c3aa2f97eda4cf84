"""A fingerprint of a set of images by its contents."""

import hashlib

from lineament.errors import ImageError
from lineament.store.images import ImageSource


def content_signature(source: ImageSource) -> str:
    """SHA-256 of names and contents of all images: the same for a copy, a moved folder, and a zip of the folder.

    Every file is read once. `ImageSource.signature` reads none, but it changes with a copy, and may miss a change.
    """
    digest = hashlib.sha256()
    with source.reader() as read:
        for name in source.names:
            try:
                data = read(name)
            except ImageError as error:
                data = str(error).encode()
            digest.update(name.encode("utf-8", "backslashreplace") + b"\0" + hashlib.sha256(data).digest())
    return digest.hexdigest()
