# docker build --tag textdiff .
# For a machine without a GPU, several GB smaller; ADDRESS: PyTorch's index of wheels for the CPU, as its own page says:
# docker build --tag textdiff --build-arg VARIANT=cpu --build-arg TORCH_INDEX=ADDRESS .
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /dist .

FROM python:${PYTHON}-slim
ARG VARIANT=cuda
ARG TORCH_INDEX=
ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    HF_HOME=/data/.cache/huggingface \
    MPLCONFIGDIR=/tmp/matplotlib \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY requirements.lock /tmp/
# The versions with which the tests passed. Wheels for the CPU are other files, which the lock has no digests of.
RUN set -eu; \
    cd /tmp; \
    case "$VARIANT" in \
    cuda) \
        pip install --require-hashes --requirement requirements.lock ;; \
    cpu) \
        sed -n -E 's/^((torch|torchvision)==[^ ]+).*/\1/p' requirements.lock > torch.txt; \
        sed -E '/^(torch|torchvision|triton|nvidia-[a-z0-9-]+|cuda-[a-z]+)==/,/[^\\]$/d' requirements.lock > others.lock; \
        pip install --index-url "${TORCH_INDEX:?give the address of wheels for the CPU}" --requirement torch.txt; \
        pip install --require-hashes --no-deps --requirement others.lock ;; \
    *) \
        echo "VARIANT is $VARIANT; expected cuda or cpu" >&2; exit 1 ;; \
    esac
COPY --from=build /dist /dist
RUN pip install --no-deps --no-index /dist/*.whl && pip check
RUN useradd --create-home --uid 1000 textdiff && mkdir /data && chown textdiff /data
USER textdiff
WORKDIR /data
ENTRYPOINT ["textdiff"]
CMD ["--help"]
