# port.mk: what the ports' makefiles share. Set PORT, PACKAGE and VERSION (lib/sources.sha256 has its
# checksum) and include this file.
#
# $(BUILD)/kx and $(BUILD)/native are two copies of the unmodified source, for the two builds.

TOP := $(abspath $(dir $(lastword $(MAKEFILE_LIST)))../..)
BUILD := $(TOP)/build/ports/$(PORT)
KXCC := $(TOP)/build/guest/kxcc

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.PHONY: all clean FORCE

# The driver is rewritten only when it, the LibOS or libc has changed.
$(KXCC): FORCE
	@$(MAKE) --no-print-directory -s -C $(TOP)/guest driver

# zlib's tarball is a .tar.bz2.
define unpack
	@command -v bzip2 >/dev/null || { echo "$(PORT): bzip2: not found: install it: apt-get install bzip2" >&2; exit 1; }
	rm -rf $(@D)
	mkdir -p $(@D)
	tar -x -C $(@D) --strip-components=1 -f "$$($(TOP)/guest/lib/fetch-source.sh $(PACKAGE) $(VERSION))"
	touch $@
endef

# Programs are linked again when the LibOS has changed, compiled again when libc has.
$(BUILD)/kx/.unpacked: $(TOP)/build/guest/musl.done $(TOP)/guest/lib/sources.sha256
	$(unpack)
$(BUILD)/native/.unpacked: $(TOP)/guest/lib/sources.sha256
	$(unpack)
$(TOP)/build/guest/musl.done: $(KXCC)
