package main

import (
	"bytes"
	"os"
	"testing"
)

// The reference says what the commands say.
func TestCurrent(t *testing.T) {
	want, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../commands.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("docs/reference/commands.md is not current: run go generate ./docs/...")
	}
}
