# The image runs the command vkweb: its arguments are those of vkweb, `provider` by default.
#   docker build -t virtual-kubelet-web:0.2.0 .
ARG PYTHON=3.13-slim-trixie

FROM python:${PYTHON} AS build
WORKDIR /srv
# The environment contains no pip; the pip of this stage installs into it.
RUN python -m venv --without-pip /opt/venv
COPY requirements.txt .
RUN pip --python /opt/venv/bin/python install \
    --no-cache-dir --disable-pip-version-check --only-binary :all: --require-hashes -r requirements.txt
COPY app app
COPY broker broker
COPY conformance conformance
COPY migrations migrations
COPY vkweb vkweb
COPY gunicorn.conf.py wsgi.py ./
RUN /opt/venv/bin/python -m compileall -q app broker conformance migrations vkweb wsgi.py \
    && ln -s /srv/vkweb/__main__.py /opt/venv/bin/vkweb

FROM python:${PYTHON}
RUN pip uninstall --yes --quiet --root-user-action ignore pip \
    && install -d -m 0700 -o 65532 -g 65532 /data
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv /srv
WORKDIR /srv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DATABASE_URL=sqlite:////data/provider/provider.db \
    RUNTIME_DIRECTORY=/data/runtime
USER 65532:65532
ENTRYPOINT ["vkweb"]
CMD ["provider"]
