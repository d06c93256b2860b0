package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kxsh/xen"
	"kxsh/xen/xentest"
)

func TestFailedStartLeavesNothing(t *testing.T) {
	e, host := testEngine(t)
	xentest.GuestPath(t)
	for _, step := range []string{"memory", "boot", "start"} {
		host.Fail(func(s string) error {
			if s == step {
				return fmt.Errorf("%s is out: %w", s, xen.ErrNoMemory)
			}
			return nil
		})
		_, err := e.Run(context.Background(), RunRequest{Image: xentest.GuestPath(t), Args: []string{"sleep"}})
		var own *Error
		if !errors.As(err, &own) || own.Code != CodeLimit || strings.Contains(own.Msg, "\n") {
			t.Errorf("%s fails: %v", step, err)
		}
	}
	host.Fail(nil)
	e.store.fail() // the record cannot be written
	if _, err := e.Run(context.Background(), RunRequest{Image: xentest.GuestPath(t), Args: []string{"sleep"}}); err == nil {
		t.Error("started without a record")
	}
	if ids, _ := e.hv.Domains(); len(ids) != 0 {
		t.Errorf("domains left: %v", ids)
	}
	if s, _ := e.Snapshot(context.Background(), true); len(s.Processes) != 0 {
		t.Errorf("pVMs left: %+v", s.Processes)
	}
	if ents, _ := os.ReadDir(filepath.Join(e.o.State, "logs")); len(ents) != 0 {
		t.Errorf("%d logs left", len(ents))
	}
}

func TestBadRequests(t *testing.T) {
	e, _ := testEngine(t)
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	os.WriteFile(text, []byte("#!/bin/sh\n"), 0o755)
	guest := xentest.GuestPath(t)
	for _, c := range []struct {
		r    RunRequest
		code Code
	}{
		{RunRequest{Image: filepath.Join(dir, "none")}, CodeNoImage},
		{RunRequest{Image: text}, CodeBadImage},
		{RunRequest{Image: dir}, CodeBadImage},
		{RunRequest{Image: "relative"}, CodeInvalid},
		{RunRequest{Image: guest, Memory: 4096}, CodeUsage},
		{RunRequest{Image: guest, Name: "7"}, CodeUsage},
		{RunRequest{Image: guest, Name: "a*"}, CodeUsage},
		{RunRequest{Image: guest, Args: []string{"a\x00b"}}, CodeInvalid},
		{RunRequest{Image: guest, Restart: Restart{Policy: "sometimes"}}, CodeUsage},
		{RunRequest{Image: guest, Root: text}, CodeInvalid},
	} {
		_, err := e.Run(context.Background(), c.r)
		var own *Error
		if !errors.As(err, &own) || own.Code != c.code || strings.Contains(own.Msg, "\n") {
			t.Errorf("%+v: %v, want code %s", c.r, err, c.code)
		}
	}
}

func TestDefaultName(t *testing.T) {
	for image, want := range map[string]string{
		"/a/hello.kx": "hello", "/a/007": "pvm007", "/a/my prog*.kx": "my_prog_", "/a/.kx": "pvm", "/a/-x.kx": "pvm-x",
		"/a/" + strings.Repeat("n", 99): strings.Repeat("n", 63), "/a/" + strings.Repeat("1", 99): "pvm" + strings.Repeat("1", 60),
	} {
		if got := defaultName(image); got != want || !validName(got) {
			t.Errorf("%s: %q, want %q", image, got, want)
		}
	}
}
