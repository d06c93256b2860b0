package bench

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestAxis(t *testing.T) {
	a := logAxis(150, 80_000, 0, 300)
	if got := a.ticks(); !slices.Equal(got, []float64{100, 1000, 10_000, 100_000}) || a.at(1000) < 99.9 || a.at(1000) > 100.1 || a.at(0) != 0 {
		t.Errorf("%v, %v, %v", got, a.at(1000), a.at(0))
	}
	if a := logAxis(100, 100, 0, 1); a.high != 1000 {
		t.Errorf("%+v", a)
	}
	for high, want := range map[float64][]float64{0: {0, .2, .4, .6, .8, 1}, 95: {0, 20, 40, 60, 80, 100}, 3: {0, .5, 1, 1.5, 2, 2.5, 3}, 1000: {0, 200, 400, 600, 800, 1000}} {
		if got := zeroAxis(high, 0, 1).ticks(); !slices.EqualFunc(got, want, func(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 }) {
			t.Errorf("%v: %v, want %v", high, got, want)
		}
	}
}

// Few of many samples are drawn, the least and the largest among them.
func TestThinned(t *testing.T) {
	var all []time.Duration
	for i := range 5000 {
		all = append(all, time.Duration((i*7)%5000))
	}
	few := thinned(all)
	if len(few) != mostDots || few[0] != 0 || few[mostDots-1] != 4999 || !slices.IsSorted(few) {
		t.Errorf("%d: %v", len(few), few)
	}
}

// Names at the ends of curves do not lie on one another, also of curves that end together.
func TestCurveEnds(t *testing.T) {
	p := curves{list: []curve{{y: []float64{5}}, {y: []float64{5}}, {}, {y: []float64{10}}, {y: []float64{5.01}}}}
	at := p.ends(zeroAxis(10, curveBottom, curveTop))
	shown := []float64{at[0], at[1], at[3], at[4]}
	slices.Sort(shown)
	for i := range shown[1:] {
		if shown[i+1]-shown[i] < 14 {
			t.Errorf("%v", at)
		}
	}
}

// Each kind of plot is whole, whatever there is to draw.
func TestPlots(t *testing.T) {
	native, pvm := newScaled("SET", "native & <b>", 1, []int{1, 8}), newScaled("SET", "pVM", 0, []int{1, 8})
	r := &Report{}
	for i := range 2 {
		native.series[i].addRate(1000)
		pvm.series[i].addRate(500)
	}
	r.addScaled([]*scaled{native, pvm})
	loads := sumLoads([]*loadSeries{newLoadSeries("GET", "native", 1), newLoadSeries("GET", "pVM", 0)}, 0.6)
	many := &Series{Name: "pVM"}
	for i := range 1000 {
		many.add(time.Duration(i+1) * time.Microsecond)
	}
	row := newForkRows(4)
	for _, s := range row.all() {
		s.add(time.Millisecond)
		s.sum(nil, 0)
	}
	larger := newForkRows(64)
	for _, s := range larger.all() {
		s.add(2 * time.Millisecond)
		s.sum(nil, 0)
	}
	for want, list := range map[string][]plot{
		"native &amp; &lt;b&gt;, 1.0k/s": {byNumber("SET", []*scaled{native, pvm}), rateBars("SET", r.Series)},
		"pVM, 501ms":                     {inAll(many, &Series{})},
		"both axes logarithmic":          {inAll(many, &Series{Name: "xl create", All: []time.Duration{time.Second, time.Second}})},
		"4 MiB, Linux fork: child runs":  forkPlots([]*forkRows{row, larger}),
		"":                               {dots{"nothing", loads}, rateBars("nothing", loads), curves{}, goalsMet{}},
	} {
		var b strings.Builder
		for _, p := range list {
			p.draw(&b)
		}
		text := b.String()
		if !strings.Contains(text, want) || want == "" && text != "" || strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
			t.Errorf("%q in\n%s", want, text)
		}
		elements(t, "<div>"+text+"</div>")
	}
}
