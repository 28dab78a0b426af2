"""Export the inference network to ONNX, OpenVINO and `torch.export`; optional packages load when they are used."""

from qcs.export.formats import FORMATS as FORMATS
from qcs.export.formats import PRECISIONS as PRECISIONS
from qcs.export.formats import Export as Export
from qcs.export.formats import export_model as export_model
from qcs.export.formats import load_export as load_export
from qcs.export.latency import Latency as Latency
from qcs.export.latency import measure_latency as measure_latency
from qcs.export.loaded import Loaded as Loaded
