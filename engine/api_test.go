package engine

import (
	"math"
	"testing"
	"time"
)

func TestRateSince(t *testing.T) {
	before := SharedObject{Kind: KindPipe, ID: 1, TotalBytes: 1000}
	for _, c := range []struct {
		now  SharedObject
		took time.Duration
		want int64 // -1: nobody can tell
	}{
		{SharedObject{Kind: KindPipe, ID: 1, TotalBytes: 3000}, 500 * time.Millisecond, 4000},
		{SharedObject{Kind: KindPipe, ID: 1, TotalBytes: 1000}, time.Second, 0},
		{SharedObject{Kind: KindPipe, ID: 1, TotalBytes: 999}, time.Second, -1}, // another one with the same number
		{SharedObject{Kind: KindPipe, ID: 2, TotalBytes: 3000}, time.Second, -1},
		{SharedObject{Kind: KindQueue, ID: 1, TotalBytes: 3000}, time.Second, -1},
		{SharedObject{Kind: KindPipe, ID: 1, TotalBytes: 3000}, 0, -1},
		{SharedObject{Kind: KindPipe, ID: 1, TotalBytes: math.MaxUint64}, 1, math.MinInt64}, // 2^63, whatever was claimed
	} {
		got := int64(-1)
		if r := c.now.RateSince(&before, c.took); r != nil {
			got = int64(*r)
		}
		if got != c.want {
			t.Errorf("%+v in %v: %d, want %d", c.now, c.took, got, c.want)
		}
	}
	segment := SharedObject{Kind: KindSegment, ID: 1}
	if segment.RateSince(&segment, time.Second) != nil {
		t.Error("nothing goes through a segment")
	}
}
