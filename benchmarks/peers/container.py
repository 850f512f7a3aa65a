"""disk-objectstore as a program: it is a library only, and keeps no names.

Run by the Python that it is installed for. The names of the files lie beside the container, as a program that
uses it would keep them.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from disk_objectstore import Container
from disk_objectstore.utils import LazyOpener


def files(source: Path) -> list[Path]:
    """All files below a directory, sorted."""
    return sorted(Path(folder, name) for folder, _, names in os.walk(source) for name in names)


def main(work: str, place: Path, *rest: str) -> None:
    """Do one work and end."""
    container, names = Container(place / "container"), place / "names.json"
    if work == "prepare":
        place.mkdir()
        container.init_container()
    elif work in {"pack", "push"}:
        source = Path(rest[0])
        paths = files(source)
        if work == "pack":
            keys = container.add_streamed_objects_to_pack(
                [LazyOpener(path) for path in paths], open_streams=True, do_fsync=True
            )
        else:
            keys = []
            for path in paths:
                with path.open("rb") as stream:
                    keys.append(container.add_streamed_object(stream))
        relative = (str(path.relative_to(source)) for path in paths)
        names.write_text(json.dumps(dict(zip(relative, keys, strict=True))), encoding="utf-8")
    elif work == "verify":
        if not container.validate().is_valid():
            sys.exit("the container is damaged")
    elif work == "export":
        wanted: dict[str, list[str]] = {}
        for name, key in json.loads(names.read_text(encoding="utf-8")).items():
            wanted.setdefault(key, []).append(name)
        with container.get_objects_stream_and_meta(list(wanted)) as objects:
            for key, stream, _ in objects:
                first, *others = [Path(rest[0], name) for name in wanted[key]]
                for path in (first, *others):
                    path.parent.mkdir(parents=True, exist_ok=True)
                with first.open("wb") as file:
                    shutil.copyfileobj(stream, file, 1 << 20)
                for path in others:
                    shutil.copyfile(first, path)
    elif work == "delete":
        container.delete_objects(list(set(json.loads(names.read_text(encoding="utf-8")).values())))
        container.repack()
        container.clean_storage()
    container.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
