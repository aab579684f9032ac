# `make help` lists the targets. Each target installs the packages that it needs into .venv.
PYTHON ?= python3
STACK ?= development
APPLICATIONS ?= 100
ROUNDS ?= 50
SIZE ?= 1
BIN := .venv/bin
STACK_FILE := stacks/Pulumi.$(notdir $(STACK)).yaml
PULUMI := STACK=$(STACK) scripts/pulumi.sh
TEST := $(BIN)/python -m pytest --numprocesses 3 --dist loadgroup --no-loadscope-reorder
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r

.PHONY: help render up preview destroy refresh config outputs pulumi status backup backups restore check operators test test-slow test-long first-starts memory-loads \
	backup-load disaster-load changes chaos scale password-changes states lint schema images requirements clean .stack

help: ## print this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo 'Variables: STACK=development (default), ARGS="arguments for the command", YES=1 (answer questions with yes)'

.stack:
	@test -f $(STACK_FILE) || { echo "error: $(STACK_FILE) does not exist; existing stacks:" \
		"$$(ls stacks | sed -n 's/^Pulumi\.\(.*\)\.yaml$$/\1/p' | paste -s -d , - | sed 's/,/, /g')" >&2; exit 1; }

.venv/.installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: Python 3.11 or later is required; set PYTHON, for example PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || { echo "creating .venv with $(PYTHON)" >&2; $(PYTHON) -m venv .venv; }
	@echo "installing $$(grep -c == $<) packages of $< in .venv; the first time takes a minute" >&2
	@$(INSTALL) $<
	@touch $@

.venv/.installed-dev: requirements-dev.txt .venv/.installed
	@echo "installing $$(grep -c == $<) packages of $< in .venv" >&2
	@$(INSTALL) $<
	@touch $@

render: .stack .venv/.installed ## show what STACK creates: a summary, and a page and manifests in rendered/STACK (no cluster)
	@$(BIN)/python -m offline $(notdir $(STACK)) $(ARGS)

up: .stack .venv/.installed ## deploy STACK (pulumi up)
	@$(PULUMI) up --stack $(STACK) $(if $(YES),--yes) $(ARGS)

preview: .stack .venv/.installed ## show what `make up` would change (pulumi preview)
	@$(PULUMI) preview --stack $(STACK) $(ARGS)

destroy: .stack .venv/.installed ## delete everything that STACK created, with its data (pulumi destroy --refresh)
	@$(PULUMI) destroy --stack $(STACK) --refresh $(if $(YES),--yes) $(ARGS)

refresh: .stack .venv/.installed ## compare the state of STACK with the cluster, and update the state (pulumi refresh)
	@$(PULUMI) refresh --stack $(STACK) $(if $(YES),--yes) $(ARGS)

config: .stack ## print the configuration of STACK, without secrets (pulumi config)
	@$(PULUMI) config --stack $(STACK)

outputs: .stack ## print the outputs of STACK (pulumi stack output)
	@$(PULUMI) stack output --stack $(STACK) $(ARGS)

pulumi: .stack .venv/.installed ## run another command of Pulumi for STACK: make pulumi ARGS="stack history"
	@$(PULUMI) $(ARGS)

status: .stack .venv/.installed ## print the state of every database of STACK; ARGS=--json prints JSON (pulumi stack export)
	@$(PULUMI) status $(ARGS)

backup: .stack .venv/.installed ## save GROUP=shop.postgresql.main now, or verify its newest backup with VERIFY=1 (pulumi stack export)
	@$(PULUMI) backup --group "$(GROUP)" $(if $(VERIFY),--verify) $(ARGS)

backups: .stack .venv/.installed ## list the backups of STACK, or of GROUP; ARGS=--json prints JSON (pulumi stack export)
	@$(PULUMI) backups --group "$(GROUP)" $(ARGS)

restore: .stack .venv/.installed ## restore SNAPSHOT=latest of GROUP=shop.postgresql.main INTO=shop.postgresql.copy; OVERWRITE=1 deletes its data first (pulumi config)
	@$(PULUMI) restore --group "$(GROUP)" --snapshot "$(SNAPSHOT)" --into "$(INTO)" $(if $(OVERWRITE),--overwrite) $(ARGS)

