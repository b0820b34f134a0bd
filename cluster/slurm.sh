#!/bin/bash
# A sweep on the nodes of a SLURM cluster:   sbatch cluster/slurm.sh sweeps/rq2.yaml
#
# The array runs the same command five times, one after the other, since SLURM ends a job at its time limit. raypeft stops a
# little earlier by itself (time_budget_hours) and saves what runs; the next job goes on. Once all trials are done, the jobs
# that are left end within a minute. Change the lines that begin with #SBATCH to what your cluster has.
# --exclusive: `ray symmetric-run` ends every Ray of yours on its nodes, also that of another job.
#SBATCH --job-name=raypeft
#SBATCH --array=1-5%1
#SBATCH --nodes=2
#SBATCH --exclusive
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=2
#SBATCH --cpus-per-task=16
#SBATCH --mem=64G
#SBATCH --time=08:00:00
#SBATCH --output=raypeft-%A-%a.log
set -euo pipefail

SWEEP=${1:?give a sweep file: sbatch cluster/slurm.sh sweeps/rq2.yaml}
RESULTS=${RESULTS:-$PWD/results}    # on a file system that all nodes have
HOURS=${HOURS:-7.8}                 # below --time
. "${VENV:-.venv}/bin/activate"     # the same environment on all nodes

export RAY_TMPDIR=/tmp/ray-$(id -u) # a short path, on each node's own disk; Ray's notes in /tmp/ray may be another user's
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300   # seconds in which all nodes must be there
# A token of this job alone: another one may lie in the home folder, and others use the network too.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN
nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
first=${nodes%%$'\n'*}
# Debian's /etc/hosts has a machine's own name as 127.0.1.1, by which the head is not known, neither to others nor to itself.
case $(getent ahostsv4 "$first") in 127.*) first=$(hostname -I | cut -d' ' -f1) ;; esac
address="$first:${PORT:-6379}"

# Starts Ray on every node, runs the command on the first one when all are there, and stops Ray.
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --cpus-per-task="$SLURM_CPUS_PER_TASK" \
    ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" -- \
    python -m raypeft.sweep "$SWEEP" --results "$RESULTS" --address auto "time_budget_hours=$HOURS"
