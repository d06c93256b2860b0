package bench

import (
	"cmp"
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
	"time"
)

// plot draws itself as SVG, in units of its own.
type plot interface{ draw(b *strings.Builder) }

// The room of a plot: names on the left, figures on the right.
const (
	plotWidth          = 1000.
	nameRoom, textRoom = 365., 85.
	rowHeight          = 21.
	axisHeight         = 24.
	mostDots           = 120 // of a series; the file of samples has all
	dotLanes           = 5   // in which dots of a row are, so that they hide each other less
)

// axis maps values to a place in a plot.
type axis struct {
	low, high float64 // values
	from, to  float64 // places
	log       bool
}

// logAxis has all that is between two values on it, by decades.
func logAxis(low, high, from, to float64) axis {
	a := axis{math.Pow(10, math.Floor(math.Log10(low))), math.Pow(10, math.Ceil(math.Log10(high))), from, to, true}
	if a.low == a.high {
		a.high *= 10
	}
	return a
}

// zeroAxis begins at zero and ends at a tick.
func zeroAxis(high, from, to float64) axis {
	if !(high > 0) {
		high = 1
	}
	step := tickStep(high)
	return axis{0, step * math.Ceil(high/step), from, to, false}
}

// tickStep is 1, 2 or 5 times a power of ten, four to nine of which make up high.
func tickStep(high float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(high)))
	for _, m := range []float64{.1, .2, .5, 1} {
		if high/(m*power) <= 9 {
			return m * power
		}
	}
	return 2 * power
}

func (a axis) at(v float64) float64 {
	if a.log {
		v = math.Max(v, a.low)
		return a.from + (a.to-a.from)*math.Log(v/a.low)/math.Log(a.high/a.low)
	}
	return a.from + (a.to-a.from)*(v-a.low)/(a.high-a.low)
}

// ticks are where the axis is told.
func (a axis) ticks() (list []float64) {
	if a.log {
		for v := a.low; v <= a.high*1.001; v *= 10 {
			list = append(list, v)
		}
		return list
	}
	step := tickStep(a.high)
	for i := 0.; i*step <= a.high*1.001; i++ {
		list = append(list, i*step)
	}
	return list
}

// across draws a horizontal axis over rows that end at bottom.
func (a axis) across(b *strings.Builder, bottom float64, show func(float64) string) {
	for _, v := range a.ticks() {
		x := a.at(v)
		fmt.Fprintf(b, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%g\" y2=\"%.1f\"/><text class=\"tick\" x=\"%.1f\" y=\"14\">%s</text>\n", x, x, axisHeight-4, bottom, x, html.EscapeString(show(v)))
	}
}

func beginPlot(b *strings.Builder, title string, height float64) {
	fmt.Fprintf(b, "<figure><figcaption>%s</figcaption>\n<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %.0f\" role=\"img\" aria-label=\"%s\">\n",
		html.EscapeString(title), plotWidth, height, html.EscapeString(title))
}

func endPlot(b *strings.Builder) { b.WriteString("</svg></figure>\n") }

// rowTexts are a row's name and its figure, and what a pointer on them tells. The caller closes the group.
func rowTexts(b *strings.Builder, peer int, y float64, name, figure, tip string) {
	fmt.Fprintf(b, "<g class=\"k%d\"><title>%s</title><rect class=\"row\" y=\"%.1f\" width=\"%g\" height=\"%g\"/><text x=\"0\" y=\"%.1f\">%s</text><text class=\"figure\" x=\"%g\" y=\"%.1f\">%s</text>",
		peer, html.EscapeString(tip), y-rowHeight/2, plotWidth, rowHeight, y+4, html.EscapeString(name), plotWidth, y+4, html.EscapeString(figure))
}

// dots has a row for each series: its samples, median, and 10th to 90th percentile, on one logarithmic axis of time.
type dots struct {
	title  string
	series []*Series
}

