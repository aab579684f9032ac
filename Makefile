# `make help` lists what there is to do. Everything is installed where it is missing, into .venv.
PYTHON ?= python3
STACK ?= development
APPLICATIONS ?= 100
BIN := .venv/bin
export PULUMI_SKIP_UPDATE_CHECK ?= true
export PATH := $(PATH):$(HOME)/.pulumi/bin

# Where nobody has chosen where states are kept, they are kept here, with a passphrase of their own.
define LOCAL_STATE
if [ -z "$$PULUMI_BACKEND_URL$$PULUMI_ACCESS_TOKEN" ] && ! pulumi whoami --non-interactive >/dev/null 2>&1; then \
	mkdir -p .state; export PULUMI_BACKEND_URL=file://$(CURDIR)/.state; \
	if [ -z "$$PULUMI_CONFIG_PASSPHRASE$$PULUMI_CONFIG_PASSPHRASE_FILE" ]; then \
		[ -f .state/passphrase ] || (umask 077; head -c 32 /dev/urandom | base64 >.state/passphrase); \
		export PULUMI_CONFIG_PASSPHRASE_FILE=$(CURDIR)/.state/passphrase; \
	fi; \
fi
endef

.PHONY: help render test scale lint check up schema requirements clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv/.installed: requirements.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

.venv/.installed-dev: .venv/.installed requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

render: .venv/.installed ## what STACK gives its applications: a summary, and manifests in rendered/STACK
	@$(BIN)/python -m offline $(STACK)

test: lint ## every test that this machine can run, and why it cannot run the others
	@$(BIN)/python -m pytest --numprocesses 3 --dist loadgroup

scale: .venv/.installed-dev ## how long APPLICATIONS (100) applications with a database each on two servers take; half an hour
	@SCALE_APPLICATIONS=$(APPLICATIONS) $(BIN)/python -m pytest -s tests/e2e/test_scale.py

lint: .venv/.installed-dev ## format, style and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

up: .venv/.installed .pulumi ## pulumi up of STACK, after setting up what is missing; UP=--yes asks nothing
	@$(LOCAL_STATE) && pulumi stack select --create $(STACK) && pulumi up --stack $(STACK) $(UP)

check: .venv/.installed .pulumi ## whether the external servers of STACK can be reached and used
	@$(LOCAL_STATE) && pulumi stack select --create $(STACK) && $(BIN)/python -m stacks check $(STACK)

.PHONY: .pulumi
.pulumi:
	@command -v pulumi >/dev/null || curl -fsSL https://get.pulumi.com | sh

schema: .venv/.installed ## writes stacks/schema.json from the models
	@$(BIN)/python -m stacks.schema

requirements: .venv/.installed-dev ## pins the newest packages that requirements*.in allow
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --upgrade --python-version 3.11 --custom-compile-command 'make requirements' requirements.in -o requirements.txt
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --upgrade --python-version 3.11 --custom-compile-command 'make requirements' requirements-dev.in -o requirements-dev.txt

clean: ## removes what was installed and rendered
	rm -rf .venv rendered
