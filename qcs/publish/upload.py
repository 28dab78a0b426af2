"""Publishing a network on the Hub, or writing what would be published."""

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
        source: Run folder or weights file.
        repository: `ORG/NAME` on the Hub; it is made if there is none.
        private: Make a new repository private; one that exists stays as it is.
        revision: Branch to commit to; it is made if there is none. None takes the main one.
        license: License of the weights, by its identifier on the Hub, as `"mit"`.

    Returns:
        Address of the commit.

    Raises:
        InputError: If there is nothing to publish, or no permission to.
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
        # Repeating it does no harm: the client leaves out files that the repository has already.
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
    """That a repository's name is one, with its owner.

    Raises:
        InputError: If it is not.
    """
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise InputError(f"expected a repository as ORG/NAME, got {repository!r}") from error
    if "/" not in repository:
        raise InputError(f"expected a repository as ORG/NAME, got {repository!r}: whose is it?")