func (p dots) draw(b *strings.Builder) {
	low, high := math.Inf(1), math.Inf(-1)
	for _, s := range p.series {
		for _, d := range s.All {
			low, high = math.Min(low, math.Max(float64(d), 1)), math.Max(high, math.Max(float64(d), 1))
		}
	}
	if low > high {
		return // nothing was measured
	}
	x := logAxis(low, high, nameRoom, plotWidth-textRoom)
	bottom := axisHeight + rowHeight*float64(len(p.series))
	beginPlot(b, p.title, bottom+4)
	x.across(b, bottom, timeTick)
	for i, s := range p.series {
		if len(s.All) == 0 {
			continue
		}
		y := axisHeight + rowHeight*(float64(i)+.5)
		figures := s.figures()
		rowTexts(b, s.peer, y, s.Name, figures[0], fmt.Sprintf("%s: median %s, p10 %s, p90 %s, n %d", s.Name, figures[0], figures[1], figures[2], s.N))
		b.WriteString("<path class=\"dots\" d=\"")
		drawn := map[[2]int]bool{} // a dot on a dot would only make the file larger
		for j, d := range thinned(s.All) {
			at := [2]int{int(x.at(float64(d))), int(y) - 6 + 3*(j%dotLanes)}
			if !drawn[at] {
				drawn[at] = true
				fmt.Fprintf(b, "M%d %dh0", at[0], at[1])
			}
		}
		fmt.Fprintf(b, "\"/><line class=\"span\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%g\" y2=\"%g\"/>", x.at(float64(s.P10)), x.at(float64(s.P90)), y, y)
		fmt.Fprintf(b, "<line class=\"median\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%g\" y2=\"%g\"/></g>\n", x.at(float64(s.Median)), x.at(float64(s.Median)), y-8, y+8)
	}
	endPlot(b)
}

// timeTick is a time on an axis, and timeText one that was measured; both in ns.
func timeTick(ns float64) string { return time.Duration(ns).String() }
func timeText(ns float64) string { return round(time.Duration(ns)).String() }

// thinned are samples in order of size, at most mostDots, the least and the largest among them.
func thinned(all []time.Duration) []time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	if len(sorted) <= mostDots {
		return sorted
	}
	few := make([]time.Duration, mostDots)
	for i := range few {
		few[i] = sorted[i*(len(sorted)-1)/(mostDots-1)]
	}
	return few
}

// bar is a row of bars. From low to high is where most samples are; 0 and 0: there is one. target: a mark that it is not to pass, or to reach; 0: none.
type bar struct {
	name, figure             string
	peer                     int
	value, low, high, target float64
}

// bars has rows on one axis that begins at zero.
type bars struct {
	title string
	rows  []bar
	show  func(float64) string // of a tick
}

func (p bars) draw(b *strings.Builder) {
	if len(p.rows) == 0 {
		return // nothing was measured
	}
	high := 0.
	for _, r := range p.rows {
		high = max(high, r.value, r.high, r.target)
	}
	x := zeroAxis(high, nameRoom, plotWidth-textRoom)
	bottom := axisHeight + rowHeight*float64(len(p.rows))
	beginPlot(b, p.title, bottom+4)
	x.across(b, bottom, p.show)
	for i, r := range p.rows {
		y := axisHeight + rowHeight*(float64(i)+.5)
		rowTexts(b, r.peer, y, r.name, r.figure, r.name+": "+r.figure)
		fmt.Fprintf(b, "<rect class=\"bar\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"13\"/>", x.at(0), y-6.5, x.at(max(r.value, 0))-x.at(0))
		if r.high > r.low {
			fmt.Fprintf(b, "<path class=\"whisker\" d=\"M%.1f %.1fv8m0-4H%.1fm0-4v8\"/>", x.at(r.low), y-4, x.at(r.high))
		}
		if r.target > 0 {
			fmt.Fprintf(b, "<line class=\"target\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>", x.at(r.target), x.at(r.target), y-9, y+9)
		}
		b.WriteString("</g>\n")
	}
	endPlot(b)
}

// curve is a line of a plot.
type curve struct {
	name string
	peer int
	x, y []float64
}

