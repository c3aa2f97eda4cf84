"""3 x 3 convolution with half the multiplications, for inference on a CPU.

Source:
    Winograd, "Arithmetic Complexity of Computations", 1980; Lavin and Gray, "Fast Algorithms for Convolutional Neural
    Networks", CVPR 2016: their F(4, 3), over rows only.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

TILE_BYTES = 24 * 2**20
"""Size of the transformed rows held at a time; from 32 MiB on the C library asks for fresh pages each time."""

# Values of the filter, as a polynomial, at 0, -1, 1, 2, -2 and infinity, scaled.
_FILTER_POINTS = ((6, 0, 0), (-4, -4, -4), (-4, 4, -4), (1, 2, 4), (1, -2, 4), (0, 0, 24))


def winograd_filters(weight: Float[Tensor, "o c 3 3"]) -> Float[Tensor, "6 o c 1 3"]:
    """The filters of `winograd_conv2d`: six combinations of the three rows of a kernel."""
    points = weight.new_tensor(_FILTER_POINTS) / 24
    return torch.einsum("jr,ocrs->jocs", points, weight)[:, :, :, None]


def winograd_conv2d(
    x: Float[Tensor, "1 c h w"], scale: Float[Tensor, "1 c"], filters: Float[Tensor, "6 o c 1 3"], padding: int
) -> Float[Tensor, "1 o h2 w2"]:
    """``conv2d(x * scale[:, :, None, None], weight, padding=padding)`` of one image, on a CPU, without gradients.

    Four rows of the result take six convolutions with kernels of one row instead of twelve. Rows of a map in
    channels_last are contiguous, so the additions cost little. Transforming columns too would leave plain matrix
    products, which run slower than a convolution here, and give larger rounding errors.

    Args:
        x: feature maps; fast in channels_last.
        scale: of every input channel.
        filters: result of `winograd_filters`.
        padding: zeros on every side.

    Returns:
        Feature maps in channels_last. Rounding errors are about three times those of the direct convolution.
    """
    _, channels, h, w = x.shape
    num_out, height, width = filters.shape[1], h + 2 * padding - 2, w + 2 * padding - 2
    num_tiles = -(-height // 4)
    rows = x.new_empty(4 * num_tiles + 2, w, channels)
    rows[:padding] = 0
    rows[padding + h :] = 0
    torch.mul(x[0], scale[0, :, None, None], out=rows[padding : padding + h].permute(2, 0, 1))
    out = x.new_empty(num_tiles, 4, width, num_out)
    num_chunks = -(-6 * num_tiles * w * max(channels, num_out) * x.element_size() // TILE_BYTES)
    size = -(-num_tiles // num_chunks)
    for start in range(0, num_tiles, size):
        count = min(size, num_tiles - start)
        d = [rows[4 * start + i :: 4][:count] for i in range(6)]
        even, odd = torch.sub(d[4], d[2], alpha=4), torch.sub(d[3], d[1], alpha=4)
        half_even, half_odd = d[4] - d[2], d[3] - d[1]
        transformed = (
            torch.sub(d[4], d[2], alpha=5).add_(d[0], alpha=4),
            even + odd,
            even.sub_(odd),
            torch.add(half_even, half_odd, alpha=2),
            half_even.sub_(half_odd, alpha=2),
            torch.sub(d[5], d[3], alpha=5).add_(d[1], alpha=4),
        )
        m = [
            F.conv2d(rows_j[None].permute(0, 3, 1, 2), filters[j], padding=(0, padding))[0].permute(1, 2, 0)
            for j, rows_j in enumerate(transformed)
        ]
        sum_1, sum_2 = m[1] + m[2], m[3] + m[4]
        difference_1, difference_2 = m[1].sub_(m[2]), m[3].sub_(m[4])
        tile = out[start : start + count]
        torch.add(m[0].add_(sum_1), sum_2, out=tile[:, 0])
        torch.add(difference_1, difference_2, alpha=2, out=tile[:, 1])
        torch.add(sum_1, sum_2, alpha=4, out=tile[:, 2])
        torch.add(m[5].add_(difference_1), difference_2, alpha=8, out=tile[:, 3])
    return out.view(1, 4 * num_tiles, width, num_out)[:, :height].permute(0, 3, 1, 2)
