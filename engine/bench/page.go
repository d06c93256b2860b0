package bench

import (
	_ "embed"
	"fmt"
	"html"
	"io"
	"math"
	"slices"
	"strings"
	"time"
)

// style is the page's look: that of the reader's system, light or dark. Ours, the first and second peer, and xl have colours that nobody confuses; curves have strokes of their own, too.
//
//go:embed page.css
var style string

// writePage writes a page that needs nothing beside itself: how to have it again, the machine, how targets are met, and a section for each benchmark. It is XML, too.
func writePage(w io.Writer, r *run) error {
	var b strings.Builder
	title := "kxsh bench"
	if len(r.sections) == 1 {
		title += " " + r.sections[0].kind.name
	}
	title = html.EscapeString(title)
	fmt.Fprintf(&b, "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"/><meta name=\"viewport\" content=\"width=device-width\"/><title>%s</title><style>\n%s</style></head>\n<body>\n<h1>%s</h1>\n",
		title, style, title)
	b.WriteString("<p>kxsh is KylinX (USENIX ATC’18) built anew. What follows was measured in one run, each beside its peers and in turns with them, so that a ratio holds on a machine whose times wander.</p>\n")
	fmt.Fprintf(&b, "<pre>%s</pre>\n<table class=\"facts\">\n", html.EscapeString(r.command))
	for _, f := range append(r.facts, fact{"kxsh", r.version}, fact{"Begun", r.begun.UTC().Format("2006-01-02 15:04 MST") + ", took " + r.took.Round(time.Second).String()}) {
		fmt.Fprintf(&b, "<tr><td>%s</td><td>%s</td></tr>\n", html.EscapeString(f.what), html.EscapeString(f.value))
	}
	b.WriteString("</table>\n")
	contents(&b, r.sections)
	b.WriteString("<p>A dot is a sample (at most " + fmt.Sprint(mostDots) + " of a series), the band is from the 10th to the 90th percentile, the stroke across it the median; a dashed mark is a target. " +
		"A ratio is to the peer’s median, of a rate to the peer’s rate; ✓ and ✗ tell whether it is as it should be. The paper’s figures are of its own machines: two with a 6-core Xeon E5-2640, Xen and Ubuntu 16.04.</p>\n" +
		"<p class=\"key\"><span class=\"k0\">pVM</span><span class=\"k1\">Linux, or the native build with select or poll</span><span class=\"k2\">crun, or the native build with epoll</span><span class=\"k3\">xl</span></p>\n")
	allTargets(r.reports()).draw(&b)
	for _, s := range r.sections {
		s.write(&b)
	}
	b.WriteString("</body>\n</html>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// contents lists the sections, and how each has gone.
func contents(b *strings.Builder, list []section) {
	b.WriteString("<div class=\"wide\"><table class=\"contents\">\n<tr><th>benchmark</th><th></th><th>in short</th><th>in the paper</th><th>targets met</th><th>took</th></tr>\n")
	for _, s := range list {
		fmt.Fprintf(b, "<tr><td><a href=\"#%s\">%s</a></td><td>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td></tr>\n",
			s.kind.name, s.kind.name, html.EscapeString(s.kind.short), html.EscapeString(s.inShort()), html.EscapeString(s.kind.paper.where), s.standing(), s.took.Round(time.Second/10))
	}
	b.WriteString("</table></div>\n")
}

// inShort is one figure of a benchmark: of those by which it is known the last, which has most pVMs or memory.
func (s *section) inShort() (text string) {
	if s.report == nil {
		return ""
	}
	for _, one := range s.report.Series {
		if one.N > 0 && (one.Name == s.kind.head || strings.HasSuffix(one.Name, " "+s.kind.head)) {
			text = one.Name + ": " + one.figures()[0]
			if one.Ratio > 0 {
				text += ", " + share(one.Ratio) + " of its peer"
			}
		}
	}
	for _, v := range s.report.Values {
		if v.Name == s.kind.head {
			text = fmt.Sprintf("%s: %s %s", v.Name, number(v.Value), v.Unit)
		}
	}
	return text
}

// standing is how many of its targets a benchmark meets.
func (s *section) standing() string {
	if s.report == nil {
		return `<span class="miss">failed</span>`
	}
	met, all := 0, s.report.targets()
	for _, t := range all {
		if t.of <= 1 {
			met++
		}
	}
	switch {
	case s.err != nil:
		return `<span class="miss">failed in the end</span>`
	case len(all) == 0:
		return "none set"
	}
	return fmt.Sprintf("%d of %d", met, len(all))
}

func (s *section) write(b *strings.Builder) {
	fmt.Fprintf(b, "<h2 id=\"%s\">%s<small>%s</small></h2>\n<p>%s.</p>\n", s.kind.name, s.kind.name, html.EscapeString(s.kind.paper.where), html.EscapeString(sentence(s.kind.short)))
	fmt.Fprintf(b, "<blockquote><p>The paper, %s: %s</p></blockquote>\n", html.EscapeString(s.kind.paper.where), html.EscapeString(s.kind.paper.said))
	for _, note := range s.notes {
		fmt.Fprintf(b, "<p>%s.</p>\n", html.EscapeString(sentence(note)))
	}
	if s.err != nil {
		fmt.Fprintf(b, "<p class=\"miss\">%s</p>\n", html.EscapeString(s.err.Error()))
	}
	if s.report == nil {
		return
	}
	for _, p := range s.report.figures() {
		p.draw(b)
	}
	s.report.tables(b)
}

// sentence begins with a capital.
func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// figures are a report's plots; if it has none of its own, one of its series.
func (r *Report) figures() []plot {
	if r.plots == nil && len(r.Series) > 0 {
		return []plot{dots{"Time, logarithmic", r.Series}}
	}
	return r.plots
}

// tables are of the series, and of the values.
func (r *Report) tables(b *strings.Builder) {
	if len(r.Series) > 0 {
		head := ""
		if slices.ContainsFunc(r.Series, func(s *Series) bool { return s.Paper > 0 }) {
			head = "<th>paper</th>"
		}
		fmt.Fprintf(b, "<details open=\"\"><summary>Figures</summary><div class=\"wide\"><table>\n<tr><th></th><th>median</th><th>p10</th><th>p90</th><th>p99</th><th>n</th><th>ratio</th><th>target</th>%s</tr>\n", head)
		for _, s := range r.Series {
			paper := ""
			switch {
			case s.Paper > 0:
				paper = fmt.Sprintf("<td>%v</td>", s.Paper)
			case head != "":
				paper = "<td></td>"
			}
			fmt.Fprintf(b, "<tr><td>%s</td><td>%s</td><td>%d</td>%s%s</tr>\n",
				html.EscapeString(s.Name), strings.Join(s.figures(), "</td><td>"), s.N, against(s.Ratio, s.Target, s.sign(), share), paper)
		}
		b.WriteString("</table></div></details>\n")
	}
	if len(r.Values) == 0 {
		return
	}
	b.WriteString("<div class=\"wide\"><table>\n<tr><th></th><th>value</th><th>target</th></tr>\n")
	for _, v := range r.Values {
		unit := html.EscapeString(v.Unit)
		fmt.Fprintf(b, "<tr><td>%s</td>%s</tr>\n", html.EscapeString(v.Name), against(v.Value, v.Target, "≤ ", func(x float64) string { return strings.TrimSpace(number(x) + " " + unit) }))
	}
	b.WriteString("</table></div>\n")
}

// against is two cells, a value and what it may be at most, or with another sign at least.
func against(value, target float64, sign string, show func(float64) string) string {
	class, bound := "", ""
	if target > 0 {
		bound = sign + show(target)
		class = ` class="met"`
		if value != target && (value > target) == (sign == "≤ ") {
			class = ` class="miss"`
		}
	}
	return fmt.Sprintf("<td%s>%s</td><td>%s</td>", class, show(value), bound)
}

// target is what has one.
type target struct {
	name, figure string
	of           float64 // what it is, of what it may be at most; of a rate the other way about
}

// targets are of all that has been measured.
func (r *Report) targets() (list []target) {
	for _, s := range r.Series {
		if s.Target <= 0 || s.Ratio <= 0 {
			continue
		}
		of := s.Ratio / s.Target
		if s.Rate {
			of = 1 / of
		}
		list = append(list, target{s.Name, share(s.Ratio) + ", " + s.sign() + share(s.Target), of})
	}
	for _, v := range r.Values {
		if v.Target > 0 {
			list = append(list, target{v.Name, fmt.Sprintf("%s, ≤ %s %s", number(v.Value), number(v.Target), v.Unit), v.Value / v.Target})
		}
	}
	return list
}

// goalsMet has a row for each target: how far it is met, to the left, or missed, to the right, on a logarithmic axis.
type goalsMet struct{ list []target }

func allTargets(reports []*Report) (p goalsMet) {
	for _, r := range reports {
		for _, t := range r.targets() {
			t.name = r.Bench + ": " + t.name
			p.list = append(p.list, t)
		}
	}
	return p
}

// goalsEdge is the largest factor that has a place of its own.
const goalsEdge = 20

func (p goalsMet) draw(b *strings.Builder) {
	if len(p.list) == 0 {
		return
	}
	const names, texts = 420., 150.
	x := axis{1. / goalsEdge, goalsEdge, names, plotWidth - texts, true}
	bottom := axisHeight + rowHeight*float64(len(p.list))
	beginPlot(b, "Targets: what is measured, of what it may be; left of 1 it is met", bottom+4)
	for _, v := range []float64{.1, .2, .5, 1, 2, 5, 10} {
		class := "grid"
		if v == 1 {
			class = "one"
		}
		fmt.Fprintf(b, "<line class=\"%s\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%g\" y2=\"%.1f\"/><text class=\"tick\" x=\"%.1f\" y=\"14\">%g</text>\n", class, x.at(v), x.at(v), axisHeight-4, bottom, x.at(v), v)
	}
	for i, t := range p.list {
		y := axisHeight + rowHeight*(float64(i)+.5)
		class, at := "met", x.at(math.Min(math.Max(t.of, x.low), x.high))
		if t.of > 1 {
			class = "missed"
		}
		fmt.Fprintf(b, "<g class=\"%s\"><title>%s</title><rect class=\"row\" y=\"%.1f\" width=\"%g\" height=\"%g\"/><text x=\"0\" y=\"%.1f\">%s</text><text class=\"figure\" x=\"%g\" y=\"%.1f\">%s</text>",
			class, html.EscapeString(t.name+": "+t.figure), y-rowHeight/2, plotWidth, rowHeight, y+4, html.EscapeString(t.name), plotWidth, y+4, html.EscapeString(t.figure))
		fmt.Fprintf(b, "<line class=\"stem\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/><circle cx=\"%.1f\" cy=\"%.1f\" r=\"4.5\"/></g>\n", x.at(1), at, y, y, at, y)
	}
	endPlot(b)
}
