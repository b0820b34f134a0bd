"""Shared results on the Hugging Face Hub: a dataset repository for the tables, a model repository for the adapters.

    upload(staged, [look_up("owner/name", "dataset")], public=False, message="Results of rq2")
    download("owner/name", None, Path("staging"))

All requests are made by huggingface_hub, with the token of the environment (HF_TOKEN) or of `hf auth login`.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from raypeft.sharing.private import cleaned
from raypeft.sharing.staged import TABLES, Staged

Kind = Literal["dataset", "model"]
State = Literal["missing", "private", "public"]
OWN_FILES = {"dataset": "trials/", "model": "adapters/"}
"""Kind of a repository -> the folder by which it is known to hold shared results."""
TAKEN = ["README.md", "manifest.json", "report.html", *(f"{table}/*.parquet" for table in TABLES)]
"""What is taken from a dataset repository: nothing else is read later."""
TAKEN_OF_ADAPTERS = [f"adapters/*/*.{ending}" for ending in ("safetensors", "json", "md", "txt", "model", "jinja")]
"""What is taken from a model repository: no file that could run code when it is loaded."""
LOG_IN = "set HF_TOKEN to a token that may do it, or run `hf auth login`"


class HubError(Exception):
    """What the hub did not allow or answer, in words for the user, without a token."""


@dataclass(frozen=True, slots=True)
class Repository:
    """One repository of the hub, as it stands before anything is pushed."""

    id: str
    kind: Kind
    state: State

    @property
    def url(self) -> str:
        from huggingface_hub import constants

        return f"{constants.ENDPOINT}/{'datasets/' if self.kind == 'dataset' else ''}{self.id}"


def look_up(repository: str, kind: Kind) -> Repository:
    """How a repository stands on the hub.

    Raises HubError where it holds anything else than shared results, and where the hub does not answer.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    api = HfApi()
    with _told():
        try:
            info = api.repo_info(repository, repo_type=kind)
        except RepositoryNotFoundError:
            return Repository(repository, kind, "missing")
        found = Repository(repository, kind, "private" if info.private else "public")
        files = [name for name in api.list_repo_files(repository, repo_type=kind) if not name.startswith(".git")]
    if files and not any(name.startswith(OWN_FILES[kind]) for name in files):
        raise HubError(f"{found.url} must be new or hold results that were pushed before, but it holds {files[0]} and "
                       f"no {OWN_FILES[kind]}; give another name")  # fmt: skip
    return found


def upload(staged: Staged, repositories: Sequence[Repository], public: bool, message: str) -> list[str]:
    """Make the repositories where they are missing, and upload to them; returns their addresses.

    A new repository is private unless `public`; a private one is made public after its files have arrived. Raises
    HubError.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    addresses = []
    for each in repositories:
        folder = staged.dataset if each.kind == "dataset" else staged.model
        assert folder is not None
        # What is not shared this time must not stay from an earlier push.
        old = [f"{table}/*" for table in TABLES] if each.kind == "dataset" else ["adapters/*"]
        gone = None if each.state == "missing" else old
        with _told():
            if each.state == "missing":
                api.create_repo(each.id, repo_type=each.kind, private=not public)
            api.upload_folder(
                repo_id=each.id, repo_type=each.kind, folder_path=folder, commit_message=message, delete_patterns=gone
            )
            if public and each.state == "private":
                api.update_repo_settings(each.id, repo_type=each.kind, private=False)
        addresses.append(f"{each.url} ({'public' if public or each.state == 'public' else 'private'})")
    return addresses


def download(repository: str, revision: str | None, folder: Path) -> str:
    """Copy the shared results of a repository, and the adapters beside it, into `folder`; returns what was left out.

    Adapters have a repository of their own: those of another revision are not those of the rows. Raises HubError.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    with _told():
        api.snapshot_download(
            repository, repo_type="dataset", revision=revision, local_dir=folder, allow_patterns=TAKEN
        )
        there = api.repo_exists(repository)  # else no adapter was shared
        fits = there and (revision is None or api.revision_exists(repository, revision))
        if fits:
            api.snapshot_download(repository, revision=revision, local_dir=folder, allow_patterns=TAKEN_OF_ADAPTERS)
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # what huggingface_hub notes of a download
    return f"; adapters are left out: their repository has no revision {revision}" if there and not fits else ""


@contextmanager
def _told() -> Iterator[None]:
    """What the hub's library raises becomes a HubError in words. Which library it asks the network by varies."""
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled
    from huggingface_hub.utils import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise HubError("the hub must be asked, but HF_HUB_OFFLINE is set: unset it") from error
    except LocalTokenNotFoundError as error:
        raise HubError(f"the hub needs a token: {LOG_IN}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        hint = f"; {LOG_IN}" if status in (401, 403, 404) else ""
        raise HubError(cleaned(f"the hub refused: {str(error).strip().splitlines()[0]}{hint}")) from error
    except Exception as error:
        raise HubError(cleaned(f"the hub could not be asked: {type(error).__name__}: {error}")) from error
