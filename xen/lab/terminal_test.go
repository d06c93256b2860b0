package lab

import "testing"

func TestKeys(t *testing.T) {
	for _, test := range []struct {
		name    string
		open    bool
		typed   []string
		keys    string
		leaving bool
	}{
		{"plain", true, []string{"ls\r"}, "ls\r", false},
		{"interrupt goes to the command", true, []string{"\x03"}, "\x03", false},
		{"interrupt while booting", false, []string{"\x03"}, "", true},
		{"escape", true, []string{"ab\x01x"}, "", true},
		{"escape in two reads", true, []string{"\x01", "x"}, "", true},
		{"escaped escape", true, []string{"\x01\x01x"}, "\x01x", false},
		{"escape and another key", true, []string{"\x01bx"}, "bx", false},
	} {
		k := &keyboard{}
		k.open.Store(test.open)
		got, leaving := "", false
		for _, typed := range test.typed {
			var keys []byte
			keys, leaving = k.filter([]byte(typed))
			got += string(keys)
		}
		if got != test.keys || leaving != test.leaving {
			t.Errorf("%s: %q, leaving %t: want %q, %t", test.name, got, leaving, test.keys, test.leaving)
		}
	}
}
