"""Shared code of the HTML reports: template environment, pictures, and writing the file."""

import base64
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from lineament.errors import harmless
from lineament.store.atomic import write_text_atomic
from lineament.store.pictures import jpeg_bytes, png_bytes, shrink_to

PICTURE_PX = 128
"""Larger faces are shrunk to this side, so that the file stays small enough to send by mail."""

_WEBP_QUALITY = 75

NATIVE_PX = 64
"""Pictures up to this side are kept without loss as PNG; the browser enlarges them."""


def webp_uri(image: UInt8[np.ndarray, "h w 3"]) -> str:
    """A picture as a data URI for the page, shrunk to `PICTURE_PX`, as WebP; a tenth of the size of a PNG."""
    buffer = BytesIO()
    Image.fromarray(shrink_to(image, PICTURE_PX)).save(buffer, "WEBP", quality=_WEBP_QUALITY, method=6)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def data_uri(image: UInt8[np.ndarray, "h w 3"]) -> str:
    """A picture as a data URI for the page: PNG if small, else shrunk and JPEG."""
    if max(image.shape[:2]) <= NATIVE_PX:
        return "data:image/png;base64," + base64.b64encode(png_bytes(image)).decode()
    return "data:image/jpeg;base64," + base64.b64encode(jpeg_bytes(shrink_to(image, PICTURE_PX))).decode()


def _shown(value: Any) -> Any:
    """A value of a template; text from files must not turn the page's direction of writing."""
    return value if hasattr(value, "__html__") else harmless(str(value), keep="\n\t")


def write_page(
    path: Path, template: str, context: Mapping[str, Any], filters: Mapping[str, Callable[..., Any]] | None = None
) -> None:
    """Fill a template of ``reports/templates`` and write the page, atomically.

    Args:
        path: the HTML file; it needs no other file.
        template: file name of the template.
        context: values for the names in the template; a missing name is an error.
        filters: functions that the template calls, by name.

    Raises:
        StorageError: the file cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lineament.reports", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
    )
    environment.filters |= filters or {}
    write_text_atomic(path, environment.get_template(template).render(context))