// curves are drawn over one another. Where log is set both axes are logarithmic, else both begin at zero.
type curves struct {
	title, xName string
	list         []curve
	xTicks       []float64 // nil: those of the axis
	log          bool
	show         func(float64) string // on the y axis
	end          func(float64) string // of the last value, where that is said
}

// The room of curves: ticks on the left, names on the right.
const (
	curveHeight           = 300.
	curveLeft, curveRight = 70., 800.
	curveTop, curveBottom = 14., 255.
)

func (p curves) draw(b *strings.Builder) {
	low, high := [2]float64{math.Inf(1), math.Inf(1)}, [2]float64{}
	for _, c := range p.list {
		for i := range c.x {
			for k, v := range []float64{c.x[i], c.y[i]} {
				low[k], high[k] = math.Min(low[k], v), math.Max(high[k], v)
			}
		}
	}
	if high[0] == 0 || high[1] == 0 {
		return // nothing was measured
	}
	x, y := zeroAxis(high[0], curveLeft, curveRight), zeroAxis(high[1], curveBottom, curveTop)
	if p.log {
		x, y = axis{low[0], high[0], curveLeft + 20, curveRight, true}, logAxis(low[1], high[1], curveBottom, curveTop)
	}
	xTicks := p.xTicks
	if xTicks == nil {
		xTicks = x.ticks()
	}
	beginPlot(b, p.title, curveHeight)
	for _, v := range y.ticks() {
		fmt.Fprintf(b, "<line class=\"grid\" x1=\"%g\" x2=\"%g\" y1=\"%.1f\" y2=\"%.1f\"/><text class=\"figure\" x=\"%g\" y=\"%.1f\">%s</text>\n",
			curveLeft, curveRight, y.at(v), y.at(v), curveLeft-8, y.at(v)+4, html.EscapeString(p.show(v)))
	}
	for _, v := range xTicks {
		fmt.Fprintf(b, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%g\" y2=\"%g\"/><text class=\"tick\" x=\"%.1f\" y=\"%g\">%g</text>\n",
			x.at(v), x.at(v), curveBottom, curveBottom+5, x.at(v), curveBottom+19, v)
	}
	fmt.Fprintf(b, "<text class=\"tick\" x=\"%g\" y=\"%g\">%s</text>\n", (curveLeft+curveRight)/2, curveHeight-6, html.EscapeString(p.xName))
	ends := p.ends(y)
	for i, c := range p.list {
		if len(c.x) == 0 {
			continue
		}
		last := len(c.x) - 1
		fmt.Fprintf(b, "<g class=\"k%d\"><title>%s</title><path class=\"curve\" d=\"", c.peer, html.EscapeString(c.name+": "+p.end(c.y[last])))
		for j := range c.x {
			step := "L"
			if j == 0 {
				step = "M"
			}
			fmt.Fprintf(b, "%s%.1f %.1f", step, x.at(c.x[j]), y.at(c.y[j]))
		}
		b.WriteString("\"/>")
		for j := range c.x {
			if len(c.x) <= 12 {
				fmt.Fprintf(b, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\"/>", x.at(c.x[j]), y.at(c.y[j]))
			}
		}
		fmt.Fprintf(b, "<text class=\"end\" x=\"%.1f\" y=\"%.1f\">%s, %s</text></g>\n", x.at(c.x[last])+9, ends[i]+4, html.EscapeString(c.name), html.EscapeString(p.end(c.y[last])))
	}
	endPlot(b)
}

// ends are the heights of the curves' names, far enough from one another to be read.
func (p curves) ends(y axis) []float64 {
	const apart = 14
	at, order := make([]float64, len(p.list)), make([]int, 0, len(p.list))
	for i, c := range p.list {
		if len(c.y) > 0 {
			at[i] = y.at(c.y[len(c.y)-1])
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(i, k int) int { return cmp.Compare(at[i], at[k]) })
	for j, i := range order {
		if j > 0 {
			at[i] = max(at[i], at[order[j-1]]+apart)
		}
	}
	return at
}
