"""WebDataset shards: plain tar files in which files of one stem belong together."""

import tarfile
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path

from lineament.store.atomic import atomic_write


def write_shard(path: str | Path, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> None:
    """Write a shard, atomically; the same samples give the same bytes on every machine.

    This needs only the standard library: a shard is a tar file, and WebDataset's own writer would add dependencies but
    no feature.

    Args:
        path: the file to create or replace.
        samples: a key without dots, and the contents by extension, such as ``{"png": ..., "json": ...}``.

    Source: the WebDataset format, https://github.com/webdataset/webdataset.
    """
    with atomic_write(path) as handle, tarfile.open(fileobj=handle, mode="w", format=tarfile.USTAR_FORMAT) as shard:
        for key, contents in samples:
            for extension, data in sorted(contents.items()):
                entry = tarfile.TarInfo(f"{key}.{extension}")  # its defaults: time 0 and no owner
                entry.size, entry.mode = len(data), 0o444
                shard.addfile(entry, BytesIO(data))
