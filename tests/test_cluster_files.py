"""The files in cluster/: by Ray's own schema, by the shell's parser, and by what KubeRay asks of a RayJob."""

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

from raypeft.sweep import make_parser

FOLDER = Path(__file__).parents[1] / "cluster"
RAY = Path(ray.__file__).parent


@pytest.mark.parametrize("name", ["ray-aws.yaml", "ray-on-premise.yaml"])
def test_rays_launcher_accepts_the_file(name: str) -> None:
    schema = json.loads((RAY / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(yaml.safe_load((FOLDER / name).read_text()), schema)


def test_rays_launcher_fills_in_the_nodes_of_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.autoscaler._private.util import fillout_defaults, validate_config

    config = fillout_defaults(yaml.safe_load((FOLDER / "ray-aws.yaml").read_text()))
    validate_config(config)
    card = config["available_node_types"]["a10g"]
    assert card["min_workers"] >= 1, "a sweep that starts on a cluster without cards trains on CPUs"
    assert card["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}


def manifests() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / "kuberay-rayjob.yaml").read_text()))


def test_the_rayjob_has_what_kuberay_requires() -> None:
    claim, job = manifests()
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    known = {"entrypoint", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "backoffLimit", "rayClusterSpec"}
    assert job["spec"].keys() <= known
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        assert "rayStartParams" in group and all(isinstance(each, str) for each in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}
        assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert all(group["replicas"] >= group["minReplicas"] >= 1 for group in cluster["workerGroupSpecs"])


def test_the_rays_of_the_rayjob_and_of_the_constraints_are_one() -> None:
    pinned = re.search(r"^ray==(.*)$", (FOLDER.parent / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned and manifests()[1]["spec"]["rayClusterSpec"]["rayVersion"] == pinned[1]


def test_the_script_for_slurm_is_a_script() -> None:
    subprocess.run(["bash", "-n", str(FOLDER / "slurm.sh")], check=True)
    text = (FOLDER / "slurm.sh").read_text()
    hours = float(re.search(r"HOURS:-([\d.]+)", text)[1])  # type: ignore[index]
    limit = int(re.search(r"--time=(\d+):00:00", text)[1])  # type: ignore[index]
    assert limit - 1 < hours < limit, "raypeft must stop by itself before SLURM ends the job"


def commands() -> list[str]:
    """The sweeps that the files run, as one line each."""
    job = [manifests()[1]["spec"]["entrypoint"]]
    launcher = [line for name in ("ray-aws.yaml", "ray-on-premise.yaml")
                for line in re.findall(r'--screen "(raypeft [^"]+)"', (FOLDER / name).read_text())]  # fmt: skip
    slurm = re.findall(r"python -m (raypeft\.sweep .*)", (FOLDER / "slurm.sh").read_text())
    return [*job, *launcher, *slurm]


def test_the_sweeps_that_the_files_run_are_commands_of_raypeft() -> None:
    assert len(commands()) == 4
    for line in commands():
        words = shlex.split(line)
        given = words[1:] if words[0] == "raypeft.sweep" else words[2:]
        options = make_parser().parse_intermixed_args(given)
        assert options.address and options.results
