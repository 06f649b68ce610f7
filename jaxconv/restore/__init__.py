"""Restoring images: deconvolution in the classical sense, differentiable.

A picture y is a scene x, blurred by a point spread function and with noise added, y = h * x + n. Given y and
h, these functions estimate x (`blind` and `semi_blind`: h too). All take `f(y, psf, *, options)` and return a
named tuple, `Restored(x, report)`; `print(report)` says what was chosen, how long it took, and why it
stopped.

    from jaxconv import restore

    psf = restore.psf.motion(15, 30)
    x, report = restore.richardson_lucy(y, psf, iterations=30)

Space has as many axes as the PSF. A y of just these is one picture. In a y of more axes the last is the
channels, and what is in front of space are pictures, each for itself: `(H, W)`, `(H, W, C)`, `(N, H, W, C)`
for a PSF of two axes. With `layout="channels_first"` all axes in front of space are: `(C, H, W)`,
`(N, H, W)`, `(N, C, H, W)`. The centre of a PSF is its position n // 2; integers keep their scale; nothing is
clipped.

One step:    inverse, wiener, tikhonov, unsupervised_wiener
             boundary = "reflect", "liu_jia", "taper", "circular": how y is continued to be periodic
Iterations:  richardson_lucy, fista (total variation, or any denoiser), blind, semi_blind
             boundary = "unknown", "reflect", "zeros", "circular", "valid": what the scene is outside of y
             stop = RelativeChange(tol), Discrepancy(noise), Whiteness(); callback, progress
             gradient = "unrolled", "checkpoint" (memory of √iterations), "implicit" (constant memory)
Models:      Blur, Downsample, TileBlur, in the place of a PSF; blur(x, psf) simulates
PSFs:        restore.psf: gaussian, box, disk, motion, trajectory, airy, from_image, splat; centred,
             normalised, check
Noise:       restore.noise: poisson, gaussian; noise_level(y) estimates
Large data:  tiled(function, y, ...)
"""

from . import noise as noise
from . import psf as psf
from .blind import BlindRestored as BlindRestored
from .blind import blind as blind
from .blind import semi_blind as semi_blind
from .choose import noise_level as noise_level
from .compose import Downsample as Downsample
from .compose import TileBlur as TileBlur
from .iterate import Report as Report
from .iterate import Restored as Restored
from .models import Blur as Blur
from .models import Model as Model
from .proximal import fista as fista
from .richardson_lucy import richardson_lucy as richardson_lucy
from .simulate import blur as blur
from .spectral import inverse as inverse
from .spectral import tikhonov as tikhonov
from .spectral import wiener as wiener
from .stopping import Discrepancy as Discrepancy
from .stopping import RelativeChange as RelativeChange
from .stopping import Whiteness as Whiteness
from .stopping import whiteness as whiteness
from .tiles import tiled as tiled
from .unsupervised import unsupervised_wiener as unsupervised_wiener
