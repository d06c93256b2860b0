# make run    build everything and start an interactive kxsh with the example images at hand
# make test   everything, with the race detector on for Go
# make lab    the same on real Xen: a dom0 in QEMU, fetched once (docs/how-to/lab.md)
# make lab-test   the lab's own tests and those that need Xen, in that dom0
# make        the kxsh binary alone
#
# A fresh Debian 12 with Go, gcc and make is enough: what else is needed (musl's source package, the
# Go modules) is fetched and cached outside the tree.

GO ?= go
GOFLAGS := -trimpath
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

export GO

.PHONY: all run images ports test deps unit guest-test check fuzz generate install clean

all: kxsh

# The binary embeds the SDK and the hosted hypervisor's stub.
kxsh: sdk stub FORCE
	$(GO) build $(GOFLAGS) -ldflags '-X main.version=$(VERSION)' -o $@ .

.PHONY: sdk stub FORCE
sdk:
	$(MAKE) -C guest sdk
stub:
	$(MAKE) -C xen/hosted
FORCE:

# Example images and the guest test program, built by kxsh cc itself.
images: kxsh
	$(MAKE) -C guest apps test

ports: kxsh
	$(MAKE) -C guest/ports

run: images
	cd guest/apps && PATH="$(CURDIR):$$PATH" exec ../../kxsh

test: deps check unit guest-test

# What the tests call beside Go, gcc and make.
deps:
	@.ci/deps

# Format and static checks.
check:
	@fmt=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$fmt" || { echo "not gofmt-ed: $$fmt"; exit 1; }
	$(GO) vet ./...

# Go tests: units, and end to end through the real binary, real pVMs and a real terminal.
unit: images ports
	$(GO) test -race -timeout 30m ./...

# C parts that can be tested natively, with sanitizers.
guest-test:
	$(MAKE) -C guest/kern/test

# Static programs for the lab's dom0, which has no shared libraries.
LAB := build/lab

.PHONY: lab lab-kxsh lab-test
lab-kxsh: images
	CGO_ENABLED=0 $(GO) build $(GOFLAGS) -ldflags '-X main.version=$(VERSION)' -o $(LAB)/kxsh .

lab: lab-kxsh
	set -- -f $(LAB)/kxsh:/usr/bin/kxsh; for image in guest/apps/*.kx; do set -- "$$@" -f "$$image"; done; \
		$(GO) run ./xen/lab/cmd shell "$$@"

lab-test: sdk stub
	mkdir -p $(LAB)
	$(MAKE) -C xen/xentest/guest OUT=$(CURDIR)/$(LAB)/guest.kx
	$(GO) test -tags lab -timeout 30m ./xen/lab/...
	$(GO) run ./xen/lab/cmd test -f $(LAB)/guest.kx -e KX_XENTEST_GUEST=/root/guest.kx ./xen/privcmd -- -test.v

fuzz:
	$(GO) test -run '^$$' -fuzz FuzzParseImage -fuzztime 30s ./elf

generate:
	$(GO) generate ./...

PREFIX ?= /usr/local
install: kxsh
	install -D kxsh $(DESTDIR)$(PREFIX)/bin/kxsh
	install -D -m 644 completions/kxsh.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/kxsh
	install -D -m 644 completions/_kxsh $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_kxsh
	install -D -m 644 completions/kxsh.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/kxsh.fish
	install -D -m 644 engine/systemd/kxsh.socket $(DESTDIR)$(PREFIX)/lib/systemd/system/kxsh.socket
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's|@bindir@|$(PREFIX)/bin|' engine/systemd/kxsh.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/kxsh.service

clean:
	$(MAKE) -C guest clean
	$(MAKE) -C xen/hosted clean
	rm -rf kxsh build
