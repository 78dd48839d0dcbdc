# The one definition of green: CI calls these targets and nothing else.
#
#   make run       set up, build, and run a first container
#   make test      set up, lint, and run every test that this machine can run
#   make test-vm   the tests of control groups v2, in a virtual machine
#   make bench     measure, beside whatever rivals are installed
#   make build     leaves .venv/bin/pycontain
#   make lint      format, lint, types, floors

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: run test test-vm bench build lint format setup apt clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
unexport PYTHONPATH PYTHONHOME

RUST := $(shell find rust -name '*.rs' -o -name 'Cargo.toml' -o -path 'rust/*/data/*' 2>/dev/null) Cargo.toml Cargo.lock
# Debian packages that tests use; without them those tests are skipped and say so.
APT := apache2-utils busybox-static crun docker-registry docker.io e2fsprogs iperf3 iproute2 iptables mmdebstrap nftables openssl podman skopeo \
    uidmap umoci xz-utils zstd

run: build
	@$(BIN)/python tests/first_run.py

# The bytecode, too, as pip has it for users; in the virtual machine, compiling takes each command seconds.
build: $(VENV)/.built
	@$(BIN)/python -m compileall -q python

# `pip install` goes through maturin, as it does for users; -e leaves the Python files where they are.
$(VENV)/.built: $(VENV)/.tools $(RUST) pyproject.toml
	@echo "building pycontain"
	@PIP_QUIET=1 $(BIN)/maturin develop --release --locked --quiet
	@touch $@

# --without-pip: Debian has ensurepip in another package, python3-venv. maturin wants a pip in there.
$(VENV)/.tools: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv --without-pip $(VENV)
	@$(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check \
	    pip 'maturin>=1.12.1,<2' 'msgspec>=0.20' 'rich>=13.8' 'typer>=0.28,<0.29'
	@touch $@

$(VENV)/.test-tools: $(VENV)/.tools
	@$(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check \
	    $$($(BIN)/python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']; print(*(repr(r) for r in p['test'] + p['lint']))" | tr -d "'" )
	@touch $@

apt:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    missing=$$(for p in $(APT); do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done); \
	    if [ -n "$$missing" ]; then echo "installing" $$missing; \
	        (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing) \
	            >/tmp/pycontain-apt.log 2>&1 || { echo "apt-get failed, tests that need these are skipped:" $$missing; tail -3 /tmp/pycontain-apt.log; }; fi; \
	fi

setup: build $(VENV)/.test-tools apt

lint: $(VENV)/.test-tools build
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets --all-features --locked -- -D warnings
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest pycontain._core --ignore-disjoint-bases
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.test-tools
	cargo fmt --all
	$(BIN)/ruff format --quiet .
	$(BIN)/ruff check --quiet --fix .

test: setup lint
	cargo test --quiet --workspace --exclude pycontain-python --locked
	$(BIN)/python -m pytest -q tests

test-vm: setup
	tests/vm/suite --python $(BIN)/python

bench: build
	$(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check 'docker>=7.1' 'matplotlib>=3.10'
	$(BIN)/python benches/start.py --quick
	$(BIN)/python benches/lifecycle.py --quick
	$(BIN)/python benches/density.py --quick
	$(BIN)/python benches/network.py --quick
	$(BIN)/python benches/unpack.py --quick
	$(BIN)/python benches/pull.py --quick
	$(BIN)/python benches/store.py --quick

clean:
	rm -rf target $(VENV) dist
