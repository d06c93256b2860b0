package engine

import (
	"context"
	"path/filepath"
	"reflect"
	"testing"
)

// Who asks for no listing of ours gets the same as JSON.
func TestListingAsJSON(t *testing.T) {
	ctx := context.Background()
	e, _ := testEngine(t)
	c := viaSocket(t, e).(*Client)
	pid := launch(t, c, "sleep")
	ours, err := c.Snapshot(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	json := new(Snapshot)
	if err := c.call(ctx, "GET", "/v1/pvms", nil, json); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Snapshot{ours, json} {
		if s.Time.IsZero() || s.Uptime <= 0 || len(s.Processes) != 1 || s.Processes[0].PID != pid {
			t.Fatalf("%+v", s)
		}
		s.Time, s.Uptime, s.Processes[0].Time, s.Processes[0].CPU = ours.Time, 0, 0, 0 // they go on
	}
	if !reflect.DeepEqual(ours, json) {
		t.Errorf("ours %+v\nJSON %+v", ours, json)
	}
}

// A client that outlives its engine starts the next one with its next request, whatever that is.
func TestClientStartsTheNextEngine(t *testing.T) {
	ctx := context.Background()
	e, _ := testEngine(t)
	path := filepath.Join(t.TempDir(), "s")
	var s *Server
	started := 0
	start := func(context.Context) error {
		ln, err := Listen(path)
		if err != nil {
			return err
		}
		started++
		s = NewServer(e, ln)
		go s.Serve()
		return nil
	}
	c, err := Connect(ctx, path, start)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i, ask := range []func() error{
		func() error { _, err := c.Snapshot(ctx, false); return err },
		func() error { return c.PoolResize(ctx, PoolBlank, 0) },
		func() error { _, err := c.Info(ctx); return err },
		func() error { return c.PoolResize(ctx, PoolBlank, 0) },
	} {
		if err := ask(); err != nil || started != i+1 {
			t.Errorf("request %d: %v, %d engines", i+1, err, started)
		}
		s.Close()
	}
}
