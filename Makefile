# `make help` lists the targets. Each target installs the packages that it needs into .venv.
PYTHON ?= python3
STACK ?= development
APPLICATIONS ?= 100
BIN := .venv/bin
STACKS = $(sort $(patsubst stacks/Pulumi.%.yaml,%,$(wildcard stacks/Pulumi.*.yaml)))
export PULUMI_SKIP_UPDATE_CHECK ?= true
export PATH := $(PATH):$(HOME)/.pulumi/bin

# Without a Pulumi login, the state is in .state/ and is encrypted with the passphrase in .state/passphrase.
# Git ignores both. Back them up: they contain every generated password.
define LOCAL_STATE
if [ -z "$$PULUMI_BACKEND_URL$$PULUMI_ACCESS_TOKEN" ] && ! pulumi whoami --non-interactive >/dev/null 2>&1; then \
	mkdir -p .state; export PULUMI_BACKEND_URL=file://$(CURDIR)/.state; \
	if [ -z "$$PULUMI_CONFIG_PASSPHRASE$$PULUMI_CONFIG_PASSPHRASE_FILE" ]; then \
		[ -f .state/passphrase ] || (umask 077; head -c 32 /dev/urandom | base64 >.state/passphrase); \
		export PULUMI_CONFIG_PASSPHRASE_FILE=$(CURDIR)/.state/passphrase; \
	fi; \
fi
endef

.PHONY: help render test scale states lint check up schema requirements clean

help: ## print this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv/.installed: requirements.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

.venv/.installed-dev: .venv/.installed requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

render: .venv/.installed ## render the manifests of STACK to rendered/STACK and print a summary (no cluster)
	@$(BIN)/python -m offline $(STACK)

test: lint ## run the linters and tests; skips tests whose requirements are missing
	@$(BIN)/python -m pytest --numprocesses 3 --dist loadgroup

scale: .venv/.installed-dev ## measure the deployment of APPLICATIONS (100) applications on two database servers (half an hour)
	@SCALE_APPLICATIONS=$(APPLICATIONS) $(BIN)/python -m pytest -s tests/e2e/test_scale.py

states: .venv/.installed-dev ## record the states of the example stacks for the tests of later releases
	@RECORD_STATES=1 $(BIN)/python -m pytest tests/e2e/test_persisted_states.py

lint: .venv/.installed-dev ## check format, style, types and shell scripts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/shellcheck components/engines/scripts/*/*.sh

up: .stack-file .venv/.installed .pulumi ## deploy STACK with pulumi up; UP=--yes skips the confirmation
	@$(LOCAL_STATE) && pulumi stack select --create $(STACK) && pulumi up --stack $(STACK) $(UP)

check: .stack-file .venv/.installed .pulumi ## check the external servers of STACK (network, TLS, login, privileges)
	@$(LOCAL_STATE) && pulumi stack select --create $(STACK) && $(BIN)/python -m stacks check $(STACK)

.PHONY: .stack-file .pulumi
# `pulumi stack select --create` would create an empty stack for a misspelt name.
.stack-file:
	@[ -f stacks/Pulumi.$(notdir $(STACK)).yaml ] || { \
		echo "error: stacks/Pulumi.$(notdir $(STACK)).yaml does not exist; existing stacks: $(STACKS)" >&2; exit 1; \
	}

.pulumi:
	@command -v pulumi >/dev/null || curl -fsSL https://get.pulumi.com | sh

schema: .venv/.installed ## write stacks/schema.json and docs/reference.md from the models
	@$(BIN)/python -m stacks schema

requirements: .venv/.installed-dev ## pin the newest packages that requirements*.in allow
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --upgrade --python-version 3.11 --custom-compile-command 'make requirements' requirements.in -o requirements.txt
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --upgrade --python-version 3.11 --custom-compile-command 'make requirements' requirements-dev.in -o requirements-dev.txt

clean: ## remove .venv and rendered
	rm -rf .venv rendered
