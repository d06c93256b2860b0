package lab

import (
	"bytes"
	"testing"
)

const testNonce = "0123456789abcdef"

// TestMarkers feeds a line's bytes in pieces of every size: what is passed on must not depend on it.
func TestMarkers(t *testing.T) {
	for _, test := range []struct {
		name, line, output string
		begun, ended       bool
		status             int
	}{
		{"usual", "noise" + beginMarker(testNonce) + "hello\n" + endMarker(testNonce) + "0\n", "hello\n", true, true, 0},
		{"no newline at the end", beginMarker(testNonce) + "hello" + endMarker(testNonce) + "7\n", "hello", true, true, 7},
		{"silent", beginMarker(testNonce) + endMarker(testNonce) + "255\n", "", true, true, 255},
		{"newlines", beginMarker(testNonce) + "\n\n\n" + endMarker(testNonce) + "1\n", "\n\n\n", true, true, 1},
		{"all bytes", beginMarker(testNonce) + "\x00\xff\r\n\x1b[m" + endMarker(testNonce) + "0\n", "\x00\xff\r\n\x1b[m", true, true, 0},
		{"another's marker", beginMarker(testNonce) + endMarker("feed") + "0\n" + endMarker(testNonce) + "3\n", endMarker("feed") + "0\n", true, true, 3},
		{"after the end", beginMarker(testNonce) + "x" + endMarker(testNonce) + "0\nreboot: Power down\n", "x", true, true, 0},
		{"never begun", "hello" + endMarker(testNonce) + "0\n", "", false, false, 0},
		{"never ended", beginMarker(testNonce) + "Segmentation fault", "Segmentation fault", true, false, 0},
		{"cut off at a newline", beginMarker(testNonce) + "x\n", "x\n", true, false, 0},
		{"cut off in the status", beginMarker(testNonce) + "x" + endMarker(testNonce) + "1", "x" + endMarker(testNonce) + "1", true, false, 0},
	} {
		for size := 1; size <= len(test.line); size++ {
			var out bytes.Buffer
			begun, ended := 0, 0
			m := &markers{nonce: testNonce, out: &out, begin: func() { begun++ }, end: func() { ended++ }}
			for rest := []byte(test.line); len(rest) > 0; {
				n := min(size, len(rest))
				if written, err := m.Write(rest[:n]); written != n || err != nil {
					t.Fatalf("%s in pieces of %d: wrote %d of %d: %v", test.name, size, written, n, err)
				}
				rest = rest[n:]
			}
			if err := m.finish(); err != nil {
				t.Fatal(err)
			}
			if out.String() != test.output || m.begun != test.begun || m.ended != test.ended || m.status != test.status {
				t.Fatalf("%s in pieces of %d: %q, begun %t, ended %t, status %d", test.name, size, out.String(), m.begun, m.ended, m.status)
			}
			if begun > 1 || ended > 1 || begun == 1 != test.begun || ended == 1 != test.ended {
				t.Fatalf("%s in pieces of %d: begin called %d times, end %d", test.name, size, begun, ended)
			}
		}
	}
}

// TestMarkersHoldNothingBack: what cannot be part of a marker is passed on at once.
func TestMarkersHoldNothingBack(t *testing.T) {
	var out bytes.Buffer
	m := &markers{nonce: testNonce, out: &out, begin: func() {}, end: func() {}}
	for _, s := range []string{beginMarker(testNonce), "$ ", "\n@lab is a word"} {
		if _, err := m.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := out.String(), "$ \n@lab is a word"; got != want {
		t.Errorf("passed on %q, want %q", got, want)
	}
}

func TestMarkersRefuseAWrongStatus(t *testing.T) {
	for _, status := range []string{"256\n", "-1\n", "no\n", "12345678"} {
		m := &markers{nonce: testNonce, out: &bytes.Buffer{}, begin: func() {}, end: func() {}}
		if _, err := m.Write([]byte(beginMarker(testNonce) + endMarker(testNonce) + status)); err == nil {
			t.Errorf("status %q: taken for %d", status, m.status)
		}
	}
}
