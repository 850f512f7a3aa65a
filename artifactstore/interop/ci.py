"""The evidence of a CI job: what the system says of the job goes into the metadata, and a retry adds nothing.

Only variables that are named here are read; they hold identifiers and no secrets.
"""

from __future__ import annotations

import hashlib
import re
import string
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from artifactstore import codec
from artifactstore.errors import InvalidInputError
from artifactstore.interop.git_repository import path_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from artifactstore.any_store import AnyStore
    from artifactstore.codec import Value
    from artifactstore.ingest import OnProgress
    from artifactstore.results import PushResult
    from artifactstore.scan import Selection

GENERIC = "generic"
METADATA_KEY = "ci"
_LONGEST = 1000  # characters of a value that is believed
_USER = re.compile(r"(?<=//)[^/@\s]*@")  # in an address
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class CiRun:
    """One attempt of one job, as its CI system describes it.

    Args:
        system: `github-actions`, `gitlab`, `jenkins`, `buildkite`, `azure-pipelines` or `generic`.
        repository: its path on its host, such as `team/shop`.
        run_id: of the run, pipeline or build that the job belongs to.
        job_id: of this very attempt, where the system has such ids.
    """

    system: str
    repository: str | None = None
    commit: str | None = None
    ref: str | None = None
    job: str | None = None
    job_id: str | None = None
    run_id: str | None = None
    attempt: str | None = None
    run_url: str | None = None

    def subject(self) -> str:
        """What its evidence is about: `<repository>@<commit>`, the repository without the folders above it.

        Raises:
            InvalidInputError: the system does not say which commit it is.
        """
        if self.repository is None or self.commit is None:
            raise InvalidInputError(
                "it is not known which commit of which repository this is",
                hint="give --subject, or --repository and --commit",
            )
        return f"{self.repository.rpartition('/')[2]}@{self.commit}"

    def metadata(self) -> dict[str, Value]:
        """What is known of the run."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def idempotency_key(self, name: str) -> str | None:
        """The same for the same attempt of the same job and the same name of a package; None if unknown.

        Args:
            name: of the package, since a job may store several.
        """
        if self.run_id is None:
            return None
        identity = (self.system, self.repository, self.run_id, self.job, self.job_id, self.attempt, name)
        return f"{METADATA_KEY}:{hashlib.sha256(codec.encode(list(identity))).hexdigest()}"


@dataclass(frozen=True, slots=True)
class CiSystem:
    """How a CI system describes a run in the environment of a job.

    Args:
        mark: a variable that only it sets.
        fields: for each field of `CiRun` the texts to try; `{NAME}` stands for a variable.
        outputs: the variable with the file into which a job writes what later steps read.
        summary: that with the file for a text in Markdown.
    """

    name: str
    mark: str
    fields: Mapping[str, tuple[str, ...]]
    outputs: str | None = None
    summary: str | None = None

    def variables(self) -> Iterator[str]:
        """All variables that it reads."""
        yield self.mark
        yield from (name for name in (self.outputs, self.summary) if name is not None)
        for texts in self.fields.values():
            for text in texts:
                yield from _names(text)


SYSTEMS = (
    CiSystem(
        "github-actions",
        "GITHUB_ACTIONS",
        {
            "repository": ("{GITHUB_REPOSITORY}",),
            "commit": ("{GITHUB_SHA}",),
            "ref": ("{GITHUB_REF}",),
            "job": ("{GITHUB_JOB}",),
            "run_id": ("{GITHUB_RUN_ID}",),
            "attempt": ("{GITHUB_RUN_ATTEMPT}",),
            "run_url": ("{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}",),
        },
        outputs="GITHUB_OUTPUT",
        summary="GITHUB_STEP_SUMMARY",
    ),
    CiSystem(
        "gitlab",
        "GITLAB_CI",
        {
            "repository": ("{CI_PROJECT_PATH}",),
            "commit": ("{CI_COMMIT_SHA}",),
            "ref": ("{CI_COMMIT_REF_NAME}",),
            "job": ("{CI_JOB_NAME}",),
            "job_id": ("{CI_JOB_ID}",),
            "run_id": ("{CI_PIPELINE_ID}",),
            "run_url": ("{CI_JOB_URL}", "{CI_PIPELINE_URL}"),
        },
    ),
    CiSystem(
        "buildkite",
        "BUILDKITE",
        {
            "repository": ("{BUILDKITE_REPO}",),
            "commit": ("{BUILDKITE_COMMIT}",),
            "ref": ("{BUILDKITE_TAG}", "{BUILDKITE_BRANCH}"),
            "job": ("{BUILDKITE_STEP_KEY}", "{BUILDKITE_LABEL}"),
            "job_id": ("{BUILDKITE_JOB_ID}",),
            "run_id": ("{BUILDKITE_BUILD_ID}", "{BUILDKITE_BUILD_NUMBER}"),
            "attempt": ("{BUILDKITE_RETRY_COUNT}",),
            "run_url": ("{BUILDKITE_BUILD_URL}#{BUILDKITE_JOB_ID}", "{BUILDKITE_BUILD_URL}"),
        },
    ),
    CiSystem(
        "azure-pipelines",
        "TF_BUILD",
        {
            "repository": ("{BUILD_REPOSITORY_NAME}",),
            "commit": ("{BUILD_SOURCEVERSION}",),
            "ref": ("{BUILD_SOURCEBRANCH}",),
            "job": ("{SYSTEM_JOBDISPLAYNAME}", "{AGENT_JOBNAME}"),
            "job_id": ("{SYSTEM_JOBID}",),
            "run_id": ("{BUILD_BUILDID}",),
            "attempt": ("{SYSTEM_JOBATTEMPT}",),
            "run_url": ("{SYSTEM_COLLECTIONURI}{SYSTEM_TEAMPROJECT}/_build/results?buildId={BUILD_BUILDID}",),
        },
    ),
    CiSystem(
        "jenkins",
        "JENKINS_URL",
        {
            "repository": ("{GIT_URL}",),
            "commit": ("{GIT_COMMIT}",),
            "ref": ("{GIT_BRANCH}", "{BRANCH_NAME}"),
            "job": ("{JOB_NAME}/{STAGE_NAME}", "{JOB_NAME}"),
            "run_id": ("{JOB_NAME}#{BUILD_NUMBER}",),
            "run_url": ("{BUILD_URL}",),
        },
    ),
)


def variables_read() -> list[str]:
    """The variables of all systems: nothing else of an environment is looked at."""
    return list(dict.fromkeys(name for system in SYSTEMS for name in system.variables()))


def find_system(environment: Mapping[str, str]) -> CiSystem | None:
    """The CI system that runs this process; None if it is none that we know."""
    return next((system for system in SYSTEMS if environment.get(system.mark)), None)


def describe_run(environment: Mapping[str, str]) -> CiRun:
    """What the environment says of the run.

    Args:
        environment: by name, at least those of `variables_read` that are set.
    """
    system = find_system(environment)
    if system is None:
        return CiRun(GENERIC)
    known = {name: _first(texts, environment) for name, texts in system.fields.items()}
    if known.get("repository") is not None:
        known["repository"] = path_of(str(known["repository"])) or None
    return CiRun(system.name, **known)


def push_from_ci(
    store: AnyStore,
    directory: str,
    run: CiRun,
    *,
    name: str,
    producer: str,
    retention_class: str,
    actor: str,
    subject: str | None = None,
    metadata: Mapping[str, Value] | None = None,
    metadata_schema: str | None = None,
    selection: Selection | None = None,
    on_progress: OnProgress | None = None,
) -> PushResult:
    """Store a directory as the evidence of a CI job; the same attempt of it again returns the first package.

    Args:
        name: of the package; jobs that store several give each its own.
        subject: the commit if not given, see `CiRun.subject`.
        metadata: beside what is known of the run, which is under `ci`.
        others: as in `Store.push`.
    Raises:
        as `Store.push`; also InvalidInputError if the metadata has an entry `ci` of its own.
    """
    if metadata is not None and METADATA_KEY in metadata:
        raise InvalidInputError(
            f"the entry {METADATA_KEY!r} of the metadata is what is known of the run",
            hint="choose another name",
        )
    return store.push(
        directory,
        name=name,
        producer=producer,
        subject=run.subject() if subject is None else subject,
        retention_class=retention_class,
        actor=actor,
        metadata={**(metadata or {}), METADATA_KEY: run.metadata()},
        metadata_schema=metadata_schema,
        selection=selection,
        idempotency_key=run.idempotency_key(name),
        on_progress=on_progress,
    )


def outputs_of(result: PushResult) -> str:
    """What later steps read, one `name=value` a line."""
    return "".join(f"{name}={value}\n" for name, value in _facts(result))


def summary_of(result: PushResult) -> str:
    """The package as a table in Markdown."""
    package = result.package
    rows = [
        *_facts(result),
        ("name", package.name),
        ("subject", package.subject),
        ("retention_class", package.retention_class),
    ]
    lines = ["### Evidence", "", "| | |", "|---|---|"]
    lines += [f"| {name.replace('_', ' ')} | `{_cell(value)}` |" for name, value in rows]
    return "\n".join(lines) + "\n\n"


def _facts(result: PushResult) -> Iterable[tuple[str, str]]:
    package = result.package
    return (
        ("package_id", package.package_id),
        ("manifest_digest", str(package.manifest_digest)),
        ("file_count", str(package.file_count)),
        ("total_size", str(package.total_size)),
        ("unchanged", str(result.unchanged).lower()),
    )


def _cell(text: str) -> str:
    # A label has no line breaks; these would end the code or the cell.
    return text.replace("`", "'").replace("|", "\\|")


def _names(text: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(text) if name]


def _first(texts: Iterable[str], environment: Mapping[str, str]) -> str | None:
    """The first text of which all variables are set, without users and passwords in addresses."""
    for text in texts:
        if all(environment.get(name) for name in _names(text)):
            value = _USER.sub("", text.format_map(environment)).strip()
            if value and len(value) <= _LONGEST and not _UNPRINTABLE.search(value):
                return value
    return None


def with_corrections(run: CiRun, said: Mapping[str, str | None]) -> CiRun:
    """The run, with what the caller says in place of what the environment says."""
    known = {field.name: getattr(run, field.name) for field in fields(run)}
    return CiRun(**{**known, **{name: value for name, value in said.items() if value is not None}})
