"""The files in cluster/: as Ray's launcher reads them, as the shell does, and by some of what KubeRay asks for."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from raypeft.sweep import make_parser

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "cluster"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


LAUNCHED = ["ray-aws.yaml", "ray-on-premise.yaml"]


def prepared(name: str) -> dict[str, Any]:
    """A file of Ray's launcher as `ray up` has it before it asks the provider for anything."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load((FOLDER / name).read_text()))
    validate_config(config)
    return config


@pytest.mark.parametrize("name", LAUNCHED)
def test_rays_launcher_accepts_the_file(name: str) -> None:
    config = prepared(name)
    workers = [kind["min_workers"] for kind in config["available_node_types"].values()]
    assert max(workers) >= 1, "a sweep that starts on a cluster without cards trains on CPUs"


@pytest.mark.parametrize("name", LAUNCHED)
def test_the_head_that_rays_launcher_starts_starts_the_workers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.autoscaler._private import commands

    config, said = prepared(name), list[str]()
    monkeypatch.setattr(commands.cli_logger, "warning", lambda text, *_: said.append(text))
    commands.warn_about_bad_start_command(config["head_start_ray_commands"])
    assert not said


def test_on_aws_python_ray_and_the_image_are_ours_and_not_rays_own_which_are_too_old() -> None:
    config = prepared("ray-aws.yaml")
    nodes = [kind["node_config"] for kind in config["available_node_types"].values()]
    assert all(node.get("ImageId") for node in nodes), "Ray takes Ubuntu 18.04"
    steps = "\n".join(config["head_setup_commands"])
    python = re.search(r"uv venv --python ([\d.]+)", steps)
    assert python and SpecifierSet(PROJECT["requires-python"]).contains(python[1])
    for install in re.findall(r"pip install .*", steps):
        assert "uv pip install" in steps and "--constraint ~/constraints.txt" in install
    assert config["file_mounts"]["~/constraints.txt"] == "constraints.txt" and (ROOT / "constraints.txt").exists()
    extras = re.search(r"raypeft\[([\w,]+)\]", steps)
    assert extras and set(extras[1].split(",")) <= PROJECT["optional-dependencies"].keys()


AWS = """
import sys
import boto3, moto, yaml
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.providers import _get_node_provider
from ray.autoscaler._private.util import prepare_config

sys.path.insert(0, sys.argv[1])
import aws_roles

TAGS = ("ray-node-type", "ray-launch-config", "ray-user-node-type")
with moto.mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
    aws_roles.make_roles("results")
    aws_roles.make_roles("results")
    config = bootstrap_aws(prepare_config(yaml.safe_load(open(f"{sys.argv[1]}/ray-aws.yaml"))))
    provider = _get_node_provider(config["provider"], "raypeft")
    some_image = boto3.client("ec2").describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    for kind, each in config["available_node_types"].items():
        provider.create_node(each["node_config"] | {"ImageId": some_image}, dict.fromkeys(TAGS, kind), 1)
    for made in boto3.client("ec2").describe_instances()["Reservations"]:
        (machine,) = made["Instances"]
        print("MADE", machine["IamInstanceProfile"]["Arn"].rpartition("/")[2], machine.get("InstanceLifecycle"))
    for name in ("raypeft-head", "raypeft-worker"):
        iam = boto3.client("iam")
        print("MAY", name, iam.get_role_policy(RoleName=name, PolicyName="raypeft")["PolicyDocument"]["Statement"],
              [each["PolicyName"] for each in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]])
"""


@pytest.mark.slow
def test_rays_launcher_makes_the_machines_in_a_simulated_aws(tmp_path: Path) -> None:
    account = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-west-2"}
    done = subprocess.run([sys.executable, "-c", AWS, str(FOLDER)], capture_output=True, text=True, timeout=280,
                          env=os.environ | account | {"HOME": str(tmp_path)})  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "MADE raypeft-head None" in done.stdout and "MADE raypeft-worker spot" in done.stdout
    head, worker = re.findall(r"MAY (.*)", done.stdout)
    assert "iam:PassRole" in head and "role/raypeft-worker" in head and "AmazonEC2FullAccess" in head
    assert "arn:aws:s3:::results/*" in head and "arn:aws:s3:::results/*" in worker
    assert "iam" not in worker and "EC2" not in worker


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
    assert all(group["replicas"] >= 1 for group in cluster["workerGroupSpecs"])


def test_no_part_of_the_rayjob_is_without_effect() -> None:
    cluster = manifests()[1]["spec"]["rayClusterSpec"]
    assert cluster.get("enableInTreeAutoscaling") or not any(
        {"minReplicas", "maxReplicas"} & group.keys() for group in cluster["workerGroupSpecs"]
    )


