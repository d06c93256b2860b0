package bench

import (
	"fmt"
	"slices"
	"time"
)

// load is what a client tells of a server: requests in a second, and how long half and all but one in a hundred took at most.
type load struct {
	rate     float64
	p50, p99 time.Duration
}

// loadSeries are those of one server under one load.
type loadSeries struct{ rate, p50, p99 *Series }

func newLoadSeries(what, kind string) *loadSeries {
	return &loadSeries{newRate(what + ": " + kind), &Series{Name: what + ", p50: " + kind}, &Series{Name: what + ", p99: " + kind}}
}

func (s *loadSeries) add(l load) {
	s.rate.addRate(l.rate)
	s.p50.add(l.p50)
	s.p99.add(l.p99)
}

// sumLoads compares all with the first, of whose rate the last is to reach a part, and lists rates, then latencies.
func sumLoads(rows []*loadSeries, least float64) (list []*Series) {
	for _, of := range []func(*loadSeries) *Series{
		func(s *loadSeries) *Series { return s.rate }, func(s *loadSeries) *Series { return s.p50 }, func(s *loadSeries) *Series { return s.p99 },
	} {
		for i, row := range rows {
			s := of(row)
			switch {
			case i == 0:
				s.sum(nil, 0)
			case s.Rate && i == len(rows)-1:
				s.sum(of(rows[0]), least)
			default:
				s.sum(of(rows[0]), 0)
			}
			list = append(list, s)
		}
	}
	return list
}

// scaled is what more and more servers of a kind do together: a series for each number of them.
type scaled struct {
	what, kind string
	counts     []int
	series     []*Series
}

func newScaled(what, kind string, counts []int) *scaled {
	s := &scaled{what: what, kind: kind, counts: counts}
	for _, n := range counts {
		servers := "servers"
		if n == 1 {
			servers = "server"
		}
		s.series = append(s.series, newRate(fmt.Sprintf("%s, %d %s: %s", what, n, servers, kind)))
	}
	return s
}

// addScaled compares kinds with the first, number by number, and says of each what the most do, of what one does.
func (r *Report) addScaled(list []*scaled) {
	for j := range list[0].series {
		for i, s := range list {
			if i == 0 {
				s.series[j].sum(nil, 0)
			} else {
				s.series[j].sum(list[0].series[j], 0)
			}
			r.Series = append(r.Series, s.series[j])
		}
	}
	for _, s := range list {
		one, most := s.series[0], s.series[len(s.series)-1]
		r.Values = append(r.Values, Value{Name: fmt.Sprintf("%s, %d servers to 1: %s", s.what, slices.Max(s.counts), s.kind), Value: most.PerSecond / one.PerSecond, Unit: "times"})
	}
}
