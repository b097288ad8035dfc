"""The model files the extension knows by name (layer: weights); entries are data, nothing is downloaded here.

Sources: the release notes of facebookresearch/sam2 (SAM 2.1) and the model page of wanglab/MedSAM2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ..core.errors import WeightsError, suggest


@dataclass(frozen=True)
class CatalogEntry:
    """One model file: where it comes from and how to know that it is the right one.

    Attributes:
        name: What the user types; for public files the publisher's own file name without its ending.
        architecture: Key of ``model.architectures.ARCHITECTURES``.
        url: Where the file is published; None for a file that is part of the extension.
        size_bytes: Published size, for progress before the server has answered; None for a shipped file.
        sha256: Published hash; None where no hash is known, so the first arrival cannot be verified.
        licence: Licence of the weights, as the user should read it before downloading.
        input_size: Side of the square network input in pixels.
        resource: File name in the extension's Resources/Models; None for a file to be downloaded.
    """

    name: str
    architecture: str
    url: str | None
    size_bytes: int | None
    sha256: str | None
    licence: str
    input_size: int
    resource: str | None = None

    def __post_init__(self) -> None:
        """Refuse an entry that comes from nowhere or from two places."""
        if (self.url is None) == (self.resource is None):
            msg = f"Catalog entry '{self.name}' needs either a url or a resource, not both and not neither."
            raise WeightsError(msg)

    @property
    def is_shipped(self) -> bool:
        """Whether the file is part of the extension."""
        return self.resource is not None

    @property
    def is_verifiable(self) -> bool:
        """Whether a downloaded file can be checked against a published hash."""
        return self.sha256 is not None

    @property
    def filename(self) -> str:
        """Name of the file on disk; unique within the catalog because names are."""
        return self.resource if self.resource is not None else f"{self.name}.pt"


def build_catalog(entries: Iterable[CatalogEntry]) -> Mapping[str, CatalogEntry]:
    """Index entries by name, read-only and in the given order.

    Raises:
        WeightsError: If two entries have the same name.
    """
    catalog: dict[str, CatalogEntry] = {}
    for entry in entries:
        if entry.name in catalog:
            msg = f"The model catalog lists '{entry.name}' twice; every name must be unique."
            raise WeightsError(msg)
        catalog[entry.name] = entry
    return MappingProxyType(catalog)


_SAM2_URL = "https://dl.fbaipublicfiles.com/segment_anything_2/092824"
# Pinned to one commit of the model page, so that the file behind the address cannot change.
_MEDSAM2_URL = "https://huggingface.co/wanglab/MedSAM2/resolve/e4a6f35edd7e091619cbc0750f462f1574e23955"
_MEDSAM2_LICENCE = "Apache-2.0 code; for the weights see https://huggingface.co/wanglab/MedSAM2"


def _sam2(size: str, size_bytes: int, sha256: str) -> CatalogEntry:
    name = f"sam2.1_hiera_{size}"
    return CatalogEntry(name, f"hiera_{size}", f"{_SAM2_URL}/{name}.pt", size_bytes, sha256, "Apache-2.0", 1024)


def _medsam2(tag: str) -> CatalogEntry:
    url = f"{_MEDSAM2_URL}/MedSAM2_{tag}.pt"
    return CatalogEntry(f"MedSAM2_{tag}", "hiera_tiny", url, 156_040_129, None, _MEDSAM2_LICENCE, 512)


DEFAULT_MODEL = "nano"

CATALOG = build_catalog(
    [
        CatalogEntry(DEFAULT_MODEL, "hiera_nano", None, None, None, "Apache-2.0", 128, resource="nano.safetensors"),
        _sam2("tiny", 156_008_466, "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69"),
        _sam2("small", 184_416_285, "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38"),
        _sam2("base_plus", 323_606_802, "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5"),
        _sam2("large", 898_083_611, "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318"),
        _medsam2("latest"),
        _medsam2("2411"),
        _medsam2("US_Heart"),
        _medsam2("MRI_LiverLesion"),
        _medsam2("CTLesion"),
    ]
)


def find_entry(name: str, catalog: Mapping[str, CatalogEntry] = CATALOG) -> CatalogEntry:
    """Look a model up by its name, upper and lower case being the same.

    Raises:
        WeightsError: If no model has this name; the message offers the closest names.
    """
    entry = next((entry for known, entry in catalog.items() if known.casefold() == name.casefold()), None)
    if entry is None:
        msg = f"There is no model named '{name}'. {suggest(name, catalog)}"
        raise WeightsError(msg)
    return entry