def test_the_user_of_the_image_may_write_to_the_volume_of_the_rayjob() -> None:
    user = re.search(r"useradd .*--uid (\d+)", (ROOT / "Dockerfile").read_text())
    cluster = manifests()[1]["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert user and group["template"]["spec"]["securityContext"]["fsGroup"] == int(user[1])


def test_the_rayjob_names_the_operator_that_knows_its_fields() -> None:
    least = re.search(r"KubeRay \((\d+)\.(\d+) or later\)", (FOLDER / "kuberay-rayjob.yaml").read_text())
    assert "backoffLimit" in manifests()[1]["spec"]
    assert least and (int(least[1]), int(least[2])) >= (1, 2), "spec.backoffLimit came with KubeRay 1.2"


def test_the_rays_of_the_rayjob_and_of_the_constraints_are_one() -> None:
    pinned = re.search(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned and manifests()[1]["spec"]["rayClusterSpec"]["rayVersion"] == pinned[1]


def test_the_script_for_slurm_is_a_script() -> None:
    subprocess.run(["bash", "-n", str(FOLDER / "slurm.sh")], check=True)
    text = (FOLDER / "slurm.sh").read_text()
    hours = float(re.search(r"HOURS:-([\d.]+)", text)[1])  # type: ignore[index]
    limit = int(re.search(r"--time=(\d+):00:00", text)[1])  # type: ignore[index]
    assert limit - 1 < hours < limit, "raypeft must stop by itself before SLURM ends the job"


STUBS = {
    "scontrol": "echo node-7; echo node-8",
    "srun": 'for word in "$@"; do echo "$word"; done > "$SAID"; env | grep ^RAY_ >> "$SAID"',
}
JOB = {"SLURM_JOB_NODELIST": "node-[7-8]", "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_PER_TASK": "16",
       "SLURM_GPUS_ON_NODE": "2"}  # fmt: skip


def submitted(folder: Path) -> list[str]:
    """What `slurm.sh` gives to `srun`: each word, then the variables of Ray that a step inherits."""
    bin_, said = folder / "bin", folder / "said"
    bin_.mkdir(exist_ok=True)
    (bin_ / "activate").touch()
    for name, does in STUBS.items():
        (bin_ / name).write_text(f"#!/bin/bash\n{does}\n")
        (bin_ / name).chmod(0o755)
    path = f"{bin_}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    given = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    subprocess.run(["bash", str(FOLDER / "slurm.sh"), "sweeps/rq2.yaml"], check=True, cwd=folder,
                   env=given | JOB | {"PATH": path, "VENV": str(folder), "SAID": str(said)})  # fmt: skip
    return said.read_text().splitlines()


def test_under_slurm_each_node_gets_its_cores_and_waits_for_the_others(tmp_path: Path) -> None:
    said = submitted(tmp_path)
    assert said.index("--cpus-per-task=16") < said.index("ray"), "since SLURM 22.05 srun does not take it from sbatch"
    assert said[said.index("--address") + 1] == "node-7:6379" and said[said.index("--min-nodes") + 1] == "2"
    assert {"--num-cpus=16", "--num-gpus=2", "RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300"} <= set(said)
    assert "#SBATCH --exclusive\n" in (FOLDER / "slurm.sh").read_text(), "ray stop ends the Rays of other jobs"


def test_each_job_under_slurm_has_a_token_of_its_own(tmp_path: Path) -> None:
    said = submitted(tmp_path), submitted(tmp_path)
    assert all("RAY_AUTH_MODE=token" in each for each in said)
    (first,), (second,) = ([line for line in each if line.startswith("RAY_AUTH_TOKEN=")] for each in said)
    assert first != second and len(first) > 60


@pytest.mark.parametrize("name", LAUNCHED)
def test_all_nodes_of_rays_launcher_have_one_token_and_send_it(name: str, tmp_path: Path) -> None:
    config = prepared(name)
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    for steps in (config["head_setup_commands"], config["worker_setup_commands"]):
        (tmp_path / ".bashrc").write_text("")
        ours = [step for step in steps if "RAY_AUTH_MODE" in step]
        script = "; ".join([*ours, *ours, ". ~/.bashrc", "echo $RAY_AUTH_MODE"])
        bare = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
        done = subprocess.run(["bash", "-c", script], env=bare, capture_output=True, text=True, check=True)
        assert done.stdout == "token\n" and (tmp_path / ".bashrc").read_text().count("\n") == 1


def commands() -> list[str]:
    """The sweeps that the files run, as one line each."""
    job = [manifests()[1]["spec"]["entrypoint"]]
    launchers = "\n".join((FOLDER / name).read_text() for name in ("ray-aws.yaml", "ray-on-premise.yaml"))
    launcher = re.findall(r'--screen "python -m (raypeft [^"]+)"', launchers)
    slurm = re.findall(r"python -m (raypeft\.sweep .*)", (FOLDER / "slurm.sh").read_text())
    return [*job, *launcher, *slurm]


def test_the_sweeps_that_the_files_run_are_commands_of_raypeft() -> None:
    assert len(commands()) == 4
    for line in commands():
        words = shlex.split(line)
        given = words[1:] if words[0] == "raypeft.sweep" else words[2:]
        options = make_parser().parse_intermixed_args(given)
        assert options.address and options.results
