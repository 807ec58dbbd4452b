# The image of every service in docker-compose.yml: init, worker, dashboard and report.
#
#   docker build --tag automl-transfer .
#   docker build --tag automl-transfer --build-arg TORCH_INDEX=URL .
#
# TORCH_INDEX is the address of a package index with torch's wheels for one kind of processor, as pytorch.org lists
# them: the one for "CPU" gives an image of a quarter of the size, the one for a CUDA version an image for that GPU.
# Without it, torch comes from pip's usual index: on x86-64 those wheels run on a CPU and use an NVIDIA GPU where the
# container is given one (docker-compose.gpu.yml).
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore

# What changes least comes first. torch is by far the largest, so it has a layer of its own.
WORKDIR /build
ARG TORCH_INDEX=
RUN --mount=type=bind,source=constraints.txt,target=/build/constraints.txt \
    pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} --constraint constraints.txt torch torchvision

# The other dependencies, as pyproject.toml names them, at the versions that were tested.
RUN --mount=type=bind,source=constraints.txt,target=/build/constraints.txt \
    --mount=type=bind,source=pyproject.toml,target=/build/pyproject.toml \
    python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; e = p["optional-dependencies"]; print(*p["dependencies"], *e["timm"], *e["datasets"], *e["postgres"], *e["dashboard"], sep="\n")' \
      > /tmp/requirements.txt && \
    pip install --constraint constraints.txt --requirement /tmp/requirements.txt && rm /tmp/requirements.txt

COPY pyproject.toml README.md LICENSE ./
COPY studies studies
COPY automl_transfer automl_transfer
RUN pip install --no-deps . && rm -r /build/*

# Whoever runs the container may be any user (docker-compose.yml runs as the owner of the secret files), so the
# places to write are open, as /tmp is. Volumes take this over when they are made.
RUN useradd --uid 10001 --create-home --home-dir /home/automl automl && \
    mkdir /cache /data /runs && chmod 1777 /cache /runs /home/automl
ENV HOME=/home/automl USER=automl XDG_CACHE_HOME=/cache TORCH_HOME=/cache/torch HF_HOME=/cache/huggingface
USER automl
WORKDIR /
ENTRYPOINT ["automl-transfer"]
CMD ["--help"]
