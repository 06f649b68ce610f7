"""Image filters in any number of dimensions, with the results of scipy.ndimage and scikit-image.

`axes` says along which axes of the array a filter runs: None (all of them, as in SciPy), one, several, or
"channels_last" for `(N, *spatial, C)` and "channels_first" for `(N, C, *spatial)`. All other axes are a
batch. A colour image `(height, width, 3)` wants `axes=(0, 1)`.

`mode` says what lies outside, for all axes or for each, and is SciPy's:

    reflect    d c b a | a b c d | d c b a
    mirror     d c b | a b c d | c b a
    nearest    a a a a | a b c d | d d d d
    wrap       a b c d | a b c d | a b c d
    constant   v v v v | a b c d | v v v v        v = cval

Integer images are taken as the numbers they are, not scaled to [0, 1], and give floating results; only
`median`, which selects, keeps their dtype.
"""

from .bilateral import bilateral as bilateral
from .edges import laplace as laplace
from .edges import prewitt as prewitt
from .edges import scharr as scharr
from .edges import sobel as sobel
from .gabor import gabor_bank as gabor_bank
from .gabor import gabor_kernel as gabor_kernel
from .linear import convolve as convolve
from .linear import correlate as correlate
from .median import median as median
from .smooth import box as box
from .smooth import difference_of_gaussians as difference_of_gaussians
from .smooth import gaussian as gaussian
from .smooth import gaussian_laplace as gaussian_laplace
from .smooth import unsharp_mask as unsharp_mask
