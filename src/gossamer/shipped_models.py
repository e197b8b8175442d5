"""Name the models that come with the package, and those of other packages that are networks of real architectures."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_DIGITS = {
    "digits": "small CNN trained on scikit-learn's handwritten digits (benchmarks/train_digits.py)",
    "digits-2x4": "the same, fine-tuned at 2:4",
    "digits-1x4": "the same, fine-tuned at 1:4",
    "digits-2x8": "the same, fine-tuned at 2:8",
}
_LIGHT = {
    "alexnet": "light_bvlc_alexnet.onnx",
    "densenet121": "light_densenet121.onnx",
    "inception-v1": "light_inception_v1.onnx",
    "inception-v2": "light_inception_v2.onnx",
    "resnet50": "light_resnet50.onnx",
    "shufflenet": "light_shufflenet.onnx",
    "squeezenet": "light_squeezenet.onnx",
    "vgg19": "light_vgg19.onnx",
    "zfnet512": "light_zfnet512.onnx",
}
_SHAPES = {"mobilenet-v2": "real architecture (benchmarks/mobilenet_v2.py); weights are placeholders"}
_OCR = {
    "ppocr-det": ("ch_PP-OCRv4_det_infer.onnx", (1, 3, 640, 640)),
    "ppocr-rec": ("ch_PP-OCRv4_rec_infer.onnx", (1, 3, 48, 320)),
    "ppocr-cls": ("ch_ppocr_mobile_v2.0_cls_infer.onnx", (1, 3, 48, 192)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedModel:
    """A model that can be named. `path` is None when the package that carries it is not installed.

    `calibration` is the .npz that is used unless the user names another.
    """

    name: str
    path: Path | None
    shapes: Mapping[str, tuple[int, ...]]
    about: str
    calibration: Path | None = None


def _package_folder(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0])


def light_model_folder() -> Path | None:
    """Return the folder of real architectures inside the onnx package, or None."""
    package = _package_folder("onnx")
    folder = package / "backend" / "test" / "data" / "light" if package is not None else None
    return folder if folder is not None and folder.is_dir() else None


def shipped_models() -> dict[str, ShippedModel]:
    """Return every model that can be named, by name."""
    models = {}
    configs = _package_folder("gossamer.configs")
    if configs is not None:
        for name, about in _DIGITS.items():
            models[name] = ShippedModel(
                name=name,
                path=configs / "models" / f"{name}.onnx",
                shapes={},
                about=about,
                calibration=configs / "models" / "digits-calibration.npz",
            )
        for name, about in _SHAPES.items():
            models[name] = ShippedModel(name=name, path=configs / "models" / f"{name}.onnx", shapes={}, about=about)
    light = light_model_folder()
    for name, file in _LIGHT.items():
        models[name] = ShippedModel(
            name=name,
            path=None if light is None else light / file,
            shapes={},
            about="real architecture from the onnx package; weights are placeholders",
        )
    ocr = _package_folder("rapidocr_onnxruntime")
    for name, (file, shape) in _OCR.items():
        models[name] = ShippedModel(
            name=name,
            path=None if ocr is None else ocr / "models" / file,
            shapes={"x": shape},
            about=f"trained PP-OCRv4 network, input x={'x'.join(map(str, shape))} unless --shape says otherwise",
        )
    return models
