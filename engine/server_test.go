package engine

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSocket(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	ln, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if fi, _ := os.Stat(path); fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", fi.Mode())
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("a second engine on one socket: %v", err)
	}
	// One that a killed engine left is taken over.
	ln.UnixListener.Close()
	if ln, err = Listen(path); err != nil {
		t.Fatal(err)
	}
	// Another's is not removed.
	os.Remove(path)
	other, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if c, err := net.Dial("unix", path); err != nil {
		t.Errorf("the socket of another engine: %v", err)
	} else {
		c.Close()
	}
	other.Close()
	if _, err := os.Stat(path); err == nil {
		t.Error("the socket outlives its engine")
	}
	os.WriteFile(path, nil, 0o600)
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "in the way") {
		t.Errorf("a file in the way: %v", err)
	}
	if _, err := Connect(context.Background(), filepath.Join(dir, "none"), nil); err == nil || !strings.Contains(err.Error(), "no engine answers") {
		t.Errorf("no engine: %v", err)
	}
}

// Clients that come and go between two looks keep an engine from leaving, as those do that stay.
func TestBusyWithBriefClients(t *testing.T) {
	e, _ := testEngine(t)
	path := filepath.Join(t.TempDir(), "s")
	ln, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(e, ln)
	go s.Serve()
	defer s.Close()
	c, err := Connect(context.Background(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Info(context.Background()); err != nil {
		t.Fatal(err)
	}
	if !s.Busy() || !s.Busy() {
		t.Error("not busy with a client that is there")
	}
	c.Close()
	for s.clients.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
	if s.Busy() {
		t.Error("busy with nobody")
	}
	if c, err = Connect(context.Background(), path, nil); err != nil {
		t.Fatal(err)
	}
	c.Info(context.Background())
	c.Close()
	for s.clients.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
	if !s.Busy() || s.Busy() {
		t.Error("a client that came and went does not count once")
	}
}

// A question that falls into the death of an engine is put to the next one.
func TestQuestionToADyingEngine(t *testing.T) {
	e, _ := testEngine(t)
	dir, err := os.MkdirTemp("", "kx")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	dying, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Connect(context.Background(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() {
		if conn, err := dying.Accept(); err == nil { // Connect's, which is the question's
			conn.Read(make([]byte, 1024))
			conn.Close()
		}
		dying.Close()
		if ln, err := Listen(path); err == nil {
			s := NewServer(e, ln)
			defer s.Close()
			s.Serve()
		}
	}()
	if s, err := c.Snapshot(context.Background(), false); err != nil || s.Hypervisor != "fake" {
		t.Errorf("snapshot %v %v", s, err)
	}
}
