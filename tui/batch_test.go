package tui

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"kxsh/engine"
)

func frames(t *testing.T, s *engine.Snapshot, json bool) string {
	t.Helper()
	var out strings.Builder
	o := Options{Batch: true, JSON: json, Frames: 2, Interval: time.Millisecond, Out: &out}
	if err := Top(context.Background(), &recorder{snap: s}, o); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestPlainFrames(t *testing.T) {
	parts := strings.Split(frames(t, families(), false), "\n\nkxsh top  ")
	if len(parts) != 2 || !strings.HasPrefix(parts[0], "kxsh top  12:30:00") || strings.Count(parts[1], "\n") != 12 {
		t.Errorf("%q", parts)
	}
}

func TestJSONFrames(t *testing.T) {
	dec := json.NewDecoder(strings.NewReader(frames(t, families(), true)))
	for range 2 {
		var s engine.Snapshot
		if err := dec.Decode(&s); err != nil {
			t.Fatal(err)
		}
		if len(s.Processes) != 8 || s.Processes[0].Name != "lone" || s.Processes[7].PID != 8 || s.Host != "h" || s.Pool.Ready != 6 {
			t.Errorf("%+v", s)
		}
	}
	if out := frames(t, snapshot(time.Unix(0, 0)), true); !strings.Contains(out, `"processes":[]`) {
		t.Errorf("%s", out)
	}
}
