package privcmd

import (
	"os"
	"path/filepath"
	"testing"
)

func TestControlDomain(t *testing.T) {
	for _, test := range []struct {
		name                   string
		capabilities, features string // "" where there is no such file
		want                   bool
	}{
		{"no Xen", "", "", false},
		{"dom0", "control_d\n", "000228f0\n", true},
		{"dom0 without xenfs", "", "000228f0\n", true},
		{"domU", "\n", "00022080\n", false},
		{"domU without xenfs", "", "00022080\n", false},
		{"nonsense", "", "dom0\n", false},
	} {
		root := t.TempDir()
		for name, text := range map[string]string{"proc/xen/capabilities": test.capabilities, "sys/hypervisor/properties/features": test.features} {
			if text == "" {
				continue
			}
			file := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := controlDomain(root); got != test.want {
			t.Errorf("%s: %t", test.name, got)
		}
	}
}