check: .stack .venv/.installed ## check the cluster, the external servers and the backup stores of STACK, as `make up` does first (pulumi config)
	@$(PULUMI) check

operators: .stack .venv/.installed ## print the operators that STACK needs, and the commands that install them
	@$(BIN)/python -m stacks operators $(notdir $(STACK))

test: lint ## run the linters and tests (a quarter of an hour); skips tests whose requirements are missing
	@$(TEST) -m 'not slow and not long'

test-slow: .venv/.installed-dev ## run the tests that take long: killed updates and servers, password changes, pages (a quarter of an hour)
	@$(TEST) -m 'slow and not long'

test-long: .venv/.installed-dev ## run operators of clusters, and backups of every engine, on a node with containers (an hour)
	@$(TEST) -m long

first-starts: .venv/.installed-dev ## kill servers in their first start and under writes, and correct faulty ones (20 minutes)
	@FIRST_STARTS=20 $(BIN)/python -m pytest -s tests/e2e/test_first_start.py tests/e2e/test_recovery.py

memory-loads: .venv/.installed-dev ## run loads on servers with little memory, and print the peaks (twenty minutes)
	@MEMORY_LOADS=1 $(BIN)/python -m pytest -s tests/e2e/test_memory.py

chaos: .venv/.installed-dev ## kill ROUNDS (50) updates at random moments, and finish each with the next one (an hour)
	@CHAOS_ROUNDS=$(ROUNDS) $(BIN)/python -m pytest -s tests/e2e/test_chaos.py

scale: .venv/.installed-dev ## measure the deployment of APPLICATIONS (100) applications on two database servers (half an hour)
	@SCALE_APPLICATIONS=$(APPLICATIONS) $(BIN)/python -m pytest -s tests/e2e/test_scale.py

password-changes: .venv/.installed-dev ## change the passwords of provisioned databases ten times while clients log in (six minutes)
	@PASSWORD_CHANGES=10 $(BIN)/python -m pytest -s tests/e2e/test_password_change.py

backup-load: .venv/.installed-dev ## measure backups and a restore of a PostgreSQL database with SIZE (1) GiB (ten minutes)
	@BACKUP_LOAD=$(SIZE) $(BIN)/python -m pytest -s tests/e2e/test_backup_load.py

disaster-load: .venv/.installed-dev ## lose a group with SIZE (1) GiB, and restore it from its backup with one update (ten minutes)
	@DISASTER_LOAD=$(SIZE) $(BIN)/python -m pytest -s tests/e2e/test_backup.py -k large_database

changes: .venv/.installed-dev ## apply every edit of docs/changes.md to a deployed stack (twenty minutes)
	@EVERY_CHANGE=1 $(BIN)/python -m pytest tests/e2e/test_changes.py

states: .venv/.installed-dev ## record the states of the example stacks for the tests of later releases
	@RECORD_STATES=1 $(BIN)/python -m pytest tests/e2e/test_persisted_states.py

lint: .venv/.installed-dev ## check format, style, types and shell scripts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/shellcheck scripts/*.sh .ci/run components/engines/scripts/*.sh components/engines/scripts/*/*.sh components/copies/scripts/*.sh

schema: .venv/.installed ## write stacks/schema.json, docs/reference.md, docs/changes.md and the tables of engines
	@$(BIN)/python -m stacks schema

images: .venv/.installed ## pin the newest release of each series of the official images, and write the tables of engines
	@$(BIN)/python -m stacks images
	@$(BIN)/python -m stacks schema

requirements: .venv/.installed-dev ## pin the newest packages that requirements*.in allow
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --upgrade --python-version 3.11 --custom-compile-command 'make requirements' requirements.in -o requirements.txt
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --upgrade --python-version 3.11 --custom-compile-command 'make requirements' requirements-dev.in -o requirements-dev.txt

clean: ## remove .venv and rendered
	rm -rf .venv rendered
