"""Recognise files that are not checkpoints but often mistaken for one, by their first bytes."""

from lineament.errors import FileFormatError

_GET = "download the file itself"
_MAGICS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"version https://git-lfs", "a pointer of Git LFS, not the file it stands for", "run: git lfs pull"),
    (0, b"GGUF", "a language model (GGUF)", "name the checkpoint of a StyleGAN"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, such as a model of Keras", "name the checkpoint of a StyleGAN"),
    (0, b"\x93NUMPY", "an array of NumPy (.npy)", "name the checkpoint it belongs to"),
    (0, b"\x1f\x8b", "compressed with gzip", "unpack it first: gunzip"),
    (0, b"BZh", "compressed with bzip2", "unpack it first: bunzip2"),
    (0, b"\xfd7zXZ\x00", "compressed with xz", "unpack it first: unxz"),
    (0, b"\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it first: unzstd"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it and name the checkpoint within"),
    (0, b"Rar!\x1a\x07", "a RAR archive", "unpack it and name the checkpoint within"),
    (257, b"ustar", "a tar archive", "unpack it and name the checkpoint within"),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG image", "name the checkpoint of a StyleGAN"),
    (0, b"\xff\xd8\xff", "a JPEG image", "name the checkpoint of a StyleGAN"),
    (8, b"WEBP", "a WebP image", "name the checkpoint of a StyleGAN"),
    (0, b"%PDF", "a PDF document", _GET),
    (4, b"TFL3", "a model of TensorFlow Lite", "name the checkpoint of a StyleGAN"),
    (0, b"\x7fELF", "a program", "name the checkpoint of a StyleGAN"),
)
_SURE_STARTS = (b"PK", *(bytes([0x80, protocol]) for protocol in range(2, 16)))  # zip archives, pickles
_OLD_PICKLE_STARTS = b"(c]}l)NIKLMJFGSUTVX"  # of protocols 0 and 1, which have no header


def check_is_checkpoint(label: str, data: memoryview) -> None:
    """Raise FileFormatError, saying what the file is and what to do, unless it begins like a checkpoint."""
    start = bytes(data[:4096])
    if len(start) > 8 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= len(data) - 8:
        if b'"lineament"' not in bytes(data[8 : 8 + 2**20]):
            return
        raise FileFormatError(
            f"{label} is one of Lineament's own files, not a foreign checkpoint; use it where a file of Lineament is "
            "expected"
        )
    if start.startswith(_SURE_STARTS):
        return
    for offset, magic, what, advice in _MAGICS:
        if start[offset : offset + len(magic)] == magic:
            raise FileFormatError(f"{label} is {what}; {advice}")
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")) or b"<html" in text[:1024]:
        raise FileFormatError(
            f"{label} is a web page saved under the name of a checkpoint (a login, a warning or an error page, "
            f"{len(data)} bytes); open the link in a browser and {_GET}"
        )
    if text[:1] == b"{" and b'"' in text[:64]:
        raise FileFormatError(f"{label} is a JSON text; name the checkpoint it belongs to")
    if start.startswith(b"\x08") and (b"onnx" in text or b"pytorch" in text):
        raise FileFormatError(f"{label} is a model in the ONNX format; name the checkpoint it was made from")
    if not any(start):
        raise FileFormatError(f"{label} begins with zeros only: a download that never arrived; get it again")
    if start[0] not in _OLD_PICKLE_STARTS:
        raise FileFormatError(
            f"{label} is no checkpoint: it begins with {start[:8]!r}, expected a pickle or a file of torch.save; "
            "name a .pkl, .pt or .pth file of a StyleGAN"
        )
