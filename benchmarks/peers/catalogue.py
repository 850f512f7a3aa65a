"""All peers: how each of them pushes, verifies, exports and deletes a directory, and what it promises."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.peers.peer import READ_ONLY, UNSYNCED, Call, Peer, Promise

_PUSH = "{python} -m artifactstore push {source} --producer bench --subject {subject} --symlinks skip"

OURS = Peer(
    name="artifactstore",
    version="{python} -m artifactstore version",
    promise=Promise("bytes, names, log: 2 syncfs, SQLite fdatasync", durable=True),
    promises={
        "verify": Promise("reads; an event of each: SQLite fdatasync", durable=True),
        "export": Promise("bytes, names: syncfs, fsync", durable=True),
    },
    variables={
        "PYTHONPATH": "{project}",
        "ARTIFACTSTORE_DATABASE_URL": "sqlite:///{repository}/artifactstore.db",
        "ARTIFACTSTORE_STORAGE_LOCAL_ROOT": "{repository}/storage",
        "ARTIFACTSTORE_RETENTION_CONFIG_PATH": "{project}/benchmarks/peers/retention.toml",
    },
    verified="{repository}/storage",
    prepare=("{python} -m artifactstore init",),
    push=(_PUSH,),  # refuses symlinks unless told otherwise, and a real tree may have some
    verify=("{python} -m artifactstore storage verify",),  # every object, whenever it was last read
    export=("{python} -m artifactstore export {said} {target}",),
    before_delete=("sleep 1",),  # the class of the package lets it expire after a second
    delete=("{python} -m artifactstore retention sweep", "{python} -m artifactstore retention gc --yes"),
)

UNCACHED = replace(  # reads every byte again, where ours does not read what looks as it did
    OURS,
    name="artifactstore --no-cache",
    whole=False,
    push=(f"{_PUSH} --no-cache",),
    verify=(),
    export=(),
    delete=(),
)

RESTIC = Peer(  # chunks in packs, compressed, encrypted; tells by size and times what is unchanged
    name="restic",
    version="restic version",
    promise=Promise("packs and index: fsync each", durable=True),
    directory="{source}",
    variables={
        "RESTIC_REPOSITORY": "{repository}",
        "RESTIC_PASSWORD": "benchmark",
        "RESTIC_CACHE_DIR": "{place}/cache",
    },
    prepare=("restic init --quiet",),
    push=("restic backup --quiet .",),
    verify=("restic check --quiet --read-data",),
    export=("restic restore --quiet latest --target {target}",),
    delete=("restic forget --quiet latest --prune",),
)

BORG = Peer(  # chunks in segments, compressed, not encrypted; tells by size and times what is unchanged
    name="borg",
    version="borg --version",
    promise=Promise("segments: fsync each", durable=True),
    directory="{source}",
    variables={
        "BORG_REPO": "{repository}",
        "BORG_BASE_DIR": "{place}/home",
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
    },
    prepare=("borg init --encryption none",),
    push=("borg create ::push-{number} .",),
    verify=("borg check --verify-data",),
    export=(Call("borg extract ::push-{number}", directory="{target}"),),
    delete=("borg delete ::push-{number}", "borg compact"),
)

OSTREE = Peer(  # our order of things in C: stage, syncfs, rename, fsync of each folder
    name="ostree",
    version="ostree --version",
    promise=Promise("objects: syncfs, fsync of folders", durable=True),
    promises={"delete": UNSYNCED},
    directory="{place}",
    prepare=("ostree --repo={repository} init --mode=bare-user",),
    push=("ostree --repo={repository} commit --branch=bench --tree=dir={source} --subject=push",),
    verify=("ostree --repo={repository} fsck --quiet",),
    export=("ostree --repo={repository} checkout --user-mode --force-copy bench {target}/tree",),
    delete=(
        "ostree --repo={repository} refs --delete bench",
        "ostree --repo={repository} prune --refs-only",
    ),
)

_GIT_SETTINGS = {"core.fsync": "all", "core.fsyncMethod": "fsync", "core.autocrlf": "false", "gc.auto": "0"}

GIT = Peer(
    name="git",
    version="git --version",
    promise=Promise("objects: fsync each, no names", durable=True),
    promises={"delete": Promise("refs only: syncfs counted")},
    directory="{source}",
    variables={
        "GIT_DIR": "{repository}",
        "GIT_WORK_TREE": "{source}",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_COUNT": str(len(_GIT_SETTINGS)),
        **{f"GIT_CONFIG_KEY_{number}": key for number, key in enumerate(_GIT_SETTINGS)},
        **{f"GIT_CONFIG_VALUE_{number}": value for number, value in enumerate(_GIT_SETTINGS.values())},
        **{f"GIT_{who}_NAME": "bench" for who in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{who}_EMAIL": "bench@example.org" for who in ("AUTHOR", "COMMITTER")},
    },
    prepare=("git init --quiet",),
    push=("git add --all --force", "git commit --quiet --allow-empty -m push"),
    verify=("git fsck --full",),
    export=("git checkout-index --all --prefix={target}/",),
    delete=(
        "git update-ref -d HEAD",
        "git read-tree --empty",
        "git reflog expire --expire=now --all",
        "git prune --expire=now",
    ),
)

COPY = Peer(  # bytes without digests, without a log: the speed of the disk
    name="cp+sync",
    version="cp --version",
    prepare=("mkdir {repository}",),
    push=("cp -r {source}/. {repository}",),
    export=("cp -r {repository}/. {target}",),
    delete=("rm -r {repository}",),
)

RSYNC = Peer(
    name="rsync",
    version="rsync --version",
    promise=Promise("files: fsync each, no names", durable=True),
    promises={"delete": UNSYNCED},
    prepare=("mkdir {repository}",),
    push=("rsync --archive --fsync {source}/ {repository}/",),
    verify=("rsync --archive --checksum --dry-run --itemize-changes {source}/ {repository}/",),
    export=("rsync --archive {repository}/ {target}/",),
    delete=("rm -r {repository}",),
)

RCLONE = Peer(
    name="rclone",
    version="rclone version",
    variables={"RCLONE_CONFIG": "{place}/rclone.conf"},
    prepare=("mkdir {repository}",),
    push=("rclone copy --quiet --checksum {source} {repository}",),
    verify=("rclone check --quiet {source} {repository}",),
    export=("rclone copy --quiet {repository} {target}",),
    delete=("rclone purge {repository}",),
)

CASYNC = Peer(  # chunks over file boundaries
    name="casync",
    version="casync --version",
    # A collection keeps what some index names, and wants one.
    prepare=(
        "mkdir -p {repository} {place}/nothing",
        "casync make --store={repository}/chunks {place}/nothing.caidx {place}/nothing",
    ),
    push=("casync make --store={repository}/chunks {repository}/push-{number}.caidx {source}",),
    verify=("casync digest --store={repository}/chunks {repository}/push-{number}.caidx",),
    export=("casync extract --store={repository}/chunks {repository}/push-{number}.caidx {target}/tree",),
    delete=(
        "rm {repository}/push-{number}.caidx",
        "casync gc --store={repository}/chunks {place}/nothing.caidx",
    ),
)

BUP = Peer(
    name="bup",
    version="bup --version",
    promise=Promise("the pack's index only: syncfs counted"),
    promises={"delete": UNSYNCED},
    variables={"BUP_DIR": "{repository}"},
    prepare=("bup init",),
    push=("bup index --update {source}", "bup save --quiet --name=bench --strip {source}"),
    verify=("bup fsck --quick",),
    export=("bup restore --quiet --outdir={target} /bench/latest/.",),
    delete=("bup rm --unsafe bench", "bup gc --unsafe"),
)

_INDEX_ONLY = Promise("its index only: syncfs counted")
_CONTAINER = "{peers}/python {project}/benchmarks/peers/container.py"
_CONTAINER_VERSION = '{peers}/python -c "import disk_objectstore as d; print(d.__version__)"'

PACKED = Peer(  # syncs its SQLite, not its packs: traced
    name="disk-objectstore packed",
    version=_CONTAINER_VERSION,
    promise=_INDEX_ONLY,
    prepare=(f"{_CONTAINER} prepare {{repository}} {{source}}",),
    push=(f"{_CONTAINER} pack {{repository}} {{source}}",),
    verify=(f"{_CONTAINER} verify {{repository}}",),
    export=(f"{_CONTAINER} export {{repository}} {{target}}",),
    delete=(f"{_CONTAINER} delete {{repository}}",),
)

LOOSE = Peer(
    name="disk-objectstore loose",
    version=_CONTAINER_VERSION,
    promise=Promise("objects: 3 fsync each", durable=True),
    promises={"delete": _INDEX_ONLY},
    prepare=(f"{_CONTAINER} prepare {{repository}} {{source}}",),
    push=(f"{_CONTAINER} push {{repository}} {{source}}",),
    verify=(f"{_CONTAINER} verify {{repository}}",),
    export=(f"{_CONTAINER} export {{repository}} {{target}}",),
    delete=(f"{_CONTAINER} delete {{repository}}",),
)

DVC = Peer(  # has no verify that reads, and no export but into its own workspace
    name="DVC",
    version="{peers}/dvc version",
    promise=_INDEX_ONLY,
    directory="{repository}",
    variables={"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": "{place}/site"},
    prepare=(Call("mkdir {repository}", directory="{place}"), "{peers}/dvc init --quiet --no-scm"),
    push=("{peers}/dvc add --quiet --force --out data {source}",),
    delete=("{peers}/dvc remove --quiet data.dvc", "{peers}/dvc gc --quiet --force --workspace"),
)

BAGIT = Peer(
    name="bagit",
    version="{peers}/python -c \"import importlib.metadata as m; print(m.version('bagit'))\"",
    push=(
        "rm -rf {repository}",
        "cp -r {source} {repository}",
        "{peers}/python {peers}/bagit.py --quiet --sha256 {repository}",
    ),
    verify=("{peers}/python {peers}/bagit.py --quiet --validate {repository}",),
    export=("cp -r {repository}/data {target}/tree",),
    delete=("rm -r {repository}",),
)


_OBJECTS = "{repository}/storage/blake3"


def sums(name: str, *programs: str) -> Peer:
    """The digests of the objects of our store, listed before: no verify of ours can do with less."""
    return Peer(
        name=name,
        version="\n".join(f"{program} --version" for program in programs),
        whole=False,
        variables=OURS.variables,
        verified=_OBJECTS,
        prepare=(*OURS.prepare, *OURS.push),
        before_verify=tuple(
            Call(f"sh -c 'find . -type f -print0 | xargs -0 {program}'", directory=_OBJECTS, output=program)
            for program in programs
        ),
        verify=tuple(
            Call(f"{program} --quiet --check {{place}}/{program}", directory=_OBJECTS) for program in programs
        ),
    )


SHA256SUM = sums("sha256sum", "sha256sum")
B3SUM = sums("b3sum", "b3sum")
BOTH_SUMS = sums("sha256sum+b3sum", "sha256sum", "b3sum")  # which is what our verify compares
_ALONE = "{python} {project}/benchmarks/peers/sha256_alone.py {source}"
SHA256_ALONE = Peer(  # stores nothing: no push can be faster on one core
    name="sha256 alone",
    version="{python} --version",
    promise=READ_ONLY,
    whole=False,
    verified="{source}",
    push=(_ALONE,),
    verify=(_ALONE,),
)

FIRST = (
    RESTIC,
    BORG,
    COPY,
    SHA256_ALONE,
    SHA256SUM,
    B3SUM,
    BOTH_SUMS,
)  # who are compared unless others are named
PEERS = (
    *(RESTIC, BORG, OSTREE, GIT, LOOSE, RSYNC, PACKED, BUP, DVC, CASYNC, RCLONE, BAGIT, COPY),
    *(UNCACHED, SHA256_ALONE, SHA256SUM, B3SUM, BOTH_SUMS),
)
