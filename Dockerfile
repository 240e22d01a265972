# One image for any x86-64 with or without a GPU. scripts/build-image.sh builds it with whichever engine works;
# docs/image.md says what is in each layer.
#
#   CUDA_ARCHITECTURES    e.g. "75;80;86;89;90;100;120": llama.cpp with CUDA for these. Empty: a CPU-only image
#   BASE_IMAGE            Debian 12, from a mirror where Docker Hub cannot be reached
#   SOURCE, REVISION, VERSION    for the labels
#
# Build secrets, none of which stays: `ca` (a bundle of certificates to trust), `index` (the address of a Python index).
ARG BASE_IMAGE=docker.io/library/debian:bookworm-20250520-slim@sha256:90522eeb7e5923ee2b871c639059537b30521272f10ca86fdbbbb2b75a8c40cd

# The interpreter, and the two libraries that wheels and llama.cpp expect of a system.
FROM ${BASE_IMAGE} AS system
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# Debian keeps only the newest security update of a package, so no version can be pinned.
# hadolint ignore=DL3008
RUN apt-get -qq update \
    && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends \
        ca-certificates libgomp1 libstdc++6 python3 >/dev/null \
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* /usr/share/doc /usr/share/man /usr/share/locale

FROM system AS tools
# hadolint ignore=DL3008
RUN apt-get -qq update \
    && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends \
        cmake g++ ninja-build patch python3-venv >/dev/null \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY scripts/image/with-secrets.sh scripts/image/
COPY requirements/uv.txt requirements/
RUN --mount=type=secret,id=ca --mount=type=secret,id=index \
    python3 -m venv /opt/uv \
    && scripts/image/with-secrets.sh /opt/uv/bin/pip install --quiet --no-cache-dir --require-hashes -r requirements/uv.txt

# llama.cpp. With CUDA the compiler comes from the same wheels as torch's libraries, so that both are of one version.
FROM tools AS llama
ARG CUDA_ARCHITECTURES=""
COPY requirements/llama-cpp.txt requirements/cuda-build.txt requirements/
COPY scripts/build-llama.sh scripts/progress.sh scripts/
COPY scripts/llama-patches scripts/llama-patches
COPY scripts/llama-examine scripts/llama-examine
RUN --mount=type=secret,id=ca --mount=type=secret,id=index \
    if [ -n "$CUDA_ARCHITECTURES" ]; then \
        scripts/image/with-secrets.sh /opt/uv/bin/uv pip install --quiet --no-cache --no-deps --require-hashes \
            --target /opt/cuda -r requirements/cuda-build.txt; \
    fi
RUN --mount=type=secret,id=ca --mount=type=secret,id=index \
    LLAMA_PORTABLE=1 PROGRESS_TAIL=100000 FINETUNE_CACHE=/tmp/cache PYTHON=/opt/uv/bin/python CUDA_WHEELS=${CUDA_ARCHITECTURES:+/opt/cuda} \
    CUDA_RPATH="${CUDA_ARCHITECTURES:+\$ORIGIN/../../lib/python3.11/site-packages/nvidia/cu13/lib}" \
    scripts/image/with-secrets.sh scripts/build-llama.sh >/tmp/built \
    && mkdir -p /opt/finetune-run \
    && mv "$(cat /tmp/built)" /opt/finetune-run/llama.cpp \
    && rm -rf /opt/finetune-run/llama.cpp/vocab /tmp/cache

# Python packages, less what is never loaded, sorted into the layers of the last stage.
FROM tools AS packages
ARG CUDA_ARCHITECTURES=""
COPY requirements/runtime.txt requirements/image-without.txt requirements/
RUN --mount=type=secret,id=ca --mount=type=secret,id=index \
    --mount=type=bind,source=scripts/image/layers.py,target=/src/scripts/image/layers.py \
    python3 -m venv --without-pip /opt/finetune-run \
    && scripts/image/with-secrets.sh /opt/uv/bin/uv pip install --quiet --no-cache --no-deps --require-hashes \
        --compile-bytecode --excludes requirements/image-without.txt --python /opt/finetune-run/bin/python -r requirements/runtime.txt \
    && python3 scripts/image/layers.py ${CUDA_ARCHITECTURES:+--gpu} /opt/finetune-run /layers
COPY job /src/job
RUN install -d /layers/job/opt/finetune-run/lib/python3.11/site-packages \
    && cp -r job /layers/job/opt/finetune-run/lib/python3.11/site-packages/ \
    && python3 -m compileall -q -s /layers/job -p / /layers/job

FROM system
COPY --from=packages /layers/cuda /
COPY --from=packages /layers/torch /
COPY --from=packages /layers/packages /
COPY --from=llama /opt/finetune-run/llama.cpp /opt/finetune-run/llama.cpp
COPY --from=packages /layers/job /
COPY entrypoint.sh /usr/local/bin/finetune-run
# The group is root's: OpenShift runs the container as any user of that group.
RUN --mount=type=bind,source=scripts/image/sbom.py,target=/run/sbom.py \
    useradd --uid 10001 --gid 0 --no-create-home --home-dir /work/home --shell /usr/sbin/nologin finetune \
    && install -d -o 10001 -g 0 -m 0775 /work /work/home /cache \
    && /opt/finetune-run/bin/python /run/sbom.py /opt/finetune-run/sbom.cdx.json
# GKE mounts the driver at /usr/local/nvidia and sets no variable. It is mounted when the container starts, so
# ldconfig's cache cannot know it. entrypoint.sh puts both folders back where a variable of the user replaces these.
ENV PATH=/opt/finetune-run/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/nvidia/bin \
    LD_LIBRARY_PATH=/usr/local/nvidia/lib64 \
    FINETUNE_WORK=/work \
    HOME=/work/home \
    USER=finetune \
    LOGNAME=finetune \
    XDG_CACHE_HOME=/cache \
    HF_HOME=/cache/huggingface \
    HF_HUB_DISABLE_TELEMETRY=1 \
    PYTHONDONTWRITEBYTECODE=1
ARG CUDA_ARCHITECTURES=""
ARG SOURCE=""
ARG REVISION=""
ARG VERSION=""
# What llama.cpp computes on; the launcher reads it (k8s/image.py). An architecture is one of CMake's, e.g. 75 for a T4.
LABEL finetune-run.cuda="${CUDA_ARCHITECTURES:-none}" \
    org.opencontainers.image.title="finetune-run" \
    org.opencontainers.image.description="A spec goes in, fine-tuned GGUF files come out." \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.version="${VERSION}"
USER 10001:0
WORKDIR /work
ENTRYPOINT ["/usr/local/bin/finetune-run"]
CMD ["run"]
