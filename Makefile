# `make help` lists the targets. Each stops with one line that says what to install where a tool is missing.

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CARGO ?= cargo
TEST_FEATURES := --features test-hooks
BINARY := target/release/edge-service
CONFIG := config/edge-service.toml

# The INT8 form of the shipped model. It is made on the box, since how to quantise best depends on the processor.
INT8 := models/digits/model_int8.onnx
INT8_FROM := models/digits/model.onnx models/digits/model.toml $(wildcard models/digits/frames/*)
QUANTIZER ?= $(BINARY)

FIXTURE_SCRIPTS := $(sort $(wildcard tests/python/make_*.py))
FIXTURES := target/fixtures/made

# Stops with the line that scripts/need says, and no other.
need = $(call stop-if,$(shell scripts/need $(1) 2>&1))
stop-if = $(if $(1),$(error $(1)))

.PHONY: help build runtime run quantize test smoke test-system check bench fmt docs fixtures licences clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

build: ## the release binary, target/release/edge-service
	$(call need,cargo)
	@$(CARGO) build --release --locked

runtime: ## fetch ONNX Runtime into .runtime
	@scripts/fetch-runtime

run: ## fetch ONNX Runtime, build, and serve models/digits on http://127.0.0.1:8080 until Ctrl-C
	$(call need,cargo)
	@scripts/fetch-runtime
	@$(CARGO) build --release --locked
	@$(MAKE) $(INT8)
	@exec $(BINARY) run --config $(CONFIG)

quantize: build ## the INT8 form of the shipped model, models/digits/model_int8.onnx, where it is older than the model
	@$(MAKE) $(INT8)

$(INT8): $(INT8_FROM)
	@scripts/fetch-runtime
	@[ -x $(QUANTIZER) ] || $(MAKE) build
	@$(QUANTIZER) quantize --model models/digits/model.onnx --output $@ --calibration models/digits/frames --limit 64

test: check fixtures ## all that a change must pass: lints, documentation, licences, the shipped model, every test
	@scripts/fetch-runtime
	@.venv/bin/python models/digits/check.py
	@$(CARGO) build --locked $(TEST_FEATURES)
	@$(MAKE) $(INT8) QUANTIZER=target/debug/edge-service
	@$(CARGO) test --locked $(TEST_FEATURES)

smoke: ## fifteen cases against a running daemon, in under a minute; they are part of `make test`
	$(call need,cargo)
	@scripts/fetch-runtime
	@$(CARGO) test --locked $(TEST_FEATURES) --test smoke

test-system: build fixtures ## the release binary against the tools that operators use; installs Debian packages when root
	@scripts/fetch-runtime
	@scripts/test-system

check: ## formatting, lints, documentation and licences, without the tests
	$(call need,cargo python3)
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --locked --all-targets $(TEST_FEATURES) -- -D warnings
	@RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps
	@scripts/check-licences

bench: fixtures ## the benchmarks
	$(call need,cargo)
	@scripts/fetch-runtime
	@$(CARGO) bench --locked

fmt: ## format the Rust code
	$(call need,cargo)
	@$(CARGO) fmt --all

docs: ## the documentation of the code, target/doc/edge_service/index.html
	$(call need,cargo)
	@RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps

fixtures: $(FIXTURES) ## the small models and files that the tests read, in target/fixtures

$(FIXTURES): $(FIXTURE_SCRIPTS) tests/python/requirements.txt scripts/make-venv
	$(call need,python3 venv)
	@scripts/make-venv
	@rm -rf target/fixtures && mkdir -p target/fixtures
	@for script in $(FIXTURE_SCRIPTS); do .venv/bin/python $$script target/fixtures || exit 1; done
	@touch $@

licences: ## the licences of all dependencies against deny.toml
	$(call need,cargo python3)
	@scripts/check-licences

clean: ## what was built; .runtime and .venv, which were downloaded, stay
	@rm -rf target
