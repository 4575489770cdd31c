# Thin: every target is a line or two. `make demo` shows the product, `make test` proves it.

musl := $(shell uname -m)-unknown-linux-musl
host := $(shell rustc -vV | sed -n 's/^host: //p')
# Static musl where the target is installed (packaging/setup does that), else static glibc.
ifneq ($(wildcard $(shell rustc --print sysroot)/lib/rustlib/$(musl)),)
target := $(musl)
else
target := $(host)
static := RUSTFLAGS="-C target-feature=+crt-static"
endif

agents := $(notdir $(wildcard agents/*))
target_dir := $(or $(CARGO_TARGET_DIR),target)
out := target/agents
PREFIX ?= /usr
ocf_dir = $(DESTDIR)/usr/lib/ocf/resource.d/bascule
man_dir = $(DESTDIR)$(PREFIX)/share/man/man7
share_dir = $(DESTDIR)$(PREFIX)/share/bascule

.PHONY: build setup demo test model lint bench install clean

# The agents as they ship: target/agents/NAME-agent.
build:
	@$(static) cargo build --quiet --release --target $(target) $(agents:%=-p %-agent)
	@mkdir -p $(out)
	@for agent in $(agents:%=%-agent); do \
	    cmp -s $(target_dir)/$(target)/release/$$agent $(out)/$$agent || \
	    install -m 755 $(target_dir)/$(target)/release/$$agent $(out)/$$agent; done

setup:
	@packaging/setup

# A cluster of three nodes, a virtual IP, and a node that dies. KEEP=1 leaves the cluster to play with.
demo: setup
	@$(MAKE) --no-print-directory build
	@cargo run --quiet -p lab --bin demo

# Everything, for real: lint, then unit, property, protocol and cluster tests. Needs root.
test: setup lint
	@$(MAKE) --no-print-directory build
	cargo test --workspace

# The model of who may lead a mirrored directory, further than `make test` goes: a quarter of an hour, a few GB of memory.
model:
	cargo test --release -p lsync-agent deeper -- --ignored --nocapture

lint:
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps --document-private-items

# Side by side with ocf:heartbeat:IPaddr2, with lsyncd and rsync set up by hand, and with csync2 run by hand; writes docs/benchmarks.md.
bench: setup
	@$(MAKE) --no-print-directory build
	cargo run --quiet --release -p lab --bin bench

install: build
	install -d $(ocf_dir) $(man_dir) $(share_dir)/ocf-metadata
	for agent in $(agents); do \
	    install -m 755 $(out)/$$agent-agent $(ocf_dir)/$$agent && \
	    install -m 644 ocf-metadata/$$agent.xml $(share_dir)/ocf-metadata/ && \
	    $(out)/$$agent-agent --manual >$(man_dir)/ocf_bascule_$$agent.7 || exit 1; done

clean:
	cargo clean
