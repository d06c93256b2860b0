package privcmd

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// accepts is an interface that answers to one version only, as Xen does.
func accepts(only uint32) func(uint32) error {
	return func(v uint32) error {
		if v != only {
			return &Error{"domctl getdomaininfo", unix.EACCES}
		}
		return nil
	}
}

func TestProbe(t *testing.T) {
	for _, s := range supported {
		v, err := probe(int64(4<<16|s.minor), ".3", accepts(s.domctl), accepts(s.sysctl))
		if err != nil || v.domctl != s.domctl || v.sysctl != s.sysctl {
			t.Errorf("4.%d: %+v, %v", s.minor, v, err)
		}
	}
	for name, c := range map[string]struct {
		release        int64
		domctl, sysctl uint32
	}{
		"4.16":            {4<<16 | 16, 0x14, 0x14},
		"4.22":            {4<<16 | 22, 0x18, 0x16},
		"5.17":            {5<<16 | 17, 0x15, 0x15},
		"4.17 that lies":  {4<<16 | 17, 0x17, 0x15},
		"an other sysctl": {4<<16 | 17, 0x15, 0x16},
	} {
		v, err := probe(c.release, "", accepts(c.domctl), accepts(c.sysctl))
		if err == nil || !strings.Contains(err.Error(), v.String()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := probe(4<<16|17, "", accepts(0x99), accepts(0x15)); err == nil || !strings.Contains(err.Error(), "domctl") {
		t.Errorf("no version: %v", err)
	}
	denied := func(uint32) error { return &Error{"domctl getdomaininfo", unix.EPERM} }
	if _, err := probe(4<<16|17, "", denied, denied); !errors.Is(err, unix.EPERM) {
		t.Errorf("denied: %v", err)
	}
}

func TestBoolOption(t *testing.T) {
	for _, c := range []struct {
		line, name     string
		unsaid, result bool
	}{
		{"", "bootscrub", true, true},
		{"", "scrub-domheap", false, false},
		{"console=com1 bootscrub=idle", "bootscrub", true, true},
		{"no-bootscrub", "bootscrub", true, false},
		{"a bootscrub=0 b", "bootscrub", true, false},
		{"xbootscrub=0 bootscrubx=0", "bootscrub", true, true},
		{"a scrub-domheap b", "scrub-domheap", false, true},
		{"scrub-domheap=on", "scrub-domheap", false, true},
		{"scrub-domheap scrub-domheap=off", "scrub-domheap", false, false},
		{"no-scrub-domheap scrub-domheap=true", "scrub-domheap", false, true},
	} {
		if boolOption(c.line, c.name, c.unsaid) != c.result {
			t.Errorf("%s in %q: %v", c.name, c.line, !c.result)
		}
	}
}
