"""Uploading a network to the Hub."""

from __future__ import annotations

import tempfile
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils._validators import validate_repo_id

from qcs.errors import InputError
from qcs.models._hub_calls import attempt
from qcs.publish.repository import Publication, write_repository
from qcs.version import __version__


def push(
    source: str | Path,
    repository: str,
    *,
    private: bool = False,
    revision: str | None = None,
    license: str | None = None,
) -> str:
    """Publish the best weights of a run, or a weights file, in one commit.

    Args:
        source: What names the weights, see `qcs.models.find_weights`; a run folder also gives the results.
        repository: `ORG/NAME` on the Hub; it is created if it does not exist.
        private: Make a new repository private; an existing one stays as it is.
        revision: Branch to commit to; it is created if it does not exist. None takes the main one.
        license: License of the weights, by its identifier on the Hub: `"mit"`.

    Returns:
        The URL of the commit.

    Raises:
        InputError: If there are no weights, or the token does not permit it.
        OSError: If the Hub cannot be reached; the repository is then unchanged.
    """
    check_name(repository)
    publication = Publication.of(source, repository, license)
    api = HfApi(library_name="qcs", library_version=__version__)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "repository"
        write_repository(publication, folder)
        attempt(lambda: api.create_repo(repository, private=private, exist_ok=True), f"make {repository}")
        if revision is not None:
            branch = revision
            attempt(
                lambda: api.create_branch(repository, branch=branch, exist_ok=True), f"make {revision} of {repository}"
            )
        # Safe to repeat: the client skips files that the repository has already.
        commit = attempt(
            lambda: api.upload_folder(
                repo_id=repository,
                folder_path=folder,
                revision=revision,
                commit_message=f"Publish {publication.model.pretrained_cfg['architecture']} with qcs {__version__}",
            ),
            f"push to {repository}",
        )
    return str(commit.commit_url)


def check_name(repository: str) -> None:
    """Check that the name of a repository is valid and has an owner.

    Raises:
        InputError: If it is not `ORG/NAME`.
    """
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise InputError(f"expected a repository as ORG/NAME, got {repository!r}") from error
    if "/" not in repository:
        raise InputError(f"expected a repository as ORG/NAME, got {repository!r}: the owner is missing")
