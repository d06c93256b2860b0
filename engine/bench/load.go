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

func newLoadSeries(what, kind string, peer int) *loadSeries {
	return &loadSeries{newRate(what+": "+kind, peer), &Series{Name: what + ", p50: " + kind, peer: peer}, &Series{Name: what + ", p99: " + kind, peer: peer}}
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
	peer       int
	counts     []int
	series     []*Series
}

func newScaled(what, kind string, peer int, counts []int) *scaled {
	s := &scaled{what: what, kind: kind, peer: peer, counts: counts}
	for _, n := range counts {
		servers := "servers"
		if n == 1 {
			servers = "server"
		}
		s.series = append(s.series, newRate(fmt.Sprintf("%s, %d %s: %s", what, n, servers, kind), peer))
	}
	return s
}

// byNumber are curves of what servers do together, by how many they are.
func byNumber(title string, list []*scaled) curves {
	p := curves{title: title, xName: "servers", show: rateTick, end: rateText}
	for _, s := range list {
		c := curve{name: s.kind, peer: s.peer}
		for i, n := range s.counts {
			c.x, c.y = append(c.x, float64(n)), append(c.y, s.series[i].PerSecond)
		}
		p.list, p.xTicks = append(p.list, c), c.x
	}
	return p
}

// rateTick is a rate on an axis.
func rateTick(rate float64) string {
	if rate < 1000 {
		return fmt.Sprintf("%g/s", rate)
	}
	return fmt.Sprintf("%gk/s", rate/1000)
}

// rateBars are the rates among series.
func rateBars(title string, list []*Series) bars {
	p := bars{title: title, show: rateTick}
	for _, s := range list {
		if s.Rate && s.N > 0 {
			row := bar{name: s.Name, figure: perSecond(s.Median), peer: s.peer, value: s.PerSecond, low: 1e9 / float64(s.P90), high: 1e9 / float64(s.P10)}
			if s.Target > 0 {
				row.target = s.PerSecond / s.Ratio * s.Target
			}
			p.rows = append(p.rows, row)
		}
	}
	return p
}

// latencyDots are those among series that are no rates.
func latencyDots(list []*Series) dots {
	p := dots{title: "Latencies that the clients tell of each round, logarithmic"}
	for _, s := range list {
		if !s.Rate {
			p.series = append(p.series, s)
		}
	}
	return p
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
