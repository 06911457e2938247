# clsp on a CPU:
#   docker build -t clsp .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD":/data clsp run --data photos --out run
FROM python:3.11-slim

# PyTorch's own index has the build for CPUs, which is gigabytes smaller than the usual one.
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu torch torchvision

COPY pyproject.toml README.md LICENSE /src/
COPY src /src/src
RUN pip install --no-cache-dir "/src[onnx]" && rm -r /src

# Whoever --user names may write here; decoded images are kept as long as the container is.
ENV CLSP_CACHE=/tmp/clsp HOME=/tmp
WORKDIR /data
ENTRYPOINT ["clsp"]
CMD ["--help"]
