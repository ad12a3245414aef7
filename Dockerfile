# The pinned environment and the project, for machines without Python 3.11 and for the record:
#     docker build -t lipschitz .
#     mkdir -p out && docker run --rm --user "$(id -u):$(id -g)" -v "$PWD/out:/out" lipschitz figures/double_descent.pdf
# Results, figures and Snakemake's records are written to out/, and a second call goes on with them.
FROM python:3.11-slim-bookworm

# whoever runs it has a name and a home
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 MPLBACKEND=agg HOME=/tmp USER=runner
WORKDIR /workflow

COPY envs/lock.txt envs/lock.txt
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r envs/lock.txt

COPY Snakefile config.yaml LICENSE CITATION.cff ./
COPY rules rules
COPY envs envs
COPY profiles profiles
COPY docs/report docs/report
COPY scripts scripts
RUN python -m compileall -q scripts

USER 1000
VOLUME /out

ENTRYPOINT ["snakemake", "--snakefile", "/workflow/Snakefile", "--directory", "/out", "--cores", "all"]
