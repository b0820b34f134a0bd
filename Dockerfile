# syntax=docker/dockerfile:1
# raypeft for machines with an NVIDIA GPU. docs/gpu_and_cluster.md says how to build and run it.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS wheel
WORKDIR /source
RUN pip install --no-cache-dir "hatchling>=1.25"
COPY pyproject.toml README.md LICENSE ./
COPY raypeft raypeft
COPY sweeps sweeps
COPY docs docs
RUN python -m hatchling build -t wheel -d /wheels

FROM python:${PYTHON}-slim-bookworm
# PyTorch's wheels bring CUDA with them; the driver comes from the host. For older drivers:
#   docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu126 .
ARG TORCH_INDEX=https://download.pytorch.org/whl/cu130
# The versions that the tests ran with. Torch is a layer of its own: it is large and changes rarely.
COPY constraints.txt /constraints.txt
RUN pip install --no-cache-dir --extra-index-url "${TORCH_INDEX}" --constraint /constraints.txt torch bitsandbytes
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir --extra-index-url "${TORCH_INDEX}" --constraint /constraints.txt \
        "ray[default]" "$(ls /wheels/raypeft-*.whl)[bm25,gguf,optuna,s3]"
# KubeRay asks a node by wget whether it is well.
RUN apt-get update && apt-get install -y --no-install-recommends wget && rm -rf /var/lib/apt/lists/*

# Not root: generated programs run in the sandbox below this user.
RUN useradd --create-home --uid 1000 raypeft && mkdir -m 1777 /cache /study
# For `docker run --user`, whose user has neither a name nor a home.
ENV HOME=/cache USER=raypeft HF_HOME=/cache/huggingface
USER raypeft
WORKDIR /study
ENTRYPOINT ["raypeft"]
CMD ["--help"]
