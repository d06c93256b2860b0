package bench

import (
	"encoding/csv"
	"errors"
	"fmt"
	"html"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// files are what is written beside what is printed. They appear when they are whole.
type files struct{ csv, html *pendingFile }

// pendingFile is a file that gets its name at the end. nil: there is none.
type pendingFile struct {
	*os.File
	name string
}

// open makes sure, before minutes of measuring, that the files can be written.
func (b *Bench) open() (f files, err error) {
	if f.csv, err = pending(b.CSV); err == nil {
		f.html, err = pending(b.HTML)
	}
	return f, err
}

func pending(name string) (*pendingFile, error) {
	if name == "" {
		return nil, nil
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".bench-")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &pendingFile{f, name}, nil
}

// write writes both.
func (f *files) write(r *Report) error {
	return errors.Join(f.csv.fill(func(w io.Writer) error { return writeCSV(w, r) }), f.html.fill(func(w io.Writer) error { return writeHTML(w, r) }))
}

func (p *pendingFile) fill(write func(io.Writer) error) error {
	if p == nil {
		return nil
	}
	if err := errors.Join(write(p), p.Chmod(0o644), p.Close()); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return os.Rename(p.File.Name(), p.name)
}

// drop removes what was not filled.
func (f *files) drop() {
	for _, p := range []*pendingFile{f.csv, f.html} {
		if p != nil {
			p.Close()
			os.Remove(p.File.Name()) // not there any more if it was filled
		}
	}
}

// command is what was typed, but for the places of files.
func (b *Bench) command(name string) string {
	words := []string{"kxsh bench"}
	if b.Quick {
		words = append(words, "--quick")
	}
	if b.CSV != "" {
		words = append(words, "--csv", filepath.Base(b.CSV))
	}
	if b.HTML != "" {
		words = append(words, "--html", filepath.Base(b.HTML))
	}
	return strings.Join(append(words, name), " ")
}

// writeCSV writes every sample: a line each, in the order in which they were taken within a series; of a rate the time for one.
func writeCSV(w io.Writer, r *Report) error {
	c := csv.NewWriter(w)
	c.Write([]string{"bench", "series", "sample", "ns"})
	for _, s := range r.Series {
		for i, d := range s.All {
			c.Write([]string{r.Bench, s.Name, strconv.Itoa(i + 1), strconv.FormatInt(int64(d), 10)})
		}
	}
	c.Flush()
	return c.Error()
}

// style is the page's look: that of the reader's system, light or dark.
const style = `:root{color-scheme:light dark;--ours:#0b6bcb;--peer:#777;--grid:#8884;--miss:#c22}
body{font:15px/1.45 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:.15rem .7rem;text-align:right;white-space:nowrap}
td:first-child,th:first-child{text-align:left;white-space:normal}tr+tr{border-top:1px solid var(--grid)}
svg{width:100%;height:auto}text{font-size:11px;fill:currentColor}.grid{stroke:var(--grid)}
.ours{stroke:var(--ours)}.peer{stroke:var(--peer)}.dots{stroke-width:2;stroke-linecap:round;opacity:.45;fill:none}
.span{stroke-width:7;opacity:.35}.median{stroke-width:3}.miss{color:var(--miss)}pre,code{background:#8882;padding:.1rem .4rem}`

// writeHTML writes a page that needs nothing beside itself: how to have it again, the machine, a plot, the figures. It is XML, too.
func writeHTML(w io.Writer, r *Report) error {
	var b strings.Builder
	title := html.EscapeString("kxsh bench " + r.Bench)
	fmt.Fprintf(&b, "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"/><title>%s</title><style>%s</style></head>\n<body>\n", title, style)
	fmt.Fprintf(&b, "<h1>%s</h1>\n<p>To have it again: <code>%s</code></p>\n", title, html.EscapeString(r.Command))
	fmt.Fprintf(&b, "<p>%s, kxsh %s, %s.</p>\n", html.EscapeString(r.Machine), html.EscapeString(r.Version), r.Time.UTC().Format("2006-01-02 15:04 MST"))
	b.WriteString("<p>A dot is a sample, the bar is from the 10th to the 90th percentile, the stroke the median; time is logarithmic. Peers are grey; a ratio is to the peer's median. " +
		"Of a rate, the plot has the time for one.</p>\n")
	plot(&b, r.Series)
	b.WriteString("<table>\n<tr><th></th><th>median</th><th>p10</th><th>p90</th><th>p99</th><th>n</th><th>ratio</th><th>target</th></tr>\n")
	for _, s := range r.Series {
		fmt.Fprintf(&b, "<tr><td>%s</td><td>%s</td><td>%d</td>%s</tr>\n",
			html.EscapeString(s.Name), strings.Join(s.figures(), "</td><td>"), s.N, against(s.Ratio, s.Target, s.sign(), share))
	}
	b.WriteString("</table>\n")
	if len(r.Values) > 0 {
		b.WriteString("<table>\n<tr><th></th><th>value</th><th>target</th></tr>\n")
		for _, v := range r.Values {
			unit := html.EscapeString(v.Unit)
			fmt.Fprintf(&b, "<tr><td>%s</td>%s</tr>\n", html.EscapeString(v.Name), against(v.Value, v.Target, "≤ ", func(x float64) string {
				if x <= 0 {
					return ""
				}
				return fmt.Sprintf("%.4g %s", x, unit)
			}))
		}
		b.WriteString("</table>\n")
	}
	b.WriteString("</body>\n</html>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// against is two cells, a value and what it may be at most, or with another sign at least.
func against(value, target float64, sign string, show func(float64) string) string {
	class, bound := "", show(target)
	if target > 0 {
		bound = sign + bound
		if value != target && (value > target) == (sign == "≤ ") {
			class = ` class="miss"`
		}
	}
	return fmt.Sprintf("<td%s>%s</td><td>%s</td>", class, show(value), bound)
}

// The plot, in its own units: a row a series, names on the left.
const (
	plotWidth, plotLeft, plotRow = 1000., 330., 22.
	plotTop                      = 20. // for the axis
	plotLanes                    = 5   // in which dots of a row are, so that they hide each other less
)

// plot draws the series on one logarithmic axis.
func plot(b *strings.Builder, series []*Series) {
	low, high := math.Inf(1), math.Inf(-1)
	for _, s := range series {
		for _, d := range s.All {
			v := math.Log10(math.Max(float64(d), 1))
			low, high = math.Min(low, v), math.Max(high, v)
		}
	}
	if low > high {
		return // nothing was measured
	}
	low, high = math.Floor(low), math.Max(math.Ceil(high), math.Floor(low)+1)
	x := func(d time.Duration) float64 {
		return plotLeft + (math.Log10(math.Max(float64(d), 1))-low)/(high-low)*(plotWidth-plotLeft-10)
	}
	height := plotTop + plotRow*float64(len(series)) + 4
	fmt.Fprintf(b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\" role=\"img\" aria-label=\"samples, median and percentiles of each series\">\n", plotWidth, height)
	for e := low; e <= high; e++ {
		at := time.Duration(math.Pow(10, e))
		fmt.Fprintf(b, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%g\" y2=\"%g\"/><text x=\"%.1f\" y=\"12\" text-anchor=\"middle\">%v</text>\n", x(at), x(at), plotTop, height, math.Min(x(at), plotWidth-20), at)
	}
	for i, s := range series {
		y := plotTop + plotRow*(float64(i)+.5)
		class := "ours"
		if s.Ratio == 0 {
			class = "peer"
		}
		fmt.Fprintf(b, "<text x=\"0\" y=\"%g\">%s</text>", y+4, html.EscapeString(s.Name))
		if len(s.All) > 0 {
			fmt.Fprintf(b, "<path class=\"%s dots\" d=\"", class)
			drawn := map[[2]int]bool{} // a dot on a dot would only make the file larger
			for j, d := range s.All {
				at := [2]int{int(x(d)), int(y) - 6 + 3*(j%plotLanes)}
				if !drawn[at] {
					drawn[at] = true
					fmt.Fprintf(b, "M%d %dh0", at[0], at[1])
				}
			}
			fmt.Fprintf(b, "\"/><line class=\"%s span\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%g\" y2=\"%g\"/>", class, x(s.P10), x(s.P90), y, y)
			fmt.Fprintf(b, "<line class=\"%s median\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%g\" y2=\"%g\"/>", class, x(s.Median), x(s.Median), y-8, y+8)
		}
		b.WriteString("\n")
	}
	b.WriteString("</svg>\n")
}
