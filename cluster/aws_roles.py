"""The roles that ray-aws.yaml names, made once for an AWS account:   python cluster/aws_roles.py BUCKET

Both read and write the bucket. The head may start and stop instances besides, and give them the role of a worker.
"""

import json
import sys
from contextlib import suppress
from typing import Any

import boto3

HEAD, WORKER = "raypeft-head", "raypeft-worker"
MACHINES = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}


def make_roles(bucket: str) -> None:
    """Make what is not there yet; what is there gets these permissions."""
    iam = boto3.client("iam")
    of_bucket = {
        "Effect": "Allow",
        "Action": "s3:*",
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
    }
    worker = make_role(iam, WORKER, [of_bucket])
    make_role(iam, HEAD, [of_bucket, {"Effect": "Allow", "Action": "iam:PassRole", "Resource": worker}])
    iam.attach_role_policy(RoleName=HEAD, PolicyArn="arn:aws:iam::aws:policy/AmazonEC2FullAccess")


def make_role(iam: Any, name: str, permissions: list[dict[str, Any]]) -> str:
    """A role that machines can have, by an instance profile of the same name. Returns its ARN."""
    steps = (
        lambda: iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy(MACHINES)),
        lambda: iam.create_instance_profile(InstanceProfileName=name),
        lambda: iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name),
    )
    for step in steps:
        with suppress(iam.exceptions.EntityAlreadyExistsException, iam.exceptions.LimitExceededException):
            step()
    iam.put_role_policy(RoleName=name, PolicyName="raypeft", PolicyDocument=policy(*permissions))
    return str(iam.get_role(RoleName=name)["Role"]["Arn"])


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("expected the name of the bucket for results: python cluster/aws_roles.py BUCKET")
    make_roles(sys.argv[1])
