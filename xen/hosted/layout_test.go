package hosted

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"
)

// TestLayout compares layout.go with what the C compiler makes of stub/state.h.
func TestLayout(t *testing.T) {
	var st stubState
	var mp stubMap
	var start stubStart
	var r zygoteReply
	var fork stubFork
	var remap stubRemap
	want := []struct {
		c     string
		value uint64
	}{
		{"STUB_BASE", stubBase}, {"STUB_STATE_VA", stateVA}, {"STUB_STATE_OFF", stateOff}, {"STUB_STATE_SIZE", stateSize},
		{"STUB_FD_SOCK", fdSock}, {"STUB_FD_CTL", fdCtl}, {"STUB_FD_BELL", fdBell}, {"STUB_FD_RAM", fdRAM},
		{"STUB_FD_IMAGE", fdImage}, {"STUB_FD_TAG", fdTag}, {"STUB_FD_CONTROL", fdControl},
		{"STUB_FD_ENGINE", fdEngine}, {"STUB_FD_LISTENER", fdListen}, {"STUB_FD_ZYGOTE", fdZygote}, {"STUB_PORT_ENGINE", portEngine}, {"STUB_DATA", stubData},
		{"STUB_END_SHUTDOWN", endShutdown}, {"STUB_END_FAULT", endFault},
		{"STUB_MAPS", maxMaps}, {"STUB_LIBRARY", fdLibrary}, {"STUB_TITLE", titleSize}, {"ZYGOTE_SPAWN", zygoteSpawn},
		{"STUB_UID", stubUID}, {"STUB_NOBODY", nobodyUID}, {"STUB_PORT_TIMER", portTimer},
		{"sizeof(struct stub_state)", uint64(unsafe.Sizeof(st))},
		{"offsetof(struct stub_state, built)", uint64(unsafe.Offsetof(st.Built))},
		{"offsetof(struct stub_state, go)", uint64(unsafe.Offsetof(st.Go))},
		{"offsetof(struct stub_state, seq)", uint64(unsafe.Offsetof(st.Seq))},
		{"offsetof(struct stub_state, waits)", uint64(unsafe.Offsetof(st.Waits))},
		{"offsetof(struct stub_state, sleeping)", uint64(unsafe.Offsetof(st.Sleeping))},
		{"offsetof(struct stub_state, rang)", uint64(unsafe.Offsetof(st.Rang))},
		{"offsetof(struct stub_state, ended)", uint64(unsafe.Offsetof(st.Ended))},
		{"offsetof(struct stub_state, reason)", uint64(unsafe.Offsetof(st.Reason))},
		{"offsetof(struct stub_state, no_memory)", uint64(unsafe.Offsetof(st.NoMemory))},
		{"offsetof(struct stub_state, fork)", uint64(unsafe.Offsetof(st.Fork))},
		{"offsetof(struct stub_state, forked)", uint64(unsafe.Offsetof(st.Forked))},
		{"offsetof(struct stub_state, forked_number)", uint64(unsafe.Offsetof(st.Answered))},
		{"offsetof(struct stub_state, map)", uint64(unsafe.Offsetof(st.Map))},
		{"offsetof(struct stub_state, mapped_number)", uint64(unsafe.Offsetof(st.MappedNumber))},
		{"offsetof(struct stub_start, dynamic_pages)", uint64(unsafe.Offsetof(start.DynamicPages))},
		{"sizeof(struct stub_remap)", uint64(unsafe.Sizeof(remap))},
		{"offsetof(struct stub_remap, closes)", uint64(unsafe.Offsetof(remap.Closes))},
		{"offsetof(struct stub_remap, maps)", uint64(unsafe.Offsetof(remap.Maps))},
		{"sizeof(struct stub_fork)", uint64(unsafe.Sizeof(fork))},
		{"offsetof(struct stub_fork, title)", uint64(unsafe.Offsetof(fork.Title))},
		{"offsetof(struct stub_start, frozen)", uint64(unsafe.Offsetof(start.Frozen))},
		{"offsetof(struct stub_start, moved)", uint64(unsafe.Offsetof(start.Moved))},
		{"offsetof(struct stub_start, libraries)", uint64(unsafe.Offsetof(start.Libraries))},
		{"offsetof(struct stub_state, crash)", uint64(unsafe.Offsetof(st.Crash))},
		{"sizeof(struct stub_map)", uint64(unsafe.Sizeof(mp))},
		{"offsetof(struct stub_map, prot)", uint64(unsafe.Offsetof(mp.Prot))},
		{"sizeof(struct stub_start)", uint64(unsafe.Sizeof(start))},
		{"offsetof(struct stub_start, tsc_mul)", uint64(unsafe.Offsetof(start.TSCMul))},
		{"offsetof(struct stub_start, spin)", uint64(unsafe.Offsetof(start.Spin))},
		{"offsetof(struct stub_start, title)", uint64(unsafe.Offsetof(start.Title))},
		{"offsetof(struct stub_start, maps)", uint64(unsafe.Offsetof(start.Maps))},
		{"sizeof(struct zygote_reply)", uint64(unsafe.Sizeof(r))},
		{"offsetof(struct zygote_reply, identity)", uint64(unsafe.Offsetof(r.Identity))},
	}
	var src strings.Builder
	src.WriteString("#include <stddef.h>\n#include \"state.h\"\n")
	for _, w := range want {
		fmt.Fprintf(&src, "_Static_assert(%s == %#x, \"%s\");\n", w.c, w.value, w.c)
	}
	file := filepath.Join(t.TempDir(), "layout.c")
	if err := os.WriteFile(file, []byte(src.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("gcc", "-std=gnu11", "-fsyntax-only", "-Istub", "-I../../guest/include", file).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
