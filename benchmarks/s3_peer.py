"""boto3 alone, for `w6`.

`python s3_peer.py ENDPOINT REGION BUCKET THREADS PARTS PART_SIZE THRESHOLD up|down DIRECTORY`
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def main() -> None:
    """Upload all files of a directory, or download them into one."""
    import boto3
    from boto3.s3.transfer import TransferConfig
    from botocore.config import Config

    endpoint, region, bucket, threads, parts, part_size, threshold, way, directory = sys.argv[1:]
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=region,
        config=Config(max_pool_connections=int(threads) + int(parts), s3={"addressing_style": "path"}),
    )
    transfer = TransferConfig(
        max_concurrency=int(parts), multipart_chunksize=int(part_size), multipart_threshold=int(threshold)
    )
    root = Path(directory)

    def up(path: Path) -> None:
        client.upload_file(str(path), bucket, f"boto3/{path.relative_to(root)}", Config=transfer)

    def down(key: str) -> None:
        path = root / key.removeprefix("boto3/")
        path.parent.mkdir(parents=True, exist_ok=True)
        client.download_file(bucket, key, str(path), Config=transfer)

    with ThreadPoolExecutor(int(threads)) as pool:
        if way == "up":
            list(pool.map(up, (path for path in root.rglob("*") if path.is_file())))
        else:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="boto3/")
            list(pool.map(down, (entry["Key"] for page in pages for entry in page.get("Contents", ()))))


if __name__ == "__main__":
    main()
