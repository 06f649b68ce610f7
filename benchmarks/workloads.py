"""The named layers of real networks that everything is measured on.

Batch and image are often smaller than in the network, channels and kernel never: no slot of XLA's own program
is to take much more than a second on two cores.
"""

from __future__ import annotations

from .random_workloads import random_workloads as random_workloads
from .workload import SLOTS as SLOTS
from .workload import Workload as Workload

_DENSE_2D = (
    Workload("resnet50-stem", "ResNet-50", 4, (224, 224), 3, 64, (7, 7), stride=2, quick=True),
    Workload("resnet50-stage1-reduce", "ResNet-50", 8, (56, 56), 256, 64, (1, 1)),
    Workload("resnet50-stage1-3x3", "ResNet-50", 8, (56, 56), 64, 64, (3, 3), quick=True),
    Workload("resnet50-stage1-expand", "ResNet-50", 8, (56, 56), 64, 256, (1, 1)),
    Workload("resnet50-stage2-3x3", "ResNet-50", 8, (28, 28), 128, 128, (3, 3)),
    Workload("resnet50-stage2-3x3-stride2", "ResNet-50", 8, (56, 56), 128, 128, (3, 3), stride=2, quick=True),
    Workload("resnet50-stage2-shortcut", "ResNet-50", 8, (56, 56), 256, 512, (1, 1), stride=2),
    Workload("resnet50-stage3-1x1", "ResNet-50", 8, (28, 28), 256, 256, (1, 1), quick=True),
    Workload("resnet50-stage3-3x3", "ResNet-50", 8, (14, 14), 256, 256, (3, 3), quick=True),
    Workload("resnet50-stage4-3x3", "ResNet-50", 8, (7, 7), 512, 512, (3, 3)),
    Workload("resnet50-stage4-expand", "ResNet-50", 8, (7, 7), 512, 2048, (1, 1)),
    Workload("resnet20-cifar-3x3", "ResNet-20, batch 64", 64, (32, 32), 16, 16, (3, 3)),
    Workload("vgg16-conv3", "VGG-16, half the image", 8, (28, 28), 256, 256, (3, 3)),
    Workload("inception3-1x7", "Inception v3", 8, (17, 17), 160, 192, (1, 7)),
    Workload("inception3-3x3-stride2", "Inception v3", 4, (35, 35), 288, 384, (3, 3), stride=2, padding=0),
    Workload("yolo5-stem", "YOLOv5", 1, (320, 320), 3, 32, (6, 6), stride=2, padding=2),
    Workload("efficientnetv2-fused", "EfficientNetV2", 4, (56, 56), 48, 192, (3, 3)),
    Workload("odd-sizes", "odd in everything", 3, (37, 53), 24, 40, (3, 5), stride=(2, 1), padding=1),
    Workload("vit-patch", "ViT-B/16, jax#23085", 4, (224, 224), 3, 768, (16, 16), stride=16, quick=True),
    Workload("convnext-stem", "ConvNeXt-T", 4, (224, 224), 3, 96, (4, 4), stride=4, padding=0),
    Workload("convnext-downsample", "ConvNeXt-T", 4, (56, 56), 96, 192, (2, 2), stride=2, padding=0),
    Workload("vqgan-first", "VQGAN on one channel", 2, (64, 64), 1, 128, (3, 3)),
    Workload("vqgan-last", "VQGAN", 2, (64, 64), 128, 3, (3, 3)),
    Workload("sar-despeckling", "SAR-CNN, one scene", 1, (128, 128), 64, 64, (3, 3), padding=1),
    Workload("sar-despeckling-batch", "SAR-CNN, patches", 32, (40, 40), 64, 64, (3, 3), padding=1),
    Workload("unet-first", "U-Net", 1, (132, 132), 1, 64, (3, 3), padding=0),
    Workload("unet-decoder", "U-Net, a quarter of the image", 1, (98, 98), 128, 64, (3, 3), padding=0),
    Workload("cyclegan-last", "CycleGAN", 1, (134, 134), 64, 3, (7, 7), padding=0),
    Workload("dcgan-discriminator", "DCGAN", 16, (32, 32), 64, 128, (4, 4), stride=2, padding=1),
    Workload("srcnn-first", "SRCNN", 4, (48, 48), 1, 64, (9, 9)),
    Workload("fsrcnn-features", "FSRCNN", 16, (24, 24), 1, 56, (5, 5)),
    Workload("fsrcnn-shrink", "FSRCNN", 16, (24, 24), 56, 12, (1, 1)),
    Workload("fsrcnn-map", "FSRCNN", 16, (24, 24), 12, 12, (3, 3), quick=True),
    Workload("fsrcnn-expand", "FSRCNN", 16, (24, 24), 12, 56, (1, 1)),
    Workload("espcn-5x5", "ESPCN", 4, (64, 64), 1, 64, (5, 5)),
    Workload("espcn-last", "ESPCN, scale 3", 4, (64, 64), 32, 9, (3, 3)),
    Workload("fcn-score", "FCN-8s", 1, (14, 14), 4096, 21, (1, 1)),
    Workload("gaussian-30x30", "jax#25461, a part of an image", 4, (96, 96), 1, 1, (30, 30)),
    Workload("scipy-64x64", "jax#5227, a smaller image", 1, (96, 96), 1, 1, (64, 64), padding="FULL"),
)
_DILATED = (
    Workload(
        "deeplab-rate6", "DeepLabv3 on MobileNetV2", 1, (33, 33), 320, 256, (3, 3), dilation=6, quick=True
    ),
    Workload("deeplab-rate12", "DeepLabv3 on MobileNetV2", 1, (33, 33), 320, 256, (3, 3), dilation=12),
    Workload("drn-rate4", "dilated residual network", 2, (48, 48), 64, 64, (3, 3), dilation=4),
    Workload("wavenet-dilation1", "WaveNet", 2, (4096,), 64, 128, (2,), padding="CAUSAL"),
    Workload("wavenet-dilation16", "WaveNet", 2, (4096,), 64, 128, (2,), dilation=16, padding="CAUSAL"),
    Workload(
        "wavenet-dilation512",
        "WaveNet",
        2,
        (4096,),
        64,
        128,
        (2,),
        dilation=512,
        padding="CAUSAL",
        quick=True,
    ),
    Workload("hifigan-residual-k11-d5", "HiFi-GAN", 1, (2048,), 128, 128, (11,), dilation=5, quick=True),
    Workload("depthwise-1d-dilated", "jax#26266, batch 4", 4, (1024,), 64, 64, (5,), dilation=16, groups=64),
)
_GROUPED = (
    Workload("mobilenet-depthwise", "MobileNet", 4, (56, 56), 128, 128, (3, 3), groups=128, quick=True),
    Workload("mobilenetv3-depthwise", "MobileNetV3", 4, (56, 56), 72, 72, (3, 3), groups=72),
    Workload(
        "mobilenetv3-depthwise-5x5-stride2", "MobileNetV3", 4, (56, 56), 72, 72, (5, 5), stride=2, groups=72
    ),
    Workload("mobilenetv3-expand", "MobileNetV3", 4, (14, 14), 112, 672, (1, 1)),
    Workload("mobilenetv3-project", "MobileNetV3", 4, (14, 14), 672, 112, (1, 1)),
    Workload(
        "efficientnet-depthwise-stride2",
        "EfficientNet-B0",
        1,
        (112, 112),
        96,
        96,
        (3, 3),
        stride=2,
        groups=96,
    ),
    Workload("efficientnet-depthwise-5x5", "EfficientNet-B0", 2, (14, 14), 672, 672, (5, 5), groups=672),
    Workload("efficientnet-expand", "EfficientNet-B0", 4, (28, 28), 40, 240, (1, 1)),
    Workload("convnext-depthwise", "ConvNeXt-T", 4, (56, 56), 96, 96, (7, 7), groups=96, quick=True),
    Workload("convnext-depthwise-last", "ConvNeXt-T", 1, (7, 7), 768, 768, (7, 7), groups=768),
    Workload("replknet-31x31", "RepLKNet-31B, half the image", 1, (28, 28), 128, 128, (31, 31), groups=128),
    Workload("depthwise-124", "jax#23713", 1, (124, 124), 256, 256, (3, 3), groups=256),
    Workload("depthwise-multiplier2", "Xception-like", 4, (28, 28), 64, 128, (3, 3), groups=64),
    Workload("resnext-8-groups", "ResNeXt", 4, (28, 28), 128, 128, (3, 3), groups=8, quick=True),
    Workload("resnext50-stage1", "ResNeXt-50 32x4d", 1, (56, 56), 128, 128, (3, 3), groups=32),
    Workload("resnext50-stage2-stride2", "ResNeXt-50", 1, (56, 56), 256, 256, (3, 3), stride=2, groups=32),
    Workload("shufflenet-1x1", "ShuffleNet, 3 groups", 4, (28, 28), 240, 240, (1, 1), groups=3),
    Workload("conformer-depthwise", "Conformer", 4, (1024,), 256, 256, (31,), groups=256, quick=True),
    Workload("depthwise-1d-k5", "jax#13800, batch 2", 2, (1024,), 512, 512, (5,), groups=512),
    Workload(
        "mamba-depthwise", "Mamba", 1, (1024,), 768, 768, (4,), groups=768, padding="CAUSAL", quick=True
    ),
    Workload(
        "long-convolution", "S4, half the kernel", 1, (2048,), 16, 16, (512,), groups=16, padding="CAUSAL"
    ),
    Workload("wav2vec2-position", "wav2vec 2.0", 1, (100,), 768, 768, (128,), groups=16, padding=64),
)
_TRANSPOSED_2D = (
    Workload("unet-up-3x3", "U-Net", 4, (28, 28), 128, 64, (3, 3), stride=2, transposed=True, quick=True),
    Workload("unet-up-2x2", "U-Net", 4, (28, 28), 256, 128, (2, 2), stride=2, padding=0, transposed=True),
    Workload("grouped-up", "4 groups", 4, (28, 28), 64, 64, (3, 3), stride=2, groups=4, transposed=True),
    Workload(
        "cyclegan-up",
        "CycleGAN",
        1,
        (64, 64),
        128,
        64,
        (3, 3),
        stride=2,
        padding=1,
        output_padding=1,
        transposed=True,
    ),
    Workload("dcgan-first", "DCGAN", 32, (1, 1), 100, 512, (4, 4), padding=0, transposed=True),
    Workload("dcgan-up-4", "DCGAN", 8, (4, 4), 512, 256, (4, 4), stride=2, padding=1, transposed=True),
    Workload(
        "dcgan-up-16", "DCGAN", 8, (16, 16), 128, 64, (4, 4), stride=2, padding=1, transposed=True, quick=True
    ),
    Workload("dcgan-last", "DCGAN", 8, (32, 32), 64, 3, (4, 4), stride=2, padding=1, transposed=True),
    Workload("fsrcnn-up", "FSRCNN", 4, (24, 24), 56, 1, (9, 9), stride=3, transposed=True, quick=True),
    Workload("fcn8s-up2", "FCN-8s", 2, (16, 16), 21, 21, (4, 4), stride=2, transposed=True),
    Workload("fcn8s-up8", "FCN-8s", 1, (16, 16), 21, 21, (16, 16), stride=8, transposed=True, quick=True),
    Workload("fcn32s-up32", "FCN-32s", 1, (7, 7), 21, 21, (64, 64), stride=32, transposed=True),
    Workload(
        "bilinear-up2", "FCN-8s, per class", 2, (28, 28), 21, 21, (4, 4), stride=2, groups=21, transposed=True
    ),
    Workload("up16-k32", "jax#17464", 1, (8, 8), 128, 32, (32, 32), stride=16, transposed=True),
)
_ONE_D = (
    Workload("hifigan-up1", "HiFi-GAN", 1, (32,), 512, 256, (16,), stride=8, padding=4, transposed=True),
    Workload(
        "hifigan-up2",
        "HiFi-GAN",
        2,
        (256,),
        256,
        128,
        (16,),
        stride=8,
        padding=4,
        transposed=True,
        quick=True,
    ),
    Workload("hifigan-up3", "HiFi-GAN", 1, (2048,), 128, 64, (4,), stride=2, padding=1, transposed=True),
    Workload("vocoder-up-k15", "odd-kernel vocoder", 4, (256,), 128, 64, (15,), stride=8, transposed=True),
    Workload("hifigan-pre", "HiFi-GAN", 4, (64,), 80, 512, (7,)),
    Workload("hifigan-residual-k3", "HiFi-GAN", 1, (8192,), 32, 32, (3,)),
    Workload("hifigan-post", "HiFi-GAN", 1, (8192,), 32, 1, (7,)),
    Workload("encodec-first", "EnCodec", 1, (16000,), 1, 32, (7,), padding="CAUSAL"),
    Workload("encodec-down-s5", "EnCodec", 2, (2000,), 128, 256, (10,), stride=5, padding=((5, 0),)),
    Workload("encodec-down-s8", "EnCodec", 2, (400,), 256, 512, (16,), stride=8, padding=((8, 0),)),
    Workload(
        "encodec-up-s5", "EnCodec", 2, (400,), 256, 128, (10,), stride=5, padding="CAUSAL", transposed=True
    ),
    Workload("stft", "STFT as a convolution", 4, (16000,), 1, 322, (320,), stride=160, padding=0),
    Workload(
        "inverse-stft", "STFT's adjoint", 2, (99,), 322, 1, (320,), stride=160, padding=0, transposed=True
    ),
    Workload("wav2vec2-first", "wav2vec 2.0", 1, (8000,), 1, 512, (10,), stride=5, padding=0),
    Workload("whisper-second", "Whisper tiny", 1, (1500,), 384, 384, (3,), stride=2, padding=1),
    Workload("pointwise-1d", "jax#12868, a quarter", 1, (256,), 1000, 1000, (1,), padding=0),
)
_THREE_D = (
    Workload("unet3d-first", "3-D U-Net", 1, (16, 32, 32), 1, 32, (3, 3, 3)),
    Workload("unet3d-3x3x3", "3-D U-Net", 1, (16, 32, 32), 32, 32, (3, 3, 3), quick=True),
    Workload(
        "unet3d-up-3x3x3",
        "3-D U-Net",
        1,
        (8, 16, 16),
        32,
        16,
        (3, 3, 3),
        stride=2,
        transposed=True,
        quick=True,
    ),
    Workload(
        "unet3d-up-2x2x2",
        "3-D U-Net",
        1,
        (8, 16, 16),
        64,
        32,
        (2, 2, 2),
        stride=2,
        padding=0,
        transposed=True,
    ),
    Workload(
        "up-3d-to-one-channel",
        "jax#31662 and xla#34273, a quarter to a half along each axis",
        1,
        (32, 32, 8),
        64,
        1,
        (3, 3, 3),
        stride=2,
        padding=1,
        output_padding=1,
        transposed=True,
    ),
    Workload("i3d-stem", "I3D, an eighth of the image", 1, (8, 28, 28), 3, 64, (7, 7, 7), stride=2),
    Workload("r2plus1d-spatial", "R(2+1)D", 1, (8, 28, 28), 64, 144, (1, 3, 3)),
    Workload("r2plus1d-temporal", "R(2+1)D", 1, (8, 28, 28), 144, 64, (3, 1, 1)),
    Workload("x3d-depthwise", "X3D", 1, (8, 20, 20), 54, 54, (3, 3, 3), groups=54),
    Workload("vivit-tubelet", "ViViT", 1, (8, 112, 112), 3, 768, (2, 16, 16), stride=(2, 16, 16), padding=0),
)
_TINY = (
    Workload("map-4x4", "ResNet on 32x32 images", 32, (4, 4), 256, 256, (3, 3), quick=True),
    Workload("map-2x2", "ResNet on 32x32 images", 32, (2, 2), 512, 512, (3, 3), quick=True),
    Workload("map-1x1", "ResNet on 32x32 images", 64, (1, 1), 512, 512, (3, 3)),
    Workload("squeeze-excite", "MobileNetV3", 32, (1, 1), 672, 168, (1, 1)),
    Workload("lightfield-4d", "4-D neighbourhood consensus", 1, (6, 6, 6, 6), 4, 4, (3, 3, 3, 3)),
)

WORKLOADS: tuple[Workload, ...] = (
    *_DENSE_2D,
    *_DILATED,
    *_GROUPED,
    *_TRANSPOSED_2D,
    *_ONE_D,
    *_THREE_D,
    *_TINY,
)
