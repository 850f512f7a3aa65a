"""Media types by file name, from a table of our own.

The content digest of a package covers the media types, so they must not depend on the machine: the standard
library's `mimetypes` reads system files and changes between Python versions.
"""

from __future__ import annotations

import re

from artifactstore.errors import InvalidInputError

UNKNOWN = "application/octet-stream"
_TYPES = {
    "application/gzip": "gz tgz",
    "application/java-archive": "jar war ear",
    "application/javascript": "js mjs",
    "application/json": "json har ipynb sarif",
    "application/jsonl": "jsonl ndjson",
    "application/pdf": "pdf",
    "application/pem-certificate-chain": "pem crt cer",
    "application/toml": "toml",
    "application/vnd.tcpdump.pcap": "pcap pcapng cap",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.apache.parquet": "parquet",
    "application/wasm": "wasm",
    "application/x-7z-compressed": "7z",
    "application/x-bzip2": "bz2",
    "application/x-sh": "sh bash",
    "application/x-tar": "tar",
    "application/x-xz": "xz",
    "application/xml": "xml xsd xsl xslt junit",
    "application/yaml": "yaml yml",
    "application/zip": "zip whl",
    "application/zstd": "zst",
    "image/avif": "avif",
    "image/bmp": "bmp",
    "image/gif": "gif",
    "image/jpeg": "jpg jpeg",
    "image/png": "png",
    "image/svg+xml": "svg",
    "image/tiff": "tif tiff",
    "image/webp": "webp",
    "text/css": "css",
    "text/csv": "csv",
    "text/html": "html htm xhtml",
    "text/markdown": "md markdown",
    "text/plain": "txt log out err ini cfg conf env properties diff patch tap",
    "text/tab-separated-values": "tsv",
    "text/x-c": "c h cc cpp hpp cxx",
    "text/x-go": "go",
    "text/x-java": "java",
    "text/x-python": "py pyi",
    "text/x-rust": "rs",
    "video/mp4": "mp4 m4v",
    "video/webm": "webm",
    "audio/mpeg": "mp3",
    "audio/wav": "wav",
}
_BY_SUFFIX = {suffix: media_type for media_type, suffixes in _TYPES.items() for suffix in suffixes.split()}
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_MEDIA_TYPE = re.compile(rf'{_NAME}/{_NAME}(?:[ \t]*;[ \t]*{_NAME}=(?:{_NAME}|"[ !#-\[\]-~]*"))*')


def guess_media_type(name: str) -> str:
    """The media type that a file name suggests, `application/octet-stream` if none."""
    suffix = name.rpartition(".")[2] if "." in name else ""
    return _BY_SUFFIX.get(suffix) or _BY_SUFFIX.get(suffix.lower(), UNKNOWN)


def check_media_type(media_type: str) -> str:
    """Return the media type if it is one.

    Raises:
        InvalidInputError: it is not `type/subtype` with optional parameters, or too long.
    Source: RFC 9110 §8.3.1.
    """
    if len(media_type) > 255 or not _MEDIA_TYPE.fullmatch(media_type):
        raise InvalidInputError(
            f"not a media type: {media_type[:80]!r}", hint="write type/subtype, for example text/plain"
        )
    return media_type
