# qgraph's commands. `make check-qtest` runs every path on every emulator found,
# `make check-qtest-ARCH` on the emulators of one architecture, `make check` passes the
# project's own tests.

CARGO ?= cargo
# Where `make install` puts things; DESTDIR comes before it, for packages.
PREFIX ?= /usr/local
# Passed on to `qgraph run`: make check-qtest ARGS='sdhci -j 4'
ARGS ?=

QGRAPH = $(or $(CARGO_TARGET_DIR),target)/release/qgraph
# Content is included by build.rs, where `cargo fmt` does not look.
CONTENT = $(shell find src/machines src/drivers src/tests -name '*.rs')

.PHONY: help
help:
	@echo 'make check-qtest        run every path on every emulator found'
	@echo 'make check-qtest-ARCH   run those of one architecture (x86_64, arm, aarch64, …)'
	@echo 'make check              test qgraph itself: format, lints, docs, unit tests, paths'
	@echo 'make check-guests       build kvm-unit-tests in KVM_UNIT_TESTS=DIR, a checkout, and run them'
	@echo 'make fuzz               fuzz both protocol readers; FUZZ_SECONDS each'
	@echo 'make loaded             run every path while the computer is kept busy: none may hang'
	@echo 'make build              build the program'
	@echo 'make install            install it below PREFIX, with man pages and completions'
	@echo 'make uninstall          remove all that'
	@echo 'make bench              measure speed, as ratios'
	@echo 'make fmt                format all sources'
	@echo "ARGS='FILTER -j N …' is passed on to qgraph run; QGRAPH_INSTALL=0 installs nothing"

.PHONY: check-qtest
check-qtest: qemu
	$(CARGO) build --release --quiet
	$(QGRAPH) run $(ARGS)

check-qtest-%:
	@contrib/ensure-qemu $*
	$(CARGO) build --release --quiet
	$(QGRAPH) run --machine '$*/*' $(ARGS)

# A checkout of https://gitlab.com/kvm-unit-tests/kvm-unit-tests, for this computer's architecture
# unless it is configured already; ARGS='msr --machine q35' is passed on.
KVM_UNIT_TESTS ?=
.PHONY: check-guests
check-guests: qemu
	@test -x '$(KVM_UNIT_TESTS)/configure' || { \
		echo 'error: say where the checkout is: make check-guests KVM_UNIT_TESTS=DIR' >&2; exit 2; }
	cd '$(KVM_UNIT_TESTS)' && { test -f config.mak || ./configure; }
	$(MAKE) -C '$(KVM_UNIT_TESTS)' --no-print-directory
	$(CARGO) build --release --quiet
	$(QGRAPH) run --guests '$(KVM_UNIT_TESTS)' $(ARGS)

# Makes sure that there is an emulator.
.PHONY: qemu
qemu:
	@contrib/ensure-qemu

# Every test on one of its paths, every suite on every device that has it, and every machine. `make check-qtest`
# runs them all.
.PHONY: check
check: qemu
	$(CARGO) fmt --all --check
	rustfmt --edition 2024 --check $(CONTENT)
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --quiet
	QGRAPH_COVER=cases $(CARGO) test
# With both packages, so that nothing is built anew for other features.
	$(CARGO) test -p qgraph -p board-tests --lib the_graph_is_sound
	$(CARGO) test -p qgraph -p board-tests --test paths edu-
	$(CARGO) test -p qgraph -p board-tests --test paths shouted-serial-tests
	$(CARGO) test -p qgraph -p board-tests --test paths system-control-tests

# Needs a nightly Rust and cargo-fuzz (`cargo install cargo-fuzz`). What it finds to be worth
# keeping is in fuzz/corpus; `make check` replays tests/corpus on any Rust.
FUZZ_SECONDS ?= 300
.PHONY: fuzz
fuzz: fuzz-qtest fuzz-qmp
fuzz-%:
	mkdir -p fuzz/corpus/$*
	$(CARGO) +nightly fuzz run $*_reader fuzz/corpus/$* tests/corpus/$* -- \
		-max_len=4096 -timeout=20 -max_total_time=$(FUZZ_SECONDS)

# Three whole runs at once, without bridges, beside programs that take CPUs, memory and disk;
# contrib/loaded says how to have more of it.
.PHONY: loaded
loaded: qemu
	$(CARGO) build --release --quiet
	contrib/loaded $(QGRAPH) $(BEHIND_BRIDGES:%=--skip %) $(ARGS)

.PHONY: build
build:
	$(CARGO) build --release

SHARE = $(DESTDIR)$(PREFIX)/share
BASH = $(SHARE)/bash-completion/completions
ZSH = $(SHARE)/zsh/site-functions
FISH = $(SHARE)/fish/vendor_completions.d

# Does not build: root need not have a cargo.
.PHONY: install
install:
	@test -x $(QGRAPH) || { echo 'error: there is no $(QGRAPH); run make build first' >&2; exit 2; }
	install -d $(DESTDIR)$(PREFIX)/bin $(SHARE)/man/man1 $(BASH) $(ZSH) $(FISH)
	install -m 755 $(QGRAPH) $(DESTDIR)$(PREFIX)/bin/qgraph
	$(QGRAPH) man --output $(SHARE)/man/man1
	$(QGRAPH) completions bash > $(BASH)/qgraph
	$(QGRAPH) completions zsh > $(ZSH)/_qgraph
	$(QGRAPH) completions fish > $(FISH)/qgraph.fish

.PHONY: uninstall
uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/qgraph $(SHARE)/man/man1/qgraph.1 $(SHARE)/man/man1/qgraph-*.1
	rm -f $(BASH)/qgraph $(ZSH)/_qgraph $(FISH)/qgraph.fish

.PHONY: bench
bench: qemu
	$(CARGO) bench

.PHONY: fmt
fmt:
	$(CARGO) fmt --all
	rustfmt --edition 2024 $(CONTENT)
